"""Workers that serve nobody: they run jobs of a queue until told to stop, and tell what becomes of them."""

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from engine.config import Settings
from server.attended import Attended
from server.config import ServerSettings
from server.processes import apart_workers
from server.queue.jobs import Ending, Job
from server.queue.opening import open_database
from server.queue.owners import recover_lost
from server.queue.store import Queue
from server.serving import TIDY_S, database_url, working
from server.stopping import listening, stop_all
from server.worker import LOOK_S, Told, Worker

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class News:
    """What became of a job, or of the workers as a whole.

    Args:
        event: `ready`, `begun`, `success`, `error`, `cancelled`, `put back`, `stopping`, `empty`.
        seconds: How long a job that ended has run.
    """

    event: str
    job: Job | None = None
    ending: Ending | None = None
    message: str = ""
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """For programs: `event`; of jobs `job`, `attempt`; of ended ones `seconds`, `outputs`, `message`."""
        found: dict[str, Any] = {"event": self.event}
        if self.job is not None:
            found |= {"job": self.job.id, "attempt": self.job.attempt}
        if self.job is not None and self.ending is not None:
            found["seconds"] = round(self.seconds, 3)
            found["outputs"] = [_path(file) for file in self.ending.files]
        message = self.message or _reason(self.ending)
        return found | ({"message": message} if message else {})


def _path(file: Mapping[str, Any]) -> str:
    return "/".join(str(part) for part in (file["subfolder"], file["filename"]) if part)


def _reason(ending: Ending | None) -> str:
    if ending is None or ending.error is None:
        return ""
    return str(ending.error.get("exception_message", "")).strip()


def work_until_stopped(
    settings: Settings, server: ServerSettings, tell: Callable[[News], None], until_empty: bool = False
) -> None:
    """Run jobs of the settings' queue, until SIGINT or SIGTERM: then end or put back what runs.

    Args:
        tell: Is given what happens, on this thread.
        until_empty: Whether to return once no job waits or runs, wherever.

    Raises:
        SQLAlchemyError: The queue's database cannot be opened.
        WorkflowError: The workers are to be on Ray, and that cannot be.
    """
    queue = Queue(open_database(database_url(settings, server)), server.max_queue)
    with contextlib.closing(queue), contextlib.ExitStack() as stack:
        foreman = _Foreman(queue)
        stack.enter_context(listening(foreman.stop))
        if server.workers:
            foreman.workers = [*apart_workers(settings, server, foreman.told, foreman.lost)]
        else:
            foreman.workers = [stack.enter_context(working(settings, server, foreman.told))]
        for worker in foreman.workers:
            worker.start()
        url = queue.engine.url
        tell(News("ready", message=url.set(drivername=url.get_backend_name()).render_as_string()))
        foreman.watch(tell, until_empty)
        if foreman.stopping:
            tell(
                News(
                    "stopping",
                    message=f"what runs gets {server.stop_seconds:g} s to end, then it waits again",
                )
            )
        stop_all(foreman.workers, server.stop_seconds)
        foreman.tell_rest(tell)


@dataclass
class _Foreman:
    """Hears what workers tell, and looks after jobs whose workers are gone."""

    queue: Queue
    workers: list[Worker | Attended] = field(default_factory=list)
    inbox: SimpleQueue[News | None] = field(default_factory=SimpleQueue)
    stopping: bool = False
    begun: dict[str, float] = field(default_factory=dict)
    tidied: float = -TIDY_S

    @property
    def told(self) -> Told:
        """Where workers tell what happens."""
        return Told(
            message=lambda _: None,
            taken=self._taken,
            ended=lambda job, ending: self._over(News(ending.status, job, ending)),
            put_back=lambda job: self._over(News("put back", job)),
        )

    def _taken(self, job: Job) -> None:
        self.begun[job.id] = time.monotonic()
        self.inbox.put(News("begun", job))

    def _over(self, news: News) -> None:
        if news.job is not None:
            began = self.begun.pop(news.job.id, None)
            seconds = 0.0 if began is None else time.monotonic() - began
            self.inbox.put(replace(news, seconds=seconds))

    def lost(self, jobs: list[Job]) -> None:
        """The process that ran these jobs has ended; they are another's to run."""
        for owner in {job.owner for job in jobs}:
            with contextlib.suppress(SQLAlchemyError):  # their leases run out
                self.queue.recover(owner=owner).result()
        for job in jobs:
            self._over(News("put back", job, message="its worker ended"))
        for worker in self.workers:
            worker.wake()

    def watch(self, tell: Callable[[News], None], until_empty: bool) -> None:
        """Tell what happens until it is to stop, or nothing is left to do."""
        while not self.stopping:
            try:
                news = self.inbox.get(timeout=LOOK_S)
            except Empty:
                if until_empty and self._empty():
                    return tell(News("empty"))
            else:
                if news is not None:
                    tell(news)
            self._tidy()

    def tell_rest(self, tell: Callable[[News], None]) -> None:
        """Tell what was not told yet."""
        with contextlib.suppress(Empty):
            while True:
                if (news := self.inbox.get_nowait()) is not None:
                    tell(news)

    def _tidy(self) -> None:
        """Free the jobs of workers that are gone, now and then."""
        if time.monotonic() - self.tidied < TIDY_S:
            return
        self.tidied = time.monotonic()
        try:
            for id in recover_lost(self.queue):
                log.error("job %s was given up: its process ended each time it was begun", id)
        except SQLAlchemyError:  # the workers complain of it
            return

    def _empty(self) -> bool:
        """Whether no job waits or runs, here or elsewhere."""
        try:
            counts = self.queue.counts()
        except SQLAlchemyError:  # as above
            return False
        return not (counts.get("pending") or counts.get("running"))

    def stop(self) -> None:
        """Watch no longer; may be called by a signal."""
        self.stopping = True
        self.inbox.put(None)
