"""Workers outside this process: a line carries what they tell and hear; one that ends is started again."""

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from engine.config import Settings
from engine.events import Event, NodeProgress, NodeStarted, RunFinished, RunStarted
from server.config import ServerSettings
from server.previews import encoded
from server.queue.jobs import Job
from server.telling import Message
from server.worker import Told

log = logging.getLogger(__name__)
_UNHEARD = (RunStarted, NodeStarted, NodeProgress, RunFinished)
"""Events that nobody in this process asks for: messages and the job's end say the same."""
RESTART_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Waits before a worker that ended is started again; they grow while it keeps ending at once."""


class Line(Protocol):
    """A worker that has been started, as seen from here."""

    def send(self, command: tuple[Any, ...]) -> None:
        """Have it do something; nothing happens where it has ended."""
        ...

    def receive(self) -> tuple[Any, ...]:
        """What it tells next.

        Raises:
            EOFError: It has ended.
        """
        ...

    def close(self) -> str:
        """See to it that it has ended; says how it did."""
        ...


class Attended(ABC):
    """A worker outside this process, started again whenever it ends.

    Args:
        told: Where what it tells goes; called on a thread of this process.
        gone: Called with the jobs that it ran when it ended without a word.
    """

    kind = "a worker"

    def __init__(
        self, settings: Settings, server: ServerSettings, told: Told, gone: Callable[[list[Job]], None]
    ) -> None:
        self._settings, self._server, self._told, self._gone = settings, server, told, gone
        self._running: dict[str, Job] = {}
        self._line: Line | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._answers: list[Future[dict[str, int]]] = []
        self._thread = threading.Thread(target=self._attend, name="attended-worker", daemon=True)

    @abstractmethod
    def _open(self) -> Line:
        """Start it.

        Raises:
            OSError: It cannot be started now.
        """

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
        if self._thread.ident is None:  # it was never started
            return True
        self._say("stop", seconds)
        self._thread.join(seconds + 5)
        return not self._thread.is_alive()

    def _say(self, *command: Any) -> None:
        with self._lock:
            if self._line is not None:
                self._line.send(command)

    def _attend(self) -> None:
        """Start it, pass on what it tells, and start it again when it has ended."""
        endings = 0
        while not self._stop.is_set():
            heard, why = self._attend_once()
            lost, self._running = list(self._running.values()), {}
            if self._stop.is_set():
                return
            endings = 0 if heard > 1 else endings
            log.error("%s ended (%s); it is started again", self.kind, why)
            self._gone(lost)
            self._stop.wait(RESTART_S[min(endings, len(RESTART_S) - 1)])
            endings += 1

    def _attend_once(self) -> tuple[int, str]:
        """One life of it: how many things it told, and how it ended."""
        try:
            line = self._open()
        except OSError as error:
            return 0, str(error)
        with self._lock:
            self._line = line
            if self._stop.is_set():  # it was not there yet when it was said
                line.send(("stop", 0.0))
        heard = self._listen(line)
        with self._lock:
            self._line = None
        return heard, line.close()

    def _listen(self, line: Line) -> int:
        """Pass on what is told until the line ends; how many things that were."""
        heard = 0
        while True:
            try:
                kind, *what = line.receive()
            except EOFError:
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


def work(
    settings: Settings,
    server: ServerSettings,
    send: Callable[[tuple[Any, ...]], None],
    receive: Callable[[], tuple[Any, ...]],
) -> None:
    """Be the worker at the other end of a line, until told to stop.

    Args:
        send: Takes what is told; may be called on any thread.
        receive: Waits for the next command.
    """
    from server.serving import settled, working

    told = Told(
        message=lambda message: _pass(message, server, send),
        taken=lambda job: send(("taken", job)),
        ended=lambda job, ending: send(("ended", job, ending)),
        put_back=lambda job: send(("put_back", job)),
        event=lambda event: _pass_event(event, send),
    )
    with working(settings, server, told) as worker:
        settled()
        worker.start()
        send(("ready",))
        while True:
            kind, *what = receive()
            if kind == "wake":
                worker.wake()
            elif kind == "cancel":
                worker.cancel(*what)
            elif kind == "free":
                send(("freed", worker.free(*what)))
            elif kind == "stop":
                worker.stop(*what)
                return


def _pass(message: Message, server: ServerSettings, send: Callable[[tuple[Any, ...]], None]) -> None:
    if message.picture is None:
        return send(("message", message))
    picture = encoded(message.picture, server.preview_size)
    if picture is not None:
        send(("message", message._replace(picture=picture)))


def _pass_event(event: Event, send: Callable[[tuple[Any, ...]], None]) -> None:
    if not isinstance(event, _UNHEARD):
        send(("event", event))
