"""One server to a base directory, whatever became of the last one."""

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from server.lock import HeldError, Lock
from tests.server.faulty import Process


def test_a_second_server_is_told_who_has_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "user" / "server.lock"
    first = Lock(path)
    with pytest.raises(HeldError) as caught:
        Lock(path)
    assert str(tmp_path) in str(caught.value)
    assert f'"pid": {os.getpid()}' in str(caught.value)
    first.close()
    Lock(path).close()


def test_the_lock_is_free_once_its_holder_was_killed(tmp_path: Path) -> None:
    process = Process(tmp_path)
    path = tmp_path / "user" / "server.lock"
    with pytest.raises(HeldError, match=str(process.pid)):
        Lock(path)
    process.kill()
    lock = Lock(path)
    assert json.loads(path.read_text())["pid"] == os.getpid()
    lock.close()


def test_a_child_process_does_not_hold_it(tmp_path: Path) -> None:
    path = tmp_path / "user" / "server.lock"
    lock = Lock(path)
    child = multiprocessing.get_context("spawn").Process(target=input)
    child.start()
    lock.close()
    try:
        Lock(path).close()
    finally:
        child.terminate()
        child.join()


def test_a_full_disk_does_not_keep_a_server_from_holding_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    path = tmp_path / "user" / "server.lock"
    lock = Lock(path)
    monkeypatch.undo()
    with pytest.raises(HeldError, match="another process"):
        Lock(path)
    lock.close()
