"""The disk tier: outlives processes, damage, other writers, a full disk; stays within its budget."""

import contextlib
import errno
import logging
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import World, n

from engine.cache import KeyParts, Result, disk
from engine.cache.disk import DiskTier

PARTS = KeyParts("Toy", "1", {"a": "1"}, {"b": ("k", 0)}, "version 1")
HERE = Path(__file__).parent.parent


def result(text: str = "x", cost: float = 1.0) -> Result:
    return Result(([text, {"z": 1, "a": (1, 2)}],), {"images": [{"filename": "f"}]}, cost)


def tier(folder: Path, budget: int = 2**20) -> DiskTier:
    return DiskTier(folder, budget)


def blobs(folder: Path) -> list[Path]:
    return sorted(p for p in (folder / "blobs").glob("*/*") if p.is_file())


def test_what_is_put_is_got_again_after_reopening(tmp_path: Path) -> None:
    first = tier(tmp_path)
    first.put("k", result(), PARTS)
    first.close()
    second = tier(tmp_path)
    assert second.has("k")
    assert second.get("k") == result()
    assert second.get("other") is None
    assert second.last_parts("Toy", "1") == PARTS
    second.close()


def test_a_result_outlives_its_process(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]); from toys import World, n;"
        "w = World(Path(sys.argv[1]), disk=True);"
        "r = w.run({'1': n('Value', value=4), '2': n('Show', value=['1', 0])}); print(r.executed); w.close()"
    )
    for expected in ("('1', '2')", "()"):
        ran = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path), str(HERE)],
            capture_output=True, text=True, check=True, cwd=HERE.parent.parent,
        )  # fmt: skip
        assert ran.stdout.strip() == expected


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_blob_is_a_miss_and_is_repaired(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache = tier(folder)
        cache.put("k", result("some text"), PARTS)
        (blob,) = blobs(folder)
        content = bytearray(blob.read_bytes())
        how = data.draw(st.sampled_from(["flip", "cut", "grow", "gone"]))
        if how == "flip":
            content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        elif how == "cut":
            del content[data.draw(st.integers(0, len(content) - 1)) :]
        else:
            content += b" "
        blob.unlink() if how == "gone" else blob.write_bytes(content)
        assert cache.get("k") is None
        assert not cache.has("k")
        cache.put("k", result("some text"), PARTS)
        assert cache.get("k") == result("some text")
        assert cache.verify().damaged == 0
        cache.close()


def test_every_damaged_blob_is_computed_again_and_never_gives_a_wrong_value(tmp_path: Path) -> None:
    graph = {"0": n("Value", value=3)} | {str(i): n("Add", a=[str(i - 1), 0], plus=i) for i in range(1, 6)}
    graph |= {f"s{i}": n("Show", value=[str(i), 0]) for i in range(6)}
    random.seed(4)
    world = World(tmp_path, disk=True)
    world.run(graph)
    wanted = sorted(world.texts())
    assert len(blobs(tmp_path / "cache")) >= 12
    for blob in blobs(tmp_path / "cache"):
        content = bytearray(blob.read_bytes())
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
        blob.write_bytes(content)
        assert world.run(graph).status == "success"
        assert sorted(world.texts()) == wanted
        assert world.run(graph).executed == ()
    world.close()


@settings(max_examples=40, deadline=None)
@given(st.integers(0), st.integers(0, 7), st.integers(1, 40))
def test_a_damaged_table_never_raises_and_never_gives_a_wrong_value(at: int, bit: int, run: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = tier(folder)
        for i in range(20):
            first.put(f"k{i}", result(str(i)), PARTS)
        first.close()
        table = folder / "actions.sqlite"
        content = bytearray(table.read_bytes())
        for i in range(run):
            content[(at + i) % len(content)] ^= 1 << bit
        table.write_bytes(content)
        cache = tier(folder)
        for i in range(20):
            found = cache.get(f"k{i}")
            assert found is None or found.outputs == result(str(i)).outputs
            cache.put(f"k{i}", result(str(i)), PARTS)
        cache.last_parts("Toy", "1")
        cache.usual_cost("Toy")
        cache.stats()
        cache.verify()
        cache.close()


def test_a_table_that_is_no_database_is_moved_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "actions.sqlite").write_bytes(b"not a database at all" * 100)
    cache = tier(tmp_path)
    cache.put("k", result(), PARTS)
    assert cache.get("k") == result()
    assert "moved to" in caplog.text
    assert list(tmp_path.glob("actions.damaged-*"))
    cache.close()


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 900)), max_size=30), st.integers(300, 3000))
def test_the_blobs_never_take_more_than_the_budget(puts: list[tuple[int, int]], budget: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache = DiskTier(folder, budget)
        for key, size in puts:
            cache.put(str(key), Result((["x" * size],), {}, 1.0), PARTS)
            assert sum(p.stat().st_size for p in blobs(folder)) <= budget
            assert cache.stats().bytes <= budget
        cache.close()


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache = DiskTier(tmp_path, 1000)
    for i in range(4):
        cache.put(str(i), Result((["x" * 300 + str(i)],), {}, 1.0), PARTS)
    assert [cache.has(str(i)) for i in range(4)] == [False, False, True, True]
    cache.close()


def test_a_quick_result_is_noted_but_not_stored(tmp_path: Path) -> None:
    cache = tier(tmp_path)
    cache.put("k", Result(([1],), {}, 0.001), PARTS)
    assert not cache.has("k")
    assert cache.last_parts("Toy", "1") == PARTS
    assert blobs(tmp_path) == []
    cache.close()


def test_of_quick_results_the_last_of_each_node_is_noted(tmp_path: Path) -> None:
    cache = tier(tmp_path)
    for i in range(2_500):
        parts = replace(PARTS, node_id=str(i % 5), literals={"a": str(i)})
        cache.put(f"k{i}", Result(([1],), {}, 0.001), parts)
    again = tier(tmp_path)  # written without being asked for
    assert 0 < len(rows(tmp_path)) <= 10
    assert again.last_parts("Toy", "4").literals == {"a": "1999"}  # type: ignore[union-attr]
    assert cache.last_parts("Toy", "4").literals == {"a": "2499"}  # type: ignore[union-attr]
    again.close()
    cache.close()


def test_old_notes_go_and_results_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "NOTES_KEPT", 20)
    monkeypatch.setattr(disk, "NOTES_OVER", 1)
    cache = tier(tmp_path)
    cache.put("kept", result(), PARTS)
    for i in range(100):
        cache.put(f"k{i}", Result(([1],), {}, 0.001), replace(PARTS, node_id=str(i)))
    cache.flush()
    left = {key for key, blob in rows(tmp_path) if not blob}
    assert {f"k{i}" for i in range(80, 100)} <= left
    assert len(left) < 40
    assert cache.get("kept") == result()
    cache.close()


def rows(folder: Path) -> list[tuple[str, str | None]]:
    with contextlib.closing(sqlite3.connect(folder / "actions.sqlite")) as db:
        return db.execute("SELECT key, blob FROM actions").fetchall()


def test_a_full_disk_costs_the_cache_and_not_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    world = World(tmp_path, disk=True)
    monkeypatch.setattr(os, "fsync", full)
    for _ in range(2):
        run = world.run({"1": n("Value", value=4), "2": n("Show", value=["1", 0])})
        assert (run.status, set(run.executed)) == ("success", {"1", "2"})
    assert "No space left" in caplog.text
    assert blobs(tmp_path / "cache") == []
    monkeypatch.undo()
    world.close()


def test_a_locked_table_costs_the_cache_and_not_the_job(tmp_path: Path) -> None:
    cache = tier(tmp_path)
    cache._table._db.execute("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(tmp_path / "actions.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    cache.put("k", result(), PARTS)
    assert cache.get("k") is None
    other.execute("ROLLBACK")
    other.close()
    cache.put("k", result(), PARTS)
    assert cache.get("k") == result()
    cache.close()


def _write_and_read(folder: str, seed: int) -> None:
    random.seed(seed)
    cache = DiskTier(Path(folder), 20_000)
    for _ in range(60):
        key = random.randrange(30)
        found = cache.get(str(key))
        assert found is None or found == result(f"{key}" * 50)
        cache.put(str(key), result(f"{key}" * 50), PARTS)
        if random.random() < 0.05:
            cache.verify()
    cache.close()


def test_processes_share_a_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write_and_read, args=(str(tmp_path), i)) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [w.exitcode for w in workers] == [0, 0, 0]
    cache = DiskTier(tmp_path, 20_000)
    assert cache.verify().damaged == 0
    cache.close()


def test_verify_finds_damage_and_clear_removes_everything(tmp_path: Path) -> None:
    cache = tier(tmp_path)
    for i in range(3):
        cache.put(str(i), result(str(i)), PARTS)
    blobs(tmp_path)[0].write_bytes(b"?")
    stats = cache.verify()
    assert (stats.results, stats.damaged) == (2, 1)
    cache.clear()
    assert cache.stats().results == cache.stats().bytes == 0
    assert blobs(tmp_path) == []
    cache.close()


@pytest.mark.slow
def test_a_killed_process_leaves_nothing_half_written_and_the_next_run_completes(tmp_path: Path) -> None:
    random.seed(7)
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]); from toys import World, n;"
        "w = World(Path(sys.argv[1]), disk=True); print('go', flush=True);"
        "g = {str(i): n('Value', value=i) for i in range(80)};"
        "g |= {f's{i}': n('Save', value=[str(i), 0], prefix=f'sub/n{i}') for i in range(80)};"
        "r = w.run(g); print(r.status, len(r.executed)); w.close()"
    )
    command = [sys.executable, "-c", script, str(tmp_path), str(HERE)]
    root = HERE.parent.parent
    for _ in range(10):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
        assert process.stdout
        process.stdout.readline()
        try:
            process.wait(random.uniform(0.005, 0.12))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.stdout.close()
        process.wait()
        for path in (tmp_path / "output" / "sub").glob("n*.txt"):
            assert path.name.startswith(f"n{path.read_text()}_0"), "whole, even where it was made twice"
        if (tmp_path / "cache").exists():
            cache = DiskTier(tmp_path / "cache")
            assert cache.verify().damaged == 0
            cache.close()
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    assert "success" in ran.stdout
    saved: dict[str, Any] = {p.name: p.read_text() for p in (tmp_path / "output" / "sub").glob("n*.txt")}
    assert set(saved.values()) == {str(i) for i in range(80)}


def test_a_closed_tier_is_a_miss(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    cache = tier(tmp_path)
    cache.close()
    cache.put("k", result(), PARTS)
    assert cache.get("k") is None
    cache.close()
