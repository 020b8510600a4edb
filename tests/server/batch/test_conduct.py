"""A batch from the command to its folder: fresh, again, refused, failing, retried, changed."""

import json
import os
import random
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from engine.problems import WorkflowError
from server.lock import Lock
from tests.server.batch.commands import differences, files_of, lines_of, workflow
from tests.server.batch.conftest import Batch
from tests.server.faulty import paint, png

SWEEP = ("--vary", "Paint.color=1,2,3", "--vary", "Mix.seed=4..7")


def problems(result: Result) -> str:
    """What a refusal says."""
    assert isinstance(result.exception, WorkflowError), (result.exception, result.output)
    return "\n".join(map(str, result.exception.problems))


def told(result: Result) -> list[dict[str, Any]]:
    """The JSON lines of a run."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_fresh_batch_leaves_outputs_a_manifest_in_job_order_and_nothing_else(
    here: Path, batch: Batch
) -> None:
    assert batch(*SWEEP).exit_code == 0
    out = here / "out"
    stems = [f"toy_{n:02}" for n in range(1, 13)]
    outputs = {f"{stem}_{end}" for stem in stems for end in ("00001_.png", "00002_.copy")}
    rest = {"batch.json", "manifest.jsonl", "contact_sheet.html", "contact_sheet.png"}
    assert {p.name for p in out.iterdir()} == outputs | rest
    lines = lines_of(out)
    assert [line["job"] for line in lines] == list(range(1, 13))
    fifth = lines[4]
    assert fifth["inputs"] == {"Paint.color": 2, "Mix.seed": 4}
    assert (fifth["status"], fifth["device"], fifth["attempts"]) == ("success", "cpu", 1)
    assert [o["path"] for o in fifth["outputs"]] == ["toy_05_00001_.png", "toy_05_00002_.copy"]
    assert set(fifth["keys"]) == {"1", "2"}
    assert sum(len(line["executed"]) for line in lines) == 3 + 12 + 12


def test_the_same_command_again_finds_nothing_to_do_and_touches_nothing(here: Path, batch: Batch) -> None:
    batch(*SWEEP)
    before = {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in (here / "out").rglob("*")}
    again = batch(*SWEEP)
    assert again.exit_code == 0
    assert "nothing to do" in again.stderr
    after = {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in (here / "out").rglob("*")}
    assert after == before


def test_a_batch_with_one_job_at_a_time_has_the_same_bytes(here: Path, batch: Batch) -> None:
    batch(*SWEEP)
    batch(*SWEEP, "--at-once", "1", output="slow")
    assert differences(here / "out", here / "slow") == []


def test_rungs_are_part_of_the_bytes_and_exact_is_what_single_runs_give(here: Path, batch: Batch) -> None:
    batch(*SWEEP)
    batch(*SWEEP, "--exact", output="exact")
    assert "toy_01_00001_.png" in differences(here / "out", here / "exact")
    alone = paint(color=1)
    for_seed = 4
    for _ in range(3):
        for_seed = (for_seed * 7 + 13) % 256
    expected = png(alone.point(lambda x: (x + for_seed) % 256))
    assert (here / "exact" / "toy_01_00001_.png").read_bytes() == expected


def test_a_dry_run_says_the_plan_and_writes_nothing(here: Path, batch: Batch) -> None:
    said = batch(*SWEEP, "--dry-run").stderr
    assert "12: Paint.color (3) × Mix.seed (4)" in said
    assert "27 of the 36" in said
    (planned,) = told(batch(*SWEEP, "--dry-run", "--json"))
    wanted = {
        "event": "planned",
        "jobs": 12,
        "left": 12,
        "done": 0,
        "asked": 36,
        "predicted": 27,
        "cached": 0,
    }
    assert wanted.items() <= planned.items()
    assert planned["rungs"] == {"2": 4}
    assert sorted(p.name for p in here.iterdir()) in (["cache", "toy.json"], ["toy.json"])


def test_a_dry_run_of_a_batch_that_has_begun_says_what_is_left(here: Path, batch: Batch) -> None:
    batch(*SWEEP)
    (here / "out" / "toy_03_00001_.png").unlink()
    (planned,) = told(batch(*SWEEP, "--dry-run", "--json"))
    assert (planned["left"], planned["done"], planned["changed"]) == (1, 11, [3])


def test_programs_get_a_line_for_each_job_and_the_end(here: Path, batch: Batch) -> None:
    result = batch(*SWEEP, "--json")
    planned, *jobs, finished = told(result)
    assert planned["event"] == "planned"
    assert {line.pop("event") for line in jobs} == {"job_finished"}
    assert sorted(jobs, key=lambda line: line["job"]) == lines_of(here / "out")
    wanted = {"event": "finished", "status": "success", "jobs": 12, "failed": 0, "executed": 27}
    assert (wanted | {"predicted": 27}).items() <= finished.items()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing varies"),
        (("--vary", "Nobody.seed=1,2"), "no node is called 'Nobody'"),
        (("--vary", "Mix.sede=1,2"), "no input 'sede'"),
        (("--vary", "Mix.seed"), "no '='"),
        (("--vary", "Mix.seed="), "Mix.seed"),
        (("--vary", "Mix.seed=[]"), "empty"),
        (("--vary", "Mix.seed=-5,2"), "-5 is below 0"),
        (("--vary", "Mix.seed=1,2", "--vary", "Paint.color=1,2,3", "--zip"), "differ in length"),
        (("--jobs", "ragged.csv"), "ragged.csv, line 3"),
        (("--jobs", "gone.csv"), "gone.csv"),
        (("--vary", "Mix.seed=1,2", "--name", "same"), "same"),
        (("--vary", "Mix.seed=1,2", "--name", "../{job}"), "leads out"),
        (("--vary", "Mix.seed=1,2", "--name", "{jop}"), "no field {jop}"),
        (("--vary", "Mix.seed=1,2", "--set", "Mix.steps"), "no '='"),
        (("--vary", "Mix.seed=1,2", "--set", "Paint.size=99999"), "99999"),
        (("--vary", "Mix.seed=1,2", "--workers", "many"), "--workers many"),
        (("--vary", "Mix.seed=1,2", "--workers", "0"), "--workers 0"),
        (("--vary", "Mix.seed=1,2", "--workers", "none"), "--queue"),
        (("--vary", "Mix.seed=1,2", "--queue", "nonsense"), "queue's database cannot be opened"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    here: Path, batch: Batch, arguments: tuple[str, ...], said: str
) -> None:
    (here / "ragged.csv").write_text("Mix.seed,Paint.color\n1,2\n3\n")
    assert said in problems(batch(*arguments))
    assert not (here / "out").exists()


def test_ray_that_is_not_installed_is_said_before_anything_is_written(
    here: Path, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not
    assert "pip install" in problems(batch(*SWEEP, "--workers", "ray"))
    assert not (here / "out").exists()


def test_everything_wrong_is_said_at_once(batch: Batch) -> None:
    said = problems(batch("--vary", "Mix.sede=1", "--vary", "Nobody.x=1", "--set", "Mix.stops=3"))
    assert all(name in said for name in ("sede", "Nobody", "stops"))


def test_a_refusal_for_programs_is_json(batch: Batch) -> None:
    result = batch("--vary", "Mix.sede=1", "--json")
    assert result.exit_code == 2
    *found, last = told(result)
    assert [line["event"] for line in found] == ["problem"]
    assert last == {"event": "finished", "status": "error"}


# ---------------------------------------------------------------- folders of others


def test_another_batchs_folder_is_refused_and_it_is_said_what_differs(here: Path, batch: Batch) -> None:
    batch(*SWEEP)
    before = files_of(here / "out")
    said = problems(batch("--vary", "Paint.color=1,2,3", "--rung", "4", "--set", "Mix.steps=9"))
    assert "it has 12 jobs, this one 3" in said
    assert "it varies Paint.color, Mix.seed, this one Paint.color" in said
    assert "it was made with --rung 8, this one has 4" in said
    assert "2.steps was 3, is 9" in said
    assert "values or names" in problems(batch("--vary", "Paint.color=1,2,3", "--vary", "Mix.seed=4,5,6,9"))
    assert files_of(here / "out") == before


def test_a_damaged_batch_json_is_another_batchs(here: Path, batch: Batch) -> None:
    batch(*SWEEP)
    (here / "out" / "batch.json").write_text("{")
    assert "damaged" in problems(batch(*SWEEP))


def test_files_that_the_batch_would_write_are_not_mixed_with_it(here: Path, batch: Batch) -> None:
    (here / "out").mkdir()
    (here / "out" / "notes.txt").write_text("mine")
    (here / "out" / "toy_02_00003_.png").write_text("mine, too")
    assert "toy_02_00003_.png" in problems(batch(*SWEEP))
    (here / "out" / "toy_02_00003_.png").unlink()
    (here / "out" / "manifest.jsonl").write_text("")
    assert "manifest.jsonl" in problems(batch(*SWEEP))
    (here / "out" / "manifest.jsonl").unlink()
    assert batch(*SWEEP).exit_code == 0
    assert (here / "out" / "notes.txt").read_text() == "mine"


def test_names_count_from_one_whatever_else_is_in_the_folder(here: Path, batch: Batch) -> None:
    (here / "out").mkdir()
    (here / "out" / "toy_01_7_notes.txt").write_text("mine")
    assert batch(*SWEEP).exit_code == 0
    assert (here / "out" / "toy_01_00001_.png").exists()


def test_a_file_in_place_of_the_folder_is_refused(here: Path, batch: Batch) -> None:
    (here / "out").write_text("a file")
    assert "is a file" in problems(batch(*SWEEP))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_refused(here: Path, batch: Batch) -> None:
    (here / "out").mkdir(mode=0o500)
    assert "cannot be written to" in problems(batch(*SWEEP))


def test_a_folder_that_another_command_writes_to_is_refused(here: Path, batch: Batch) -> None:
    (here / "out").mkdir()
    lock = Lock(here / "out" / ".batch" / "lock")
    assert "is being written by another batch" in problems(batch(*SWEEP))
    lock.close()
    assert batch(*SWEEP).exit_code == 0


# ---------------------------------------------------------------- failures, changes


def test_a_job_that_fails_is_recorded_and_the_others_go_on_and_retry_runs_just_those(
    here: Path, batch: Batch
) -> None:
    mended = here / "mended"
    workflow(here, "Refuse", bad=2, unless=str(mended))
    result = batch(*SWEEP)
    assert result.exit_code == 1
    assert "4 jobs failed" in result.stderr
    assert "--retry-failed" in result.stderr
    lines = lines_of(here / "out")
    assert [line["job"] for line in lines if line["status"] == "error"] == [5, 6, 7, 8]
    assert lines[4]["error"] == {
        "node_id": "5",
        "class_type": "Refuse",
        "message": "this colour is bad; take another",
    }
    again = batch(*SWEEP)
    assert (again.exit_code, "4 jobs failed" in again.stderr) == (1, True)
    assert "jobs 5, 6, 7, 8, which failed" in batch(*SWEEP, "--retry-failed", "--dry-run").stderr
    mended.touch()
    before = {p: p.stat().st_mtime_ns for p in (here / "out").glob("toy_*")}
    retried = batch(*SWEEP, "--retry-failed")
    assert retried.exit_code == 0
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert [line["status"] for line in lines_of(here / "out")] == ["success"] * 12
    batch(*SWEEP, output="whole")
    assert differences(here / "out", here / "whole") == []


def test_files_that_are_gone_or_changed_are_made_again(here: Path, batch: Batch) -> None:
    batch(*SWEEP)
    before = files_of(here / "out")
    (here / "out" / "toy_02_00001_.png").unlink()
    (here / "out" / "toy_07_00001_.png").write_bytes(b"scribbled on")
    result = batch(*SWEEP, "--json")
    planned, *jobs, _ = told(result)
    assert planned["changed"] == [2, 7]
    assert sorted(line["job"] for line in jobs) == [2, 7]
    (here / "out" / "toy_02_00001_.png").unlink()
    assert "job 2, whose files are gone or were changed" in batch(*SWEEP, "--dry-run").stderr
    assert batch(*SWEEP).exit_code == 0
    assert files_of(here / "out") == before


def test_half_a_line_at_the_end_of_the_manifest_costs_one_job_at_most(here: Path, batch: Batch) -> None:
    batch(*SWEEP)
    before = files_of(here / "out")
    manifest = here / "out" / "manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes()[:-40])
    _, *jobs, _ = told(batch(*SWEEP, "--json"))
    assert [line["job"] for line in jobs] == [12]
    assert files_of(here / "out") == before


def test_a_lost_contact_sheet_is_written_again(here: Path, batch: Batch) -> None:
    batch(*SWEEP)
    before = files_of(here / "out")
    (here / "out" / "contact_sheet.html").unlink()
    assert batch(*SWEEP).exit_code == 0
    assert files_of(here / "out") == before


def test_the_predicted_nodes_are_those_that_run_over_random_sweeps(here: Path, batch: Batch) -> None:
    chance = random.Random(7)
    for n in range(6):
        colors = sorted(chance.sample(range(30), chance.randint(1, 5)))
        seeds = [chance.randrange(5) for _ in range(chance.randint(1, 6))]
        if n % 2:
            rows = [
                {"Paint.color": chance.choice(colors), "Mix.seed": chance.choice(seeds)} for _ in range(9)
            ]
            (here / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            asked = ["--jobs", "rows.jsonl", "--vary", "Mix.steps=1,2"]
        else:
            asked = ["--vary", f"Paint.color={json.dumps(colors)}", "--vary", f"Mix.seed={json.dumps(seeds)}"]
        result = batch(*asked, "--json", output=f"sweep{n}")
        assert result.exit_code == 0, result.exception
        finished = told(result)[-1]
        assert finished["executed"] == finished["predicted"] > 0


def test_a_queue_that_others_share_is_left_without_rows_of_the_batch(here: Path, batch: Batch) -> None:
    assert batch(*SWEEP, "--queue", f"sqlite:///{here}/shared.sqlite").exit_code == 0
    connection = sqlite3.connect(here / "shared.sqlite")
    assert connection.execute("SELECT count(*) FROM jobs").fetchall() == [(0,)]
    connection.close()
    batch(*SWEEP, output="whole")
    assert differences(here / "out", here / "whole") == []
