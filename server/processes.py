"""Worker processes: each leases from the queue by itself; a pipe carries what it tells and is told."""

import contextlib
import logging
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from engine.config import Settings
from engine.events import Event, NodeProgress
from server.config import ServerSettings
from server.previews import encoded
from server.queue.jobs import Job
from server.telling import Message
from server.worker import Told

log = logging.getLogger(__name__)
_SPAWN = multiprocessing.get_context("spawn")
RESTART_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Waits before a process that ended is started again; they grow while it keeps ending at once."""


class ProcessWorker:
    """A worker in a process of its own, started again whenever it ends.

    Args:
        told: Where what it tells goes; called on a thread of this process.
        gone: Called with the jobs that it ran when it ended without a word.
    """

    def __init__(
        self, settings: Settings, server: ServerSettings, told: Told, gone: Callable[[list[Job]], None]
    ) -> None:
        self._settings, self._server, self._told, self._gone = settings, server, told, gone
        self._running: dict[str, Job] = {}
        self._pipe: Connection[Any, Any] | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._answers: list[Future[dict[str, int]]] = []
        self._thread = threading.Thread(target=self._attend, name="worker-process", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    @property
    def running(self) -> list[str]:
        """The ids of the jobs that it runs."""
        return list(self._running)

    def wake(self) -> None:
        """There may be work."""
        self._say("wake")

    def cancel(self, id: str | None = None, put_back: bool = False) -> list[str]:
        """Stop a job (all for None) at its next step; gives the ids of those that were running."""
        found = [i for i in list(self._running) if id is None or i == id]
        for running in found:
            self._say("cancel", running, put_back)
        return found

    def free(self, results: bool) -> dict[str, int]:
        """Unload models, and results in memory if asked to; gives the bytes freed."""
        answer: Future[dict[str, int]] = Future()
        self._answers.append(answer)
        self._say("free", results)
        try:
            return answer.result(timeout=5)
        except TimeoutError:
            return {"models": 0, "results": 0}

    def stop(self, seconds: float) -> bool:
        """Have it end its jobs or put them back, and end; whether it did so by itself."""
        self._stop.set()
        self._say("stop", seconds)
        self._thread.join(seconds + 5)
        return not self._thread.is_alive()

    def _say(self, *command: Any) -> None:
        with self._lock, contextlib.suppress(OSError, ValueError):
            if self._pipe is not None:
                self._pipe.send(command)

    def _attend(self) -> None:
        """Start the process, pass on what it tells, and start it again when it has ended."""
        endings = 0
        while not self._stop.is_set():
            ours, theirs = _SPAWN.Pipe()
            process = _SPAWN.Process(target=_work, args=(self._settings, self._server, theirs), daemon=True)
            process.start()
            theirs.close()
            with self._lock:
                self._pipe = ours
            heard = self._listen(ours)
            process.join(5)
            process.kill()
            lost, self._running = list(self._running.values()), {}
            if self._stop.is_set():
                return
            endings = 0 if heard > 1 else endings
            log.error("a worker process ended (exit code %s); it is started again", process.exitcode)
            self._gone(lost)
            self._stop.wait(RESTART_S[min(endings, len(RESTART_S) - 1)])
            endings += 1

    def _listen(self, pipe: "Connection[Any, Any]") -> int:
        """Pass on what is told until the pipe closes; how many things that were."""
        heard = 0
        while True:
            try:
                kind, *what = pipe.recv()
            except (EOFError, OSError):
                return heard
            heard += 1
            if kind == "taken":
                self._running[what[0].id] = what[0]
            elif kind in ("ended", "put_back"):
                self._running.pop(what[0].id, None)
            if kind == "freed":
                while self._answers:
                    self._answers.pop().set_result(what[0])
            elif kind != "ready":
                getattr(self._told, kind)(*what)


def _work(settings: Settings, server: ServerSettings, pipe: "Connection[Any, Any]") -> None:
    """The process: a worker that ends with its parent."""
    import signal

    from server.serving import working

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    lock = threading.Lock()

    def say(*what: Any) -> None:
        with lock, contextlib.suppress(OSError):
            pipe.send(what)

    told = Told(
        message=lambda message: _pass(message, server, say),
        taken=lambda job: say("taken", job),
        ended=lambda job, ending: say("ended", job, ending),
        put_back=lambda job: say("put_back", job),
        event=lambda event: _pass_event(event, say),
    )
    with working(settings, server, told) as worker:
        worker.start()
        say("ready")
        while True:
            try:
                kind, *what = pipe.recv()
            except (EOFError, OSError):
                os._exit(1)  # the parent is gone, and with it the right to what was leased
            if kind == "wake":
                worker.wake()
            elif kind == "cancel":
                worker.cancel(*what)
            elif kind == "free":
                say("freed", worker.free(*what))
            elif kind == "stop":
                worker.stop(*what)
                break
    os._exit(0)


def _pass(message: Message, server: ServerSettings, say: Callable[..., None]) -> None:
    if message.picture is None:
        return say("message", message)
    picture = encoded(message.picture, server.preview_size)
    if picture is not None:
        say("message", replace(message, picture=picture))


def _pass_event(event: Event, say: Callable[..., None]) -> None:
    if not isinstance(event, NodeProgress):
        say("event", event)
