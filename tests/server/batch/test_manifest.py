"""The manifest: what is a line, what is half of one, what is on disk when."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from server.batch.manifest import Manifest, changed, line_of
from server.queue.jobs import Ending, Job


def line(job: int, status: str = "success", **more: Any) -> dict[str, Any]:
    return {"job": job, "inputs": {"a.b": "ä\u2028\x85"}, "status": status, "outputs": [], **more}


def write(path: Path, *lines: dict[str, Any]) -> None:
    manifest = Manifest(path, 3)
    manifest.add(lines)
    manifest.close()


def job(**facts: Any) -> Job:
    whole: dict[str, Any] = dict.fromkeys(Job.__dataclass_fields__)
    return Job(**(whole | {"started": 100.0, "finished": 102.5, "attempt": 2} | facts))


def test_lines_are_read_as_they_were_added(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "new" / "m.jsonl", 3)
    manifest.add([line(3), line(1, "error")])
    manifest.add([])
    manifest.add([line(2)])
    manifest.close()
    again = Manifest(manifest.path, 3)
    assert again.lines == manifest.lines == {3: line(3), 1: line(1, "error"), 2: line(2)}
    assert not again.damaged


def test_the_last_line_of_a_job_counts_and_in_the_end_they_are_in_order(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "m.jsonl", 3)
    manifest.add([line(2, "error"), line(1), line(2)])
    manifest.put_in_order()
    texts = manifest.path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(text) for text in texts] == [line(1), line(2)]
    assert "ä" in texts[0]


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_half_a_line_is_none_and_the_next_does_not_go_on_with_it(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "m.jsonl"
    write(path, line(1), line(2))
    path.write_bytes(path.read_bytes()[:-cut])
    torn = Manifest(path, 3)
    assert torn.damaged
    assert 1 in torn.lines
    torn.add([line(3)])
    torn.close()
    assert Manifest(path, 3).lines == torn.lines
    assert not Manifest(path, 3).damaged


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        "7",
        "null",
        "{}",
        '{"job":0,"status":"success","outputs":[]}',
        '{"job":4,"status":"success","outputs":[]}',
        '{"job":true,"status":"success","outputs":[]}',
        '{"job":1.5,"status":"success","outputs":[]}',
        '{"job":1,"status":"running","outputs":[]}',
        '{"job":1,"status":"success","outputs":[{"path":1,"sha256":"x"}]}',
        '{"job":1,"status":"success"}',
        "[" * 100_000,
    ],
)
def test_what_is_no_line_of_this_batch_is_not_taken_for_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(f"{text}\n{json.dumps(line(2))}\n")
    found = Manifest(path, 3)
    assert (list(found.lines), found.damaged) == ([2], True)


def test_half_a_surrogate_pair_is_kept(tmp_path: Path) -> None:
    write(tmp_path / "m.jsonl", line(1, more="\ud800"))
    assert Manifest(tmp_path / "m.jsonl", 3).lines[1]["more"] == "\ud800"


def test_files_that_are_gone_changed_or_elsewhere_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.png").write_bytes(b"whole")
    (tmp_path / "b.png").write_bytes(b"whole")
    sha = hashlib.sha256(b"whole").hexdigest()
    folder = tmp_path / "folder"

    def found(path: str, sha256: str = sha) -> bool:
        return changed(folder, [line(1, outputs=[{"path": path, "sha256": sha256}])]) == {1}

    assert not found("a.png")
    assert found("a.png", "0" * 64)
    assert found("gone.png")
    assert found("../b.png"), "a manifest must not lead out of the folder"
    assert found("a\0b.png")
    assert changed(folder, [line(2)]) == set()


def test_a_line_says_what_is_measured_and_where_the_outputs_are() -> None:
    files = (
        {"node_id": "9", "filename": "x_00001_.png", "subfolder": "a/b", "type": "output", "sha256": "s"},
        {"node_id": "8", "filename": "t.png", "subfolder": "", "type": "temp", "sha256": "t"},
    )
    ending = Ending("success", executed=("1", "9"), cached=("2",), files=files, device="cuda:1")
    assert line_of(7, {"a.b": 1}, {"1": "k"}, job(), ending) == {
        "job": 7,
        "inputs": {"a.b": 1},
        "status": "success",
        "outputs": [{"node": "9", "path": "a/b/x_00001_.png", "sha256": "s"}],
        "keys": {"1": "k"},
        "executed": ["1", "9"],
        "cached": ["2"],
        "seconds": 2.5,
        "finished": "1970-01-01T00:01:42Z",
        "device": "cuda:1",
        "attempts": 2,
    }


def test_a_failure_says_its_node_and_its_message_once() -> None:
    error = {"node_id": "5", "node_type": "Refuse", "exception_message": "it is bad\nmend it"}
    failed = line_of(1, {}, {}, job(started=None), Ending("error", error=error))
    assert failed["error"] == {"node_id": "5", "class_type": "Refuse", "message": "it is bad; mend it"}
    assert failed["seconds"] == 0.0
    assert "device" not in failed
