"""Group commit: what waits together is committed together, and what fails fails alone."""

import contextlib
import errno
import os
import queue
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import OperationalError

from server.queue.opening import open_database
from server.queue.writer import MOST, Writer


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(f"sqlite:///{tmp_path / 'w.sqlite'}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
    yield engine
    engine.dispose()


@pytest.fixture
def writer(engine: Engine) -> Iterator[Writer]:
    writer = Writer(engine)
    yield writer
    writer.close()


@pytest.fixture
def commits(engine: Engine) -> list[int]:
    found: list[int] = []
    event.listen(engine, "commit", lambda _: found.append(1))
    return found


def put(n: int) -> Callable[[Connection], int]:
    def write(connection: Connection) -> int:
        connection.execute(text("INSERT INTO t VALUES (:n)"), {"n": n})
        return n

    return write


def there(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return [row[0] for row in connection.execute(text("SELECT n FROM t ORDER BY n"))]


def held(writer: Writer) -> threading.Event:
    """Have the writer busy until the event is set, so that what is submitted meanwhile waits."""
    begun, go = threading.Event(), threading.Event()

    def wait(_: Connection) -> None:
        begun.set()
        assert go.wait(30)

    writer.submit(wait)
    assert begun.wait(30)
    return go


def test_what_waits_together_takes_one_commit(writer: Writer, engine: Engine, commits: list[int]) -> None:
    go = held(writer)
    futures = [writer.submit(put(n)) for n in range(100)]
    go.set()
    assert [f.result() for f in futures] == list(range(100))
    assert len(commits) == 2, "one for what held it up, one for the hundred"
    assert there(engine) == list(range(100))


def test_a_transaction_is_bounded(writer: Writer, commits: list[int]) -> None:
    go = held(writer)
    futures = [writer.submit(put(n)) for n in range(MOST + 1)]
    go.set()
    assert futures[-1].result() == MOST
    assert len(commits) == 3


def test_a_piece_that_fails_fails_alone(writer: Writer, engine: Engine) -> None:
    def wrong(_: Connection) -> None:
        raise ValueError("mine")

    go = held(writer)
    futures: list[Any] = [
        writer.submit(put(1)),
        writer.submit(wrong),
        writer.submit(put(1)),
        writer.submit(put(2)),
    ]
    go.set()
    assert futures[0].result() == 1
    with pytest.raises(ValueError, match="mine"):
        futures[1].result()
    with pytest.raises(Exception, match="UNIQUE"):
        futures[2].result()
    assert futures[3].result() == 2
    assert there(engine) == [1, 2]


def test_a_commit_that_fails_fails_all_that_were_in_it(writer: Writer, engine: Engine) -> None:
    full = threading.Event()

    def check(_: Connection) -> None:
        if full.is_set():
            raise OperationalError("COMMIT", {}, sqlite3.OperationalError("database or disk is full"))

    event.listen(engine, "commit", check)
    go = held(writer)
    full.set()
    futures = [writer.submit(put(n)) for n in range(3)]
    go.set()
    for future in futures:
        with pytest.raises(OperationalError, match="disk is full"):
            future.result()
    assert there(engine) == []
    full.clear()
    assert writer.submit(put(7)).result() == 7
    assert there(engine) == [7]


def test_work_that_was_called_off_before_its_turn_is_not_done(writer: Writer, engine: Engine) -> None:
    go = held(writer)
    off, on = writer.submit(put(1)), writer.submit(put(2))
    assert off.cancel()
    go.set()
    assert on.result() == 2
    assert there(engine) == [2]


def test_closing_does_what_waits_and_refuses_what_comes_later(engine: Engine) -> None:
    writer = Writer(engine)
    go = held(writer)
    future = writer.submit(put(1))
    closing = threading.Thread(target=writer.close)
    closing.start()
    go.set()
    closing.join()
    assert future.result() == 1
    with pytest.raises(RuntimeError, match="closed"):
        writer.submit(put(2)).result()
    assert there(engine) == [1]


def test_only_what_was_promised_is_synced_by_itself(writer: Writer, engine: Engine) -> None:
    def level(connection: Connection) -> int:
        return int(connection.execute(text("PRAGMA synchronous")).scalar() or 0)

    assert writer.submit(level).result() == 2
    assert writer.submit(level, durable=False).result() == 1
    go = held(writer)
    both = [writer.submit(level, durable=False), writer.submit(level)]
    go.set()
    assert [f.result() for f in both] == [2, 2]


def test_who_needs_no_sync_goes_on_while_the_disk_syncs(
    writer: Writer, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    early: queue.SimpleQueue[int] = queue.SimpleQueue()
    go, fsync = threading.Event(), os.fsync

    def slow(file: int) -> None:
        assert go.wait(30)
        fsync(file)

    monkeypatch.setattr(os, "fsync", slow)
    future = writer.submit(put(1), early=early.put)
    assert early.get(timeout=30) == 1
    assert there(engine) == [1], "committed: it survives the end of this process"
    assert not future.done(), "not yet synced: it may not survive a power cut"
    go.set()
    assert future.result(30) == 1


def test_nobody_goes_on_where_the_commit_fails(writer: Writer, engine: Engine) -> None:
    early: list[int] = []

    def full(_: Connection) -> None:
        raise OperationalError("COMMIT", {}, sqlite3.OperationalError("database or disk is full"))

    event.listen(engine, "commit", full)
    with pytest.raises(OperationalError, match="disk is full"):
        writer.submit(put(1), early=early.append).result()
    event.remove(engine, "commit", full)
    assert early == []
    assert there(engine) == []


def test_what_cannot_be_synced_in_the_log_is_synced_in_the_database_itself(
    writer: Writer, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    assert writer.submit(put(1), early=lambda _: None).result(30) == 1
    shutil.copy(tmp_path / "w.sqlite", tmp_path / "alone.sqlite")  # without its log
    with contextlib.closing(sqlite3.connect(tmp_path / "alone.sqlite")) as alone:
        assert alone.execute("SELECT n FROM t").fetchall() == [(1,)]


def other_process(engine: Engine) -> sqlite3.Connection:
    """A connection that holds the write lock, as another process of the same queue may."""
    other = sqlite3.connect(str(engine.url.database), isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    return other


def test_a_database_that_another_process_writes_is_waited_for(writer: Writer, engine: Engine) -> None:
    other = other_process(engine)
    future = writer.submit(put(1))
    with pytest.raises(TimeoutError):
        future.result(0.3)
    other.execute("INSERT INTO t VALUES (2)")
    other.execute("COMMIT")
    assert future.result(30) == 1
    other.close()
    assert there(engine) == [1, 2]


def test_a_database_that_stays_locked_is_an_error_and_then_works_again(
    writer: Writer, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.queue.opening.PATIENCE_S", 0.2)
    other = other_process(engine)
    with pytest.raises(OperationalError, match="locked"):
        writer.submit(put(1)).result(30)
    other.close()
    assert writer.submit(put(2)).result(30) == 2
    assert there(engine) == [2]


def test_two_writers_of_one_database_lose_nothing(writer: Writer, engine: Engine) -> None:
    second = Writer(engine)
    futures = [(writer, second)[n % 2].submit(put(n), durable=n % 3 == 0) for n in range(600)]
    assert [f.result(60) for f in futures] == list(range(600))
    second.close()
    assert there(engine) == list(range(600))
