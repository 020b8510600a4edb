"""Folders: names stay inside, outputs never overwrite, content hashes follow the content."""

import errno
import json
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cache.disk import DiskTier
from engine.drafts import ABANDONED_S, MACHINE, create, sweep, write_whole
from engine.files import Files
from engine.paths import inside
from engine.problems import NodeFailure


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "input" / "sub").mkdir(parents=True)
    (tmp_path / "input" / "sub" / "a.png").write_bytes(b"a")
    (tmp_path / "secret").write_bytes(b"s")
    return Files.under(tmp_path)


OUTSIDE = [
    "../secret", "..\\secret", "sub/../../secret", "/etc/passwd", "a\0b", "..", "", ".", "sub/..", "x" * 5000,
    "\ud800", "sub/a.png/..//../../secret", "C:\\Windows\\x",
]  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leads_out_of_the_folder_is_refused(files: Files, name: str) -> None:
    with pytest.raises(NodeFailure):
        files.find("input", name)


def test_links_that_lead_out_of_the_folder_are_refused(files: Files, tmp_path: Path) -> None:
    (tmp_path / "input" / "out").symlink_to(tmp_path)
    (tmp_path / "input" / "loop").symlink_to(tmp_path / "input" / "loop")
    for name in ("out/secret", "out", "loop", "loop/x"):
        with pytest.raises(NodeFailure):
            files.find("input", name)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(["..", ".", "/", "\\", "a", "sub", "a.png", "\0", "~", " "]) | st.text(max_size=3)
    )
)
def test_what_inside_gives_is_inside(parts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve() / "root"
        folder.mkdir()
        try:
            path = inside(folder, "/".join(parts).replace("\\", "/"))
        except NodeFailure:
            return
        assert path == folder or folder in path.parents


@pytest.mark.parametrize("name", ["sub/a.png", "sub\\a.png", "./sub/a.png"])
def test_a_name_inside_is_found(files: Files, name: str) -> None:
    assert files.find("input", name).read_bytes() == b"a"


def test_choices_are_files_and_model_folders(files: Files, tmp_path: Path) -> None:
    model = tmp_path / "models" / "diffusers" / "some" / "model"
    model.mkdir(parents=True)
    (model / "model_index.json").write_text("{}")
    (model.parent / "x.safetensors").write_text("")
    (model.parent / ".hidden").write_text("")
    (model.parent / "loop").symlink_to(model.parent)
    assert files.names("diffusers") == ["some/model", "some/x.safetensors"]
    assert files.names("input", (".png",)) == ["sub/a.png"]
    assert files.names("nowhere") == []


@pytest.mark.parametrize("prefix", ["../x", "/tmp/x", "a/../../x", "a\0b", "..\\x"])
def test_an_output_stays_in_its_folder(files: Files, prefix: str) -> None:
    with pytest.raises(NodeFailure):
        files.write("output", prefix, ".txt", b"x")


def test_outputs_are_numbered_and_never_overwritten(files: Files, tmp_path: Path) -> None:
    (tmp_path / "output" / "day").mkdir(parents=True)
    (tmp_path / "output" / "day" / "n_00004_.txt").write_bytes(b"old")
    first = files.write("output", "day/n", ".txt", b"one")
    again = Files.under(tmp_path).write("output", "day\\n", ".txt", lambda path: path.write_bytes(b"two"))
    assert (first.filename, again.filename, first.subfolder) == ("n_00005_.txt", "n_00006_.txt", "day")
    saved = files.saved(again.as_link())
    assert saved is not None
    assert saved.read_bytes() == b"two"
    assert files.sha256(saved) == again.sha256
    assert sorted(p.name for p in saved.parent.iterdir()) == ["n_00004_.txt", "n_00005_.txt", "n_00006_.txt"]


def _write(base: str, who: str, count: int) -> None:
    files = Files.under(Path(base))
    for i in range(count):
        files.write("output", "n", ".txt", f"{who}{i}".encode())


def test_threads_and_processes_that_race_overwrite_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers: list[Any] = [
        context.Process(target=_write, args=(str(tmp_path), f"p{i}-", 20)) for i in range(2)
    ]
    shared = Files.under(tmp_path)
    workers += [
        threading.Thread(
            target=lambda i=i: [shared.write("output", "n", ".txt", f"t{i}-{j}".encode()) for j in range(20)]
        )
        for i in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    texts = [p.read_text() for p in (tmp_path / "output").iterdir()]
    assert sorted(texts) == sorted(f"{w}{j}" for w in ("p0-", "p1-", "t0-", "t1-", "t2-") for j in range(20))


def test_a_write_that_fails_leaves_nothing_and_says_why(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_whole(tmp_path / "kept", b"before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NodeFailure, match="No space left"):
        files.write("output", "n", ".txt", b"x")
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "kept", b"after")
    assert list((tmp_path / "output").iterdir()) == []
    assert (tmp_path / "kept").read_bytes() == b"before"


def test_a_writer_that_raises_leaves_nothing(files: Files, tmp_path: Path) -> None:
    def broken(path: Path) -> None:
        path.write_bytes(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        files.write("output", "n", ".txt", broken)
    assert list((tmp_path / "output").iterdir()) == []


@pytest.mark.parametrize(
    "link",
    [
        {"type": "output", "filename": "../secret"}, {"type": "input", "filename": "sub/a.png"}, {},
        {"type": "output", "filename": "x", "subfolder": "../.."}, {"type": "output", "filename": 7},
        {"type": "output", "filename": "gone.txt"}, {"type": "output", "filename": "\0"},
        {"type": "output", "filename": "/etc/passwd"},
    ],
)  # fmt: skip
def test_only_outputs_that_are_there_are_found_again(files: Files, link: Any) -> None:
    assert files.saved(link) is None


@pytest.mark.parametrize("written", [{}, None])
def test_facts_of_an_output_are_those_of_its_file(files: Files, written: Any) -> None:
    job = replace(files, written=written)
    for role in ("output", "temp"):
        saved = job.write(role, "x", ".png", b"picture")
        path = job.saved(saved.as_link())
        assert path is not None
        assert job.facts(path, saved.sha256) == (blake3(b"picture").hexdigest(), 7)
        assert bool(job.written) is (written is not None)


# ---------------------------------------------------------------- content hashes


def test_a_digest_follows_the_content_only(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "input" / "b"
    made = []
    for text in ("one", "two", "one", ""):
        path.write_text(text)
        made.append(files.digest("input", "b"))
    assert made[0] == made[2]
    assert len(set(made)) == 3


def test_a_digest_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    memo = DiskTier(tmp_path / "cache")
    files = Files.under(tmp_path, memo=memo)
    (tmp_path / "input").mkdir()
    path = tmp_path / "input" / "b"
    path.write_text("one")
    digest = files.digest("input", "b")
    asked: list[str] = []
    memo.remember = lambda path, stamp, digest: asked.append(digest)  # type: ignore[method-assign]
    assert files.digest("input", "b") == digest
    assert asked == []
    path.write_text("three")
    assert files.digest("input", "b") == asked[0] != digest
    memo.close()


def _touch(model: Path, name: str) -> Callable[[], None]:
    def change() -> None:
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_text("changed")

    return change


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("unet/w.safetensors", True), ("vae/config.json", True), ("vae/extra", True),
        ("README.md", False), ("lora/w.safetensors", False), ("notes.txt", False), ("unet/.DS_Store", False),
        ("preview.png", False),
    ],
)  # fmt: skip
def test_the_digest_of_a_model_folder_is_of_the_parts_that_its_index_names(
    tmp_path: Path, name: str, counts: bool
) -> None:
    model = tmp_path / "model"
    for part in (
        "unet/w.safetensors",
        "vae/config.json",
        "vae/w.safetensors",
        "lora/w.safetensors",
        "README.md",
    ):
        _touch(model, part)()
        (model / part).write_text(part)
    index = {
        "_class_name": "Pipeline",
        "unet": ["diffusers", "U"],
        "vae": ["diffusers", "V"],
        "none": [None, None],
    }
    (model / "model_index.json").write_text(json.dumps(index))
    files = Files.under(tmp_path, items={"checkpoints": {"embedded": model}})
    before = files.digest("checkpoints", "embedded")
    _touch(model, name)()
    assert (files.digest("checkpoints", "embedded") != before) == counts


def test_the_index_of_a_model_folder_names_no_folder_outside(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").write_text("1")
    (model / "model_index.json").write_text(json.dumps({"../other": [], "/etc": [], "..": []}))
    files = Files.under(tmp_path, items={"checkpoints": {"m": model}})
    before = files.digest("checkpoints", "m")
    (tmp_path / "other" / "x").write_text("2")
    assert files.digest("checkpoints", "m") == before


def test_a_file_that_is_written_in_pieces_is_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:3]))
    create(tmp_path / "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"
    with pytest.raises(FileExistsError):
        create(tmp_path / "a", b"other")

    def full(fd: int, data: memoryview) -> int:
        if len(data) < 8:
            raise OSError(errno.ENOSPC, "full")
        return write(fd, data[:3])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="full"):
        create(tmp_path / "b", b"0123456789")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_only_drafts_of_ended_processes_are_swept(tmp_path: Path) -> None:
    child = multiprocessing.get_context("spawn").Process(target=int)
    child.start()
    child.join()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / f".draft-{MACHINE}-{child.pid}-abc.png").write_bytes(b"half")
    (tmp_path / f".draft-{MACHINE}-{os.getpid()}-abc.png").write_bytes(b"half")
    (tmp_path / "whole.png").write_bytes(b"whole")
    assert sweep(tmp_path) == 1
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == [
        f".draft-{MACHINE}-{os.getpid()}-abc.png",
        "whole.png",
    ]


def test_drafts_of_another_machine_are_swept_once_they_are_old(tmp_path: Path) -> None:
    young, old = (tmp_path / f".draft-another-1-{age}.png" for age in ("young", "old"))
    for path in (young, old):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - ABANDONED_S - 1,) * 2)
    assert sweep(tmp_path) == 1
    assert young.exists()
