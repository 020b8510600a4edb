"""The output folder: whose it is, who has it, what is left over in it."""

import os
from pathlib import Path

import pytest

from engine.batch import Axis, Batch, BatchJob
from engine.problems import WorkflowError
from engine.workflow import Workflow, WorkflowNode
from server.batch.folder import Folder

WORKFLOW = Workflow({"1": WorkflowNode("Paint", {"color": 1}, "Paint")})


def batch(*names: str, digest: str = "a" * 64) -> Batch:
    jobs = tuple(BatchJob(n, {}, WORKFLOW, (name,)) for n, name in enumerate(names, 1))
    return Batch(WORKFLOW, (Axis("Paint.color", (1, 2)),), jobs, digest)


def refused(folder: Folder) -> str:
    with pytest.raises(WorkflowError) as error:
        folder.hold()
    return str(error.value)


def test_one_process_has_it_until_it_lets_go(tmp_path: Path) -> None:
    first, second = (
        Folder(tmp_path / "new" / "out", batch("a"), 8),
        Folder(tmp_path / "new/out", batch("a"), 8),
    )
    first.hold()
    said = refused(second)
    assert "is being written by another batch" in said
    assert f'"pid": {os.getpid()}' in said
    first.release()
    second.hold()
    second.release()
    second.release()


def test_looking_writes_nothing(tmp_path: Path) -> None:
    Folder(tmp_path / "out", batch("a"), 8).look()
    assert not (tmp_path / "out").exists()


def test_it_has_finished_once_all_is_written_and_the_state_is_gone(tmp_path: Path) -> None:
    folder = Folder(tmp_path, batch("a"), 8)
    assert not folder.finished
    folder.hold()
    (tmp_path / "contact_sheet.html").touch()
    assert not folder.finished
    folder.forget_state()
    folder.release()
    assert folder.finished


def test_what_it_says_of_the_batch_has_no_time_and_no_place(tmp_path: Path) -> None:
    texts = []
    for name in ("one", "two"):
        folder = Folder(tmp_path / name, batch("a"), 8)
        folder.hold()
        folder.release()
        texts.append((tmp_path / name / "batch.json").read_bytes())
    assert texts[0] == texts[1]
    assert b"Paint.color" in texts[0]


def test_only_the_files_of_jobs_that_have_not_ended_are_leftovers(tmp_path: Path) -> None:
    names = ["a", "a_b", "sub/c", "d.e"]
    ours = ["a_00001_.png", "a_00012_.latent", "sub/c_00001_.png", "d.e_00001_.png"]
    others = ["a_b_00001_.png", "a_1_.png", "a_00001_", "xa_00001_.png", "sub/a_00001_.png", "notes.txt"]
    (tmp_path / "sub").mkdir()
    for name in (*ours, *others):
        (tmp_path / name).touch()
    (tmp_path / ".draft-0-1-x.png").touch()
    assert Folder(tmp_path, batch(*names), 8).remove_leftovers([1, 3, 4]) == len(ours)
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert left - {".draft-0-1-x.png"} == set(others)


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be written to" in refused(Folder(tmp_path / "file" / "out", batch("a"), 8))


def test_a_folder_of_the_kernel_is_refused_with_its_reason() -> None:
    said = refused(Folder(Path("/proc/out"), batch("a"), 8))
    assert "/proc/out cannot be written to" in said
