"""Group commit: one thread that writes, as many requests in one transaction as are waiting."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

T = TypeVar("T")
MOST = 256
"""Pieces of work in one transaction."""


class _Work(Generic[T]):
    def __init__(self, write: Callable[[Connection], T], durable: bool, after: Callable[[T], None]) -> None:
        self.write, self.durable, self.after = write, durable, after
        self.future: Future[T] = Future()

    def done(self, result: T) -> None:
        self.after(result)
        self.future.set_result(result)


class Writer:
    """Runs pieces of work on the database, each wholly or not at all.

    What waits together is committed together, so that eight clients cost one fsync. A transaction that holds
    nothing durable is not synced by itself: losing it to a power cut loses nothing that was promised.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._inbox: queue.SimpleQueue[_Work[Any] | None] = queue.SimpleQueue()
        self._closed = False
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
    ) -> Future[T]:
        """Have some work done and committed.

        Args:
            durable: Whether it must survive a power cut once the future has its result.
            after: Is given what the work gave, after the commit, before anybody hears of it, in turn.

        Returns:
            Done after the commit; raises what the work or the commit raised.
        """
        work = _Work(write, durable, after)
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
                if self._connection is not None:
                    self._connection.close()
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
        connection = self._connected(any(w.durable for w in works))
        try:
            with connection.begin():
                return [work.write(connection) for work in works]
        except DBAPIError:
            connection.close()  # whatever is wrong with it, the next transaction has another
            self._connection = None
            raise

    def _connected(self, durable: bool) -> Connection:
        """The writer's own connection; taking one from the pool each time cost a quarter of a commit."""
        if self._connection is None:
            self._connection, self._level = self._engine.connect(), ""
        level = "FULL" if durable else "NORMAL"
        if level != self._level and self._engine.dialect.name == "sqlite":
            self._connection.connection.cursor().execute(f"PRAGMA synchronous={level}")
            self._level = level
        return self._connection
