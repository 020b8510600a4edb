"""Worker processes: each leases from the queue by itself; a pipe carries what it tells and is told."""

import asyncio
import contextlib
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from engine.config import Settings
from server.attended import Attended, Line, work
from server.config import ServerSettings
from server.queue.jobs import Job
from server.telling import TOGETHER_S
from server.worker import Told

_SPAWN = multiprocessing.get_context("spawn")


class ProcessWorker(Attended):
    """A worker in a process of its own, started again whenever it ends."""

    kind = "a worker process"

    def _open(self) -> Line:
        return _Process(self._settings, self._server)


def apart_workers(
    settings: Settings, server: ServerSettings, told: Told, gone: Callable[[list[Job]], None]
) -> list[Attended]:
    """The workers outside this process that the settings ask for.

    Raises:
        WorkflowError: They are to be on Ray, and that cannot be.
    """
    if server.workers == "ray":
        from server.ray_workers import ray_workers

        return [*ray_workers(settings, server, told, gone)]
    return [ProcessWorker(settings, server, told, gone) for _ in range(server.workers)]


class _Process:
    """A process and the pipe to it."""

    def __init__(self, settings: Settings, server: ServerSettings) -> None:
        self._pipe, theirs = _SPAWN.Pipe()
        self._told: deque[tuple[Any, ...]] = deque()
        self._process = _SPAWN.Process(target=_work, args=(settings, server, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def send(self, command: tuple[Any, ...]) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._pipe.send(command)

    def receive(self) -> tuple[Any, ...]:
        while not self._told:
            try:
                self._told.extend(self._pipe.recv())
            except OSError as error:
                raise EOFError from error
        return self._told.popleft()

    def close(self) -> str:
        self._process.join(5)
        self._process.kill()
        return f"exit code {self._process.exitcode}"


class _Outbox:
    """What is told goes through the pipe together, a little later: each time wakes the parent."""

    def __init__(self, pipe: "Connection[Any, Any]") -> None:
        self._pipe = pipe
        self._kept: list[tuple[Any, ...]] = []
        self._soon = False
        """Whether all of it is sent within this turn of the worker's loop."""
        self._keeping, self._sending = threading.Lock(), threading.Lock()

    def send(self, told: tuple[Any, ...]) -> None:
        """Take what is told; what a run tells of its course may wait, the rest is sent at once."""
        soon = told[0] not in ("message", "event")
        with self._keeping:
            self._kept.append(told)
            if self._soon or (len(self._kept) > 1 and not soon):
                return
            self._soon = soon
        try:
            asyncio.get_running_loop().call_later(0.0 if soon else TOGETHER_S, self.flush)
        except RuntimeError:  # not the worker's thread
            self.flush()

    def flush(self) -> None:
        """Send what is kept."""
        with self._sending:  # in the order in which it was told
            with self._keeping:
                kept, self._kept, self._soon = self._kept, [], False
            if kept:
                with contextlib.suppress(OSError):
                    self._pipe.send(kept)


def _work(settings: Settings, server: ServerSettings, pipe: "Connection[Any, Any]") -> None:
    """The process: a worker that ends with its parent."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    outbox = _Outbox(pipe)

    def receive() -> tuple[Any, ...]:
        try:
            command: tuple[Any, ...] = pipe.recv()
        except (EOFError, OSError):
            os._exit(1)  # the parent is gone, and with it the right to what was leased
        return command

    work(settings, server, outbox.send, receive)
    outbox.flush()
    os._exit(0)
