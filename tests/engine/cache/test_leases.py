"""Leases: processes that share a cache make a slow result once; a dead one holds nothing up."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cache.leases import SLOW_S, Leases

HERE = Path(__file__).parent


def unknown(_name: str) -> float | None:
    return None


def nothing(_key: str) -> bool:
    return False


def test_one_of_two_holders_gets_it_and_the_other_after_it(tmp_path: Path) -> None:
    one, two = (Leases(tmp_path / "leases", unknown, nothing) for _ in range(2))
    lease = one.take("key")
    assert lease is not None
    assert two.take("key") is None
    assert two.take("another") is not None
    lease.release()
    again = two.take("key")
    assert again is not None
    lease.release()
    assert one.take("key") is None, "to release once more lets nothing go"


def test_in_one_process_nobody_waits_for_itself(tmp_path: Path) -> None:
    leases = Leases(tmp_path / "leases", unknown, nothing)
    first, second = leases.take("key"), leases.take("key")
    assert first is not None
    assert second is not None
    second.release()
    assert Leases(tmp_path / "leases", unknown, nothing).take("key") is None
    first.release()


def test_no_files_are_left(tmp_path: Path) -> None:
    folder = tmp_path / "leases"
    folder.mkdir()
    (folder / "of a killed process").touch()
    leases = Leases(folder, unknown, nothing)
    taken = [leases.take(f"key {i}") for i in range(100)]
    assert len(list(folder.iterdir())) == 100
    for lease in taken:
        assert lease
        lease.release()
    assert list(folder.iterdir()) == []


def test_where_files_cannot_be_locked_everybody_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "leases").write_text("a file where the folder should be")
    for leases in (Leases(tmp_path / "leases", unknown, nothing) for _ in range(2)):
        assert leases.take("key") is not None
        assert leases.take("key") is not None
        assert not leases.worth("Any", models=True)
    assert "no files can be locked" in caplog.text
    assert len(caplog.records) == 2, "said once in a process"


def test_only_what_is_slow_and_stored_is_worth_one(tmp_path: Path) -> None:
    usual = {"Quick": SLOW_S / 2, "Slow": SLOW_S}
    leases = Leases(tmp_path, usual.get, nothing)
    assert [leases.worth(name, models=True) for name in ("Quick", "Slow", "New")] == [False, True, True]
    assert not leases.worth("New", models=False)
    leases.took("New", 2 * SLOW_S, stored=True)
    assert leases.worth("New", models=False)
    leases.took("Slow", 9.0, stored=False)
    assert not leases.worth("Slow", models=True)


class Room:
    """A folder in which processes share a cache."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.noted = folder, folder / "noted"
        self.started: list[subprocess.Popen[str]] = []

    def start(self, kind: str, seed: int = 0) -> subprocess.Popen[str]:
        paths = os.pathsep.join([str(HERE.parent), str(HERE.parents[2])])
        command = [
            sys.executable,
            str(HERE / "leasing.py"),
            str(self.folder / "cache"),
            str(self.noted),
            kind,
        ]
        child = subprocess.Popen(
            [*command, str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
        self.started.append(child)
        return child

    def lines(self) -> list[str]:
        return self.noted.read_text().split()


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path)
    yield room
    for child in room.started:
        child.kill()
        child.communicate()


def said(child: subprocess.Popen[str]) -> str:
    assert child.stdout
    return child.stdout.readline().strip()


def let_go(child: subprocess.Popen[str]) -> None:
    assert child.stdin
    child.stdin.write("\n")
    child.stdin.flush()


def test_two_processes_make_a_slow_result_once(room: Room) -> None:
    first = room.start("one")
    assert said(first) == "begun"
    second = room.start("one")
    assert said(second) == "waiting"
    let_go(first)
    assert said(first) == "made 1"
    assert said(second) == "made 0"
    assert room.lines() == ["4"]
    assert [child.wait(30) for child in (first, second)] == [0, 0]


def test_when_the_maker_is_killed_the_one_that_waits_takes_over(room: Room) -> None:
    first = room.start("one")
    assert said(first) == "begun"
    second = room.start("one")
    assert said(second) == "waiting"
    first.kill()
    assert said(second) == "begun"
    let_go(second)
    assert said(second) == "made 1"
    assert room.lines() == ["4", "4"]


@pytest.mark.slow
def test_three_processes_share_many_results_without_doing_one_twice(room: Room) -> None:
    children = [room.start("many", seed) for seed in range(3)]
    assert [said(child) for child in children] == ["ready"] * 3
    for child in children:
        let_go(child)
    executed = [int(said(child).removeprefix("made ")) for child in children]
    assert [child.wait(30) for child in children] == [0, 0, 0]
    assert sorted(room.lines(), key=int) == [str(i) for i in range(200)]
    assert sum(count > 0 for count in executed) > 1
    assert list((room.folder / "cache" / "leases").iterdir()) == []
