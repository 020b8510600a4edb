"""Group commit: one thread that writes, as many requests in one transaction as are waiting."""

import contextlib
import logging
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from sqlite3 import Error
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

T = TypeVar("T")
log = logging.getLogger(__name__)
MOST = 256
"""Pieces of work in one transaction."""
RETRY_S = 1.0


class _Work(Generic[T]):
    def __init__(
        self,
        write: Callable[[Connection], T],
        durable: bool,
        after: Callable[[T], None],
        early: Callable[[T], None] | None,
    ) -> None:
        self.write, self.durable, self.after, self.early = write, durable, after, early
        self.future: Future[T] = Future()

    def done(self, result: T) -> None:
        self.after(result)
        self.future.set_result(result)


class Writer:
    """Runs pieces of work on the database, each wholly or not at all.

    What waits together is committed together, so that eight clients cost one fsync. A transaction that holds
    nothing durable is not synced by itself: losing it to a power cut loses nothing that was promised. Where
    somebody needs no sync to go on, the commit comes first and the sync after it; until that is done, nobody
    is told, but who reads the database sees it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._inbox: queue.SimpleQueue[_Work[Any] | None] = queue.SimpleQueue()
        self._closed = False
        self._closing = threading.Event()
        self._log: int | None = None
        """The file of SQLite's write-ahead log."""
        self._connection: Connection | None = None
        self._level = ""
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="queue-writer", daemon=True)
        self._thread.start()

    def submit(
        self,
        write: Callable[[Connection], T],
        durable: bool = True,
        after: Callable[[T], None] = lambda _: None,
        early: Callable[[T], None] | None = None,
    ) -> Future[T]:
        """Have some work done and committed.

        Args:
            durable: Whether it must survive a power cut once the future has its result.
            after: Is given what the work gave, after the commit, before anybody hears of it, in turn.
            early: Is given what the work gave once it survives the end of this process, be it not yet a power
                cut: while the disk syncs, what needs no more can go on. Called on the writer's thread; may
                not raise.

        Returns:
            Done after the commit; raises what the work or the commit raised.
        """
        work = _Work(write, durable, after, early)
        with self._lock:
            if self._closed:
                work.future.set_exception(RuntimeError("the queue is closed"))
            else:
                self._inbox.put(work)
        return work.future

    def close(self) -> None:
        """Do what is waiting, then end."""
        with self._lock:
            self._closed = True
        self._closing.set()
        self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            waiting = [self._inbox.get()]
            while len(waiting) < MOST and waiting[-1] is not None:
                try:
                    waiting.append(self._inbox.get_nowait())
                except queue.Empty:
                    break
            works = [w for w in waiting if w is not None and w.future.set_running_or_notify_cancel()]
            if works and not self._together(works):
                for work in works:
                    self._alone(work)
            if waiting[-1] is None:
                self._disconnect()
                return

    def _together(self, works: list[_Work[Any]]) -> bool:
        """Whether all went well in one transaction; if not, nothing was done."""
        if len(works) == 1:
            return False
        try:
            results = self._transaction(works)
        except Exception:
            return False  # each is tried by itself, and tells its own error
        for work, result in zip(works, results, strict=True):
            work.done(result)
        return True

    def _alone(self, work: _Work[Any]) -> None:
        try:
            (result,) = self._transaction([work])
        except Exception as error:  # the caller's, who waits for the future
            work.future.set_exception(error)
        else:
            work.done(result)

    def _transaction(self, works: list[_Work[Any]]) -> list[Any]:
        durable = any(w.durable for w in works)
        while True:
            reused, committing = self._connection is not None, False
            connection = self._connected()
            apart = durable and self._log is not None and any(w.early for w in works)
            try:
                self._set_level("FULL" if durable and not apart else "NORMAL")
                with connection.begin():
                    if not durable and connection.dialect.name == "postgresql":
                        connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
                    results = [work.write(connection) for work in works]
                    committing = True
                break
            except DBAPIError as error:
                self._disconnect()  # whatever is wrong with it, the next transaction has another
                if committing or not (reused and error.connection_invalidated):
                    raise  # else the server was restarted since the last, and nothing is done yet
        for work, result in zip(works, results, strict=True):
            if work.early is not None:
                work.early(result)
        if apart:
            self._sync(connection)
        return results

    def _sync(self, connection: Connection) -> None:
        """Have the disk keep what was committed; where its log cannot be synced, the database itself."""
        assert self._log is not None
        try:
            return os.fsync(self._log)
        except OSError as error:
            log.error("the log of the queue's database cannot be synced: %s", error)
        while not (self._checkpointed(connection) or self._closing.wait(RETRY_S)):
            log.error("the queue's database cannot be synced, trying on")

    def _checkpointed(self, connection: Connection) -> bool:
        cursor = connection.connection.cursor()
        try:
            self._set_level("FULL")
            cursor.execute("PRAGMA wal_checkpoint(FULL)")
            busy, *_ = cursor.fetchall()[0]
        except Error:
            return False
        return not busy

    def _connected(self) -> Connection:
        """The writer's own connection; taking one from the pool each time cost a quarter of a commit."""
        if self._connection is None:
            self._connection, self._level = self._engine.connect(), ""
            if self._engine.dialect.name == "sqlite":
                self._connection.detach()  # nobody else gets it with these settings
                self._connection.connection.cursor().execute("PRAGMA busy_timeout=0")  # `opening` waits
                with contextlib.suppress(OSError):  # there is none: commits are synced as they are made
                    self._log = os.open(f"{self._engine.url.database}-wal", os.O_RDWR)
        return self._connection

    def _set_level(self, level: str) -> None:
        """Whether SQLite syncs with each commit."""
        if level != self._level and self._engine.dialect.name == "sqlite":
            assert self._connection is not None
            self._connection.connection.cursor().execute(f"PRAGMA synchronous={level}")
            self._level = level

    def _disconnect(self) -> None:
        if self._log is not None:
            os.close(self._log)
        if self._connection is not None:
            self._connection.close()
        self._connection = self._log = None
