"""The shared store: engines on several machines use one; damage, absence and silence cost no job anything."""

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from toys import World, n

from engine.cache import KeyParts, Result, Tier
from engine.cache.disk import DiskTier
from engine.cache.store import Action, StoreStats, StoreTier, read_action
from engine.config import open_tiers, read_settings
from engine.problems import WorkflowError
from engine.trail import Note, Trail

PARTS = KeyParts("Toy", "1", {"a": "1"}, {"b": ("k", 0)}, "version 1")
GRAPH = {
    "0": n("Value", value=3),
    "1": n("Add", a=["0", 0], plus=1),
    "2": n("Add", a=["1", 0], plus=2),
    "s": n("Show", value=["2", 0]),
}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "file":
        yield (tmp_path / "shared").as_uri()
    else:
        yield "memory://bucket/prefix"
        MemoryFileSystem.store.clear()
        MemoryFileSystem.pseudo_dirs[:] = [""]


def result(text: str = "x", cost: float = 1.0) -> Result:
    trail = Trail("k", Note("d", 2, "float32", "m"), (Trail("j", Note()),))
    return Result(([text, (1, 2)], [torch.arange(3)]), {"images": [{"filename": "f"}]}, cost, trail)


def objects(url: str, part: str) -> list[str]:
    fs, root = fsspec.core.url_to_fs(url)
    return sorted(fs.find(f"{root}/{part}"))


def rewrite(url: str, path: str, data: bytes | None) -> None:
    fs, _ = fsspec.core.url_to_fs(url)
    fs.rm(path) if data is None else fs.pipe_file(path, data)


def same(found: Result | None, wanted: Result) -> bool:
    return found is not None and repr(found.outputs) == repr(wanted.outputs) and found.ui == wanted.ui


def world_with(base: Path, *tiers: Tier) -> World:
    world = World(base)
    world.tiers.tiers = tiers
    return world


def test_what_one_puts_another_gets(url: str) -> None:
    first, second = StoreTier(url), StoreTier(url)
    assert not second.has("kk1")
    first.put("kk1", result(), PARTS)
    third = StoreTier(url)
    assert third.has("kk1")
    found = third.get("kk1")
    assert same(found, result())
    assert found is not None
    assert found.cost == 1.0
    assert found.trail is not None
    assert found.trail.as_json() == result().trail.as_json()  # type: ignore[union-attr]
    (action,), (blob,) = objects(url, "actions"), objects(url, "blobs")
    assert action.endswith(("prefix/actions/kk/kk1", "shared/actions/kk/kk1"))
    assert blob.split("/")[-2] == blob.split("/")[-1][:2]
    fs, _ = fsspec.core.url_to_fs(url)
    assert third.stats() == StoreStats(1, len(fs.cat_file(blob)))


def test_a_key_that_was_not_there_is_asked_for_again_after_a_while(url: str) -> None:
    clock = Clock()
    waiting = StoreTier(url, clock=clock)
    assert not waiting.has("kk1")
    StoreTier(url).put("kk1", result(), PARTS)
    assert not waiting.has("kk1")
    clock.now = 6.0
    assert waiting.has("kk1")


def test_putting_again_changes_nothing(url: str) -> None:
    store = StoreTier(url)
    for _ in range(2):
        store.put("kk1", result(), PARTS)
    store.put("kk2", result(), PARTS)
    assert len(objects(url, "actions")) == 2
    assert len(objects(url, "blobs")) == 1


@pytest.mark.parametrize("how", ["flip", "cut", "empty", "gone"])
@pytest.mark.parametrize("part", ["actions", "blobs"])
def test_what_is_damaged_is_a_miss_that_is_said_once_and_repaired(
    url: str, part: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    StoreTier(url).put("kk1", result(), PARTS)
    (path,) = objects(url, part)
    fs, _ = fsspec.core.url_to_fs(url)
    content = fs.cat_file(path)
    flipped = content[:-3] + bytes([content[-3] ^ 4]) + content[-2:]
    rewrite(url, path, {"flip": flipped, "cut": content[:-1], "empty": b"", "gone": None}[how])
    clock = Clock()
    store = StoreTier(url, clock=clock)
    for clock.now in (0.0, 10.0, 20.0):
        assert store.get("kk1") is None
        assert not store.has("kk1")
    said = [r.message for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(said) == (0 if part == "actions" and how in ("empty", "gone") else 1)
    store.put("kk1", result(), PARTS)
    assert same(store.get("kk1"), result())
    assert same(StoreTier(url).get("kk1"), result())


def test_what_does_not_last_or_has_no_codec_or_was_quick_is_not_stored(url: str) -> None:
    store = StoreTier(url)
    store.put("~kk1", result(), PARTS)
    store.put("kk2", Result(([object()],), {}, 5.0), PARTS)
    store.put("kk3", Result((["x"],), {}, 0.01), PARTS)
    assert not store.slow(Result((["x"],), {}, 0.01))
    assert store.slow(Result((["x"],), {}, 0.5))
    assert objects(url, "actions") == objects(url, "blobs") == []
    assert [store.get(key) for key in ("~kk1", "kk2", "kk3")] == [None] * 3


def test_an_entry_that_is_damaged_or_of_another_version_is_none() -> None:
    whole = Action("b", 1).as_bytes()
    assert read_action(whole) is not None
    assert read_action(whole.replace(b'"size":1', b'"size":2')) is None
    assert read_action(b"") is None
    assert read_action(b'{"blob": "x"}') is None


def test_two_engines_with_caches_of_their_own_and_one_store_run_a_node_once(url: str, tmp_path: Path) -> None:
    runs = []
    for name in ("first", "second"):
        world = world_with(tmp_path, DiskTier(tmp_path / name, worth=0.0), StoreTier(url, worth=0.0))
        runs.append(world.run(GRAPH).executed)
        runs.append(world.run(GRAPH).executed)
        world.close()
    assert [len(executed) for executed in runs] == [4, 0, 0, 0]


def test_what_the_store_gave_is_kept_by_the_tiers_before_it(url: str, tmp_path: Path) -> None:
    StoreTier(url).put("kk1", result(), PARTS)
    tiers = open_tiers(read_settings(cache=tmp_path / "cache", store=url))
    assert [tier.name for tier in tiers.tiers] == ["memory", "disk", "store"]
    assert tiers.far
    found = tiers.get("kk1")
    assert found is not None
    assert found[1] == "store"
    assert [tier.has("kk1") for tier in tiers.tiers] == [True, True, True]
    disk: Any = tiers.tiers[1]
    again = disk.get("kk1")
    assert again.trail.as_json() == result().trail.as_json()  # type: ignore[union-attr]
    disk.close()


def test_nothing_is_looked_up_on_the_thread_of_a_loop(url: str) -> None:
    store = StoreTier(url)
    store.put("kk1", result(), PARTS)

    async def look() -> tuple[bool, Result | None, bool]:
        return store.has("kk1"), store.get("kk1"), await asyncio.to_thread(store.has, "kk1")

    assert asyncio.run(look()) == (False, None, True)


class Silent(MemoryFileSystem):
    """Storage that answers nothing until it is told to."""

    protocol = "silent"
    cachable = False
    answering = threading.Event()
    asked = 0

    def cat_file(self, path: str, **more: Any) -> bytes:
        type(self).asked += 1
        self.answering.wait(60)
        return bytes(super().cat_file(path, **more))


def test_a_store_that_does_not_answer_is_left_alone_for_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fsspec.register_implementation("silent", Silent, clobber=True)
    monkeypatch.setattr("engine.cache.store.PATIENCE_S", 0.05)
    monkeypatch.setattr("engine.cache.store.SLOWEST", 2**40)
    clock = Clock()
    store = StoreTier("silent://x", clock=clock)
    for _ in range(3):
        assert store.get("kk1") is None
        store.put("kk1", result(), PARTS)
    assert Silent.asked == 1
    assert ["cannot be used now" in r.message for r in caplog.records] == [True]
    clock.now = 31.0
    assert not store.has("kk1")
    assert Silent.asked == 2
    assert len(caplog.records) == 1
    Silent.answering.set()
    clock.now = 62.0
    store.put("kk1", result(), PARTS)
    assert same(store.get("kk1"), result())


def test_a_folder_that_cannot_be_written_costs_no_job_anything(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    world = world_with(tmp_path, StoreTier(str(tmp_path / "file" / "store"), worth=0.0))
    assert world.run(GRAPH).status == "success"
    world.close()
    assert len([r for r in caplog.records if "cannot be used now" in r.message]) == 1


class Folders(LocalFileSystem):
    """Storage with folders that are not made by writing into them."""

    protocol = "folders"


def test_folders_are_made_where_the_storage_has_some(tmp_path: Path) -> None:
    fsspec.register_implementation("folders", Folders, clobber=True)
    store = StoreTier(f"folders://{tmp_path}/new")
    store.put("kk1", result(), PARTS)
    assert same(StoreTier(str(tmp_path / "new")).get("kk1"), result())


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("nope://x/y", "give a folder or a URL"),
        ("webhdfs3://x", "give a folder"),
        ("oci://b/p", "pip install ocifs"),
    ],
)
def test_a_store_that_cannot_be_is_refused_with_what_to_do(wrong: str, hint: str) -> None:
    with pytest.raises(WorkflowError) as raised:
        open_tiers(read_settings(cache=Path("off"), store=wrong))
    assert hint in str(raised.value.problems[0].hint)
    assert wrong in raised.value.problems[0].message


def test_passwords_in_urls_are_not_shown() -> None:
    assert StoreTier("memory://me:secret@host/path").url == "memory://***@host/path"


def test_without_the_setting_no_fsspec_is_loaded() -> None:
    script = (
        "import sys; from engine.config import open_tiers, read_settings; from pathlib import Path;"
        "open_tiers(read_settings(cache=Path('off'))); print('fsspec' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
