"""An event loop on a thread of its own, and runs under way there; it works inside a running loop too."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from typing import TypeAlias

from engine import events
from engine.plan import Plan
from engine.ports import Env
from engine.runner import Engine, Run

Told: TypeAlias = "events.Event | Underway"
"""An event, or a run: it has ended, and all of its events have been told."""


class Loop:
    """An event loop on a daemon thread, so that it does not hold up the interpreter's exit."""

    def __init__(self) -> None:
        made: queue.SimpleQueue[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(_until_told(made)), name="latentgraph-session", daemon=True
        )
        self._thread.start()
        self.loop, self._ended = made.get()

    def stop(self) -> None:
        """Have the loop end; returns at once."""
        with contextlib.suppress(RuntimeError):  # it has ended
            self.loop.call_soon_threadsafe(self._ended.set)

    def join(self) -> None:
        """Wait for the end."""
        self._thread.join()


async def _until_told(made: "queue.SimpleQueue[tuple[asyncio.AbstractEventLoop, asyncio.Event]]") -> None:
    ended = asyncio.Event()
    made.put((asyncio.get_running_loop(), ended))
    await ended.wait()


class Underway:
    """A run of its own, from before it begins, so that an interrupt at any moment finds it.

    Args:
        tell: Told every event on the loop's thread, and then the run itself.
        ended: Whether whoever follows it has been told of its end.
    """

    def __init__(
        self, engine: Engine, loop: Loop, plan: Plan, env: Env | None, tell: Callable[[Told], None]
    ) -> None:
        self._engine, self._loop, self._tell = engine, loop, tell
        self._job = engine.start(plan, tell, env=env)
        self._task: asyncio.Task[None] | None = None
        self.future: Future[Run] = Future()
        self.ended = False

    @property
    def moves(self) -> bool:
        """Whether it has begun and not ended."""
        return self._task is not None and not self.future.done()

    def begin(self) -> None:
        """Have it run; asked again, nothing more happens."""
        if not self.future.done():
            self._loop.loop.call_soon_threadsafe(self._spawn)

    def cancel(self) -> None:
        """Stop it at the next step of every node."""
        self._job.cancel()

    def _spawn(self) -> None:
        self._task = self._task or self._loop.loop.create_task(self._finish())

    async def _finish(self) -> None:
        try:
            self.future.set_result(await self._engine.finish(self._job))
        except BaseException as error:  # whatever it is, whoever waits is to have it
            self.future.set_exception(error)
        finally:
            self._tell(self)


def follow(
    told: "queue.SimpleQueue[Told]", runs: list[Underway], tell: Callable[[events.Event], object]
) -> Run:
    """Begin runs together, pass events on until the first of them has ended, and give how.

    What is raised meanwhile, an interrupt say, stops all of them first and waits until they have.
    """
    try:
        for run in runs:
            run.begin()
        while not runs[0].ended:
            event = told.get()
            if isinstance(event, Underway):
                event.ended = True
            else:
                tell(event)
        return runs[0].future.result()
    except BaseException:
        stop(runs)
        raise


def stop(runs: Iterable[Underway]) -> None:
    """Stop runs and wait until they have."""
    every = list(runs)
    for run in every:
        run.cancel()
        run.begin()  # an interrupt may have come before it had begun; so it ends for certain
    wait([run.future for run in every])
