"""A worker: leases jobs, runs them on an engine, commits their ends; a thread of the server or a process."""

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from engine.events import Event
from engine.runner import Engine
from server.assembly import freed
from server.lately import Lately
from server.queue.jobs import Ending, Job, fault
from server.queue.owners import new_owner
from server.queue.postgres import brief
from server.queue.store import Leased, Queue
from server.running import Running
from server.telling import Message
from server.turn import Turn

T = TypeVar("T")
log = logging.getLogger(__name__)
LOOK_S = 1.0
"""Seconds after which a worker looks for jobs that nobody told it of."""
URGENT_S = 0.1
"""Seconds after which one that has no place left looks for a more urgent job that it was told of."""
BEAT_S = 5.0


@dataclass(frozen=True)
class Told:
    """Where a worker tells what happens; called on its thread.

    Args:
        message: What a run tells.
        taken: A job was begun.
        ended: A job's end is committed.
        put_back: A job that was begun waits again.
        event: What the engine says of a run; for metrics.
    """

    message: Callable[[Message], None]
    taken: Callable[[Job], None]
    ended: Callable[[Job, Ending], None]
    put_back: Callable[[Job], None]
    event: Callable[[Event], None] = lambda _: None


class Worker:
    """Runs jobs of the queue until it is stopped, `at_once` together, and one more that is more urgent.

    Its loop runs on a thread of its own, so that no request waits for a node.
    """

    def __init__(self, engine: Engine, queue: Queue, told: Told, at_once: int = 1) -> None:
        self.owner, self.lately = new_owner(), Lately()
        self._engine, self._queue, self._told = engine, queue, told
        self._running: dict[str, Running] = {}
        self._at_once = at_once
        self._busy: set[Running] = set()
        """Those that take a place; one whose end cannot be recorded yet takes none."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._more = self._napping = self._stopping = self._cut_off = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()), name="worker", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    @property
    def running(self) -> list[str]:
        """The ids of the jobs that it runs."""
        return list(self._running)

    def wake(self) -> None:
        """There may be work; may be called from any thread, and costs little while it is busy."""
        self._more = True  # before it is looked whether it naps; it looks the other way round
        if self._napping:
            self._rouse()

    def cancel(self, id: str | None = None, put_back: bool = False) -> list[str]:
        """Stop a job (all for None) at its next step; gives the ids of those that were running."""
        found = [r for i, r in list(self._running.items()) if id is None or i == id]
        for running in found:
            running.cancel(put_back)
        return [r.job.id for r in found]

    def free(self, results: bool) -> dict[str, int]:
        """Unload models, and results in memory if asked to; gives the bytes freed."""
        return freed(self._engine, results)

    def stop(self, seconds: float) -> bool:
        """Lease nothing more; what runs gets some seconds to end, then goes back into the queue.

        Returns:
            Whether the thread has ended; a node that takes no steps may hold it up, its job is put back all
            the same.
        """
        self._stopping = True
        self._rouse()
        self._thread.join(seconds)
        if self._thread.is_alive():
            self.cancel(put_back=True)
            self._thread.join(1.0)
        for running in list(self._running.values()):
            try:
                self._queue.release(running.job).result()
            except SQLAlchemyError as error:  # the next start puts it back
                log.error("job %s cannot be put back: %s", running.job.id, error)
        return not self._thread.is_alive()

    def _rouse(self) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake.set)

    # ------------------------------------------------------------ on its own thread

    async def _work(self) -> None:
        self._loop = asyncio.get_running_loop()
        beating = self._task(self._beat())
        while not self._stopping:
            self._wake.clear()
            if self._room <= 0:
                await self._make_way()
            elif not await self._lease(self._room):
                await self._nap()
        beating.cancel()
        if left := self._tasks - {beating}:
            await asyncio.wait(left)

    async def _nap(self) -> None:
        self._napping = True
        if not (self._more or self._stopping):
            await self._woken(LOOK_S)
        self._napping = False

    async def _woken(self, seconds: float) -> bool:
        """Wait so long at most; whether it was woken."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self._wake.wait()
        return False

    async def _make_way(self) -> None:
        """While all places are taken, look now and then for a job more urgent than all that run."""
        for _ in range(round(LOOK_S / URGENT_S)):
            if await self._woken(URGENT_S):
                return
            if self._more:
                break
        if not self._stopping and self._room <= 0:
            await self._lease(1, max(r.job.priority for r in self._busy))

    @property
    def _room(self) -> int:
        """Jobs that it may take; below 0 where one overtakes the others."""
        return 0 if self._stopping else self._at_once - len(self._busy)

    async def _lease(self, most: int, above: int | None = None) -> bool:
        """Take jobs; whether there were any."""
        self._more = False
        try:
            leased = await asyncio.wrap_future(self._queue.lease(self.owner, most, above))
        except Exception as error:  # whatever it is, the worker goes on
            self._complain("no job can be taken from the queue, trying on", error)
            return False
        if self._cut_off:
            log.warning("the queue answers again")
            self._cut_off = False
        self._begin(leased)
        return bool(leased)

    def _begin(self, leased: Iterable[Job], turn: Turn | None = None) -> None:
        """Run jobs; what they tell is told in its turn."""
        told = self._told
        if turn is not None:
            told = Told(**{name: turn.of(tell) for name, tell in vars(told).items()})
        for job in leased:
            if (known := self._running.get(job.id)) and known.is_of(job):
                continue  # PostgreSQL ended before it wrote the lease down: it holds again
            checked = self.lately.take(job)
            running = Running(job, self._engine, self._queue, told.message, told.event, checked)
            self._running[job.id] = running
            self._busy.add(running)
            told.taken(job)
            self._task(self._one(running))

    def _forget(self, running: Running) -> None:
        """It is over, whatever becomes of its job."""
        self._busy.discard(running)
        if self._running.get(running.job.id) is running:
            del self._running[running.job.id]

    def _leave(self, running: Running) -> None:
        """Its place is free."""
        self._busy.discard(running)
        if self._room > 0:
            self._wake.set()

    async def _one(self, running: Running) -> None:
        job = running.job
        try:
            ending, held = await running.run()
        except Exception as error:  # a fault of ours: the job ends, the worker goes on
            log.exception("job %s", job.id)
            ending, held = Ending("error", error=fault(job.id, error)), []
        try:
            await self._end(running, ending, held)
        except Exception as error:  # what it gave cannot be recorded
            log.exception("the end of job %s", job.id)
            await self._end(running, Ending("error", error=fault(job.id, error)), [])
        finally:
            self._leave(running)
            self._forget(running)

    async def _end(self, running: Running, ending: Ending, held: list[Message]) -> None:
        """Commit what became of a job, and with it that another is begun; then tell it.

        The other one begins while the disk syncs the end, and is told of after it.
        """
        job = running.job
        if running.putting_back and ending.status == "cancelled":
            if await self._committed(running, lambda: self._queue.release(job, paused=not self._stopping)):
                self._told.put_back(job)
            return

        loop, turn = asyncio.get_running_loop(), Turn()

        def begin(leased: list[Job]) -> None:
            self._forget(running)
            self._begin(leased, turn)

        def early(found: Leased) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it is put back with the others
                loop.call_soon_threadsafe(begin, found[1])

        def change() -> "Future[Leased]":
            others = self._busy - {running}
            if running not in self._busy or self._stopping:
                return self._queue.finish_and_lease(job, ending, 0)
            above = max(r.job.priority for r in others) if len(others) >= self._at_once else None
            return self._queue.finish_and_lease(job, ending, 1, above, early)

        done, _ = await self._committed(running, change) or (False, [])
        try:
            if done:
                for message in held:
                    self._told.message(message)
                self._told.ended(job, ending)
        finally:
            turn.come()
            self._leave(running)

    async def _committed(self, running: Running, change: Callable[[], "Future[T]"]) -> T | None:
        """What a change gave that was committed, however long the disk is full; None where it stops first."""
        complained = False
        while True:
            try:
                return await asyncio.wrap_future(change())
            except (SQLAlchemyError, sqlite3.Error) as error:
                if not complained:
                    log.error(
                        "the end of job %s cannot be recorded, trying on: %s", running.job.id, brief(error)
                    )
                complained = True
            self._leave(running)  # others go on meanwhile
            if self._stopping:
                return None
            await asyncio.sleep(LOOK_S)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                for id in await asyncio.wrap_future(self._queue.beat(self.owner, list(self._running))):
                    self.cancel(id)
            except Exception as error:  # as above
                self._complain("the leases cannot be renewed, trying on", error)

    def _complain(self, what: str, error: Exception) -> None:
        """Once, until the queue answers again."""
        if not self._cut_off:
            log.error("%s: %s", what, brief(error))
        self._cut_off = True

    def _task(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
