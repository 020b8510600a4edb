"""What is to be done on an event loop's thread: told from any thread, done in order by whoever asks."""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable

BREATH_S = 0.005
"""Seconds after which somebody who always has something to do lets others have the loop."""


class Todo:
    """Things to do, for one coroutine that does them."""

    def __init__(self) -> None:
        self._things: deque[Callable[[], None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._woken: asyncio.Future[None] | None = None
        self._breathed = time.monotonic()

    def __bool__(self) -> bool:
        return bool(self._things)

    def begin(self) -> None:
        """From now on they are done on this loop; what was told before is lost."""
        self._thread, self._loop = threading.get_ident(), asyncio.get_running_loop()

    def later(self, thing: Callable[[], None]) -> None:
        """Have something done, from any thread; nothing once the loop is closed."""
        if self._loop is None:
            return
        if threading.get_ident() == self._thread:  # waking it would take a system call
            return self._take(thing)
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._take, thing)

    async def next(self) -> Callable[[], None]:
        """What is to be done next, once there is anything."""
        if not self._things:
            self._woken = asyncio.get_running_loop().create_future()
            await self._woken
        elif time.monotonic() - self._breathed > BREATH_S:
            await asyncio.sleep(0)
        else:
            return self._things.popleft()
        self._breathed = time.monotonic()
        return self._things.popleft()

    def _take(self, thing: Callable[[], None]) -> None:
        self._things.append(thing)
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)
