"""The call of a pack's node that is under way, and the event loop on which packs' coroutines run."""

import asyncio
import atexit
import itertools
import threading
import types
from collections.abc import Awaitable, Coroutine, Generator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from engine.devices import computing
from engine.running import Running

T = TypeVar("T")


class Interrupted(Exception):
    """The run is to end; what packs know as `InterruptProcessingException`."""


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a node's method.

    Args:
        index: Which of the calls over lists it is; None where there are no inputs.
        graphs: Numbers the graphs that it builds.
    """

    running: Running
    index: int | None
    graphs: Iterator[int] = field(default_factory=itertools.count)


CALL: ContextVar[Call | None] = ContextVar("CALL", default=None)
"""The call that this thread or task is in."""

_under_way: dict[Running, None] = {}


@contextmanager
def under_way(running: Running) -> Iterator[None]:
    """While the block runs, the node can be interrupted from anywhere."""
    _under_way[running] = None
    try:
        yield
    finally:
        _under_way.pop(running, None)


def running_now() -> Running | None:
    """The node that the caller belongs to; in a thread of a pack's own, the one that began last."""
    call = CALL.get()
    return call.running if call else next(reversed(list(_under_way)), None)


def interrupt() -> None:
    """End the run of the caller; called from elsewhere (a pack's route), those of all nodes under way."""
    call = CALL.get()
    for running in [call.running] if call else list(_under_way):
        running.stop()


def is_interrupted() -> bool:
    """Whether the run of the caller is to end."""
    running = running_now()
    return running is not None and running.stopped


def go_on() -> None:
    """Raise where the run of the caller is to end.

    Raises:
        Interrupted: It is.
    """
    if is_interrupted():
        raise Interrupted("the run was interrupted")


class _Loop:
    """An event loop on a thread of its own, made at its first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def get(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="packs", daemon=True)
                self._thread.start()
                atexit.register(self._close, self._loop)
            return self._loop

    def _close(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join(timeout=2)
        if not loop.is_running():
            loop.close()


_loop = _Loop()


def submit(coroutine: Coroutine[Any, Any, T]) -> Future[T]:
    """Run a coroutine on the packs' event loop."""
    return asyncio.run_coroutine_threadsafe(coroutine, _loop.get())


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the packs' event loop and wait for it."""
    return submit(coroutine).result()


async def in_call(call: Call, coroutine: Coroutine[Any, Any, T]) -> T:
    """A coroutine that runs as part of a call, without gradients."""
    CALL.set(call)
    return await _without_gradients(coroutine)


@types.coroutine
def _without_gradients(coroutine: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Enter the context of computing at each step only: other coroutines share the thread."""
    value: Any = None
    error: BaseException | None = None
    while True:
        try:
            with computing():
                waited = coroutine.throw(error) if error else coroutine.send(value)
        except StopIteration as stop:
            result: T = stop.value
            return result
        value = error = None
        try:
            value = yield waited
        except BaseException as thrown:  # cancellation too goes to the coroutine
            error = thrown


async def together(coroutines: list[Awaitable[T]]) -> list[T]:
    """What all of them give, in order; the first error ends the others."""
    tasks = [asyncio.ensure_future(c) for c in coroutines]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
