"""Who runs the jobs of a batch: a worker in this process, worker processes, Ray, or processes elsewhere."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Literal, TypeAlias

from sqlalchemy.exc import SQLAlchemyError

from engine import events
from engine.config import Settings
from engine.runner import Engine
from server.attended import Attended
from server.batch.folder import Folder
from server.batch.rows import Rows
from server.config import ServerSettings
from server.processes import apart_workers
from server.queue.jobs import Ending, Job
from server.stopping import stop_all
from server.telling import Message
from server.worker import Told, Worker

log = logging.getLogger(__name__)
TOGETHER = 2
"""How often a job is begun together with others, if it does not end; then it has to run alone."""
Kind: TypeAlias = int | Literal["ray", "none"]
"""How many worker processes, 0 for a worker in this process; on Ray; or none of ours."""


@dataclass(frozen=True)
class Taken:
    """A job was begun."""

    job: Job


@dataclass(frozen=True)
class Ended:
    """A job's end is committed."""

    job: Job
    ending: Ending


@dataclass(frozen=True)
class Lost:
    """A worker has ended without a word.

    Args:
        jobs: What it ran: waits again, or was given up after the third time.
        aside: Numbers of those that wait until they can run alone.
    """

    jobs: tuple[Job, ...]
    aside: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Stop:
    """Whoever started the batch wants it to stop."""


News: TypeAlias = Taken | Ended | Lost | Stop | Message | events.Event
Inbox: TypeAlias = "SimpleQueue[News]"


@dataclass
class Crew:
    """The workers of a batch; what they tell goes to the inbox, from their own threads."""

    inbox: Inbox
    rows: Rows
    folder: Folder
    members: list[Worker] | list[Attended] = field(default_factory=list)

    def start(self) -> None:
        """Begin to work."""
        for member in self.members:
            member.start()

    def stop(self) -> None:
        """Stop what runs at its next step; it waits again then."""
        stop_all(self.members, 0.0)

    @property
    def alone(self) -> bool:
        """Whether one worker in this process runs all jobs, and knows of all that is under way."""
        return len(self.members) == 1 and isinstance(self.members[0], Worker) and not self.rows.shared

    @property
    def told(self) -> Told:
        """Where workers tell what happens."""
        put = self.inbox.put
        return Told(
            message=self._message,
            taken=lambda job: put(Taken(job)),
            ended=lambda job, ending: put(Ended(job, ending)),
            put_back=lambda _: None,
            event=put,
        )

    def _message(self, message: Message) -> None:
        if message.type == "progress":
            self.inbox.put(message)

    def lost(self, jobs: list[Job]) -> None:
        """The worker that ran these jobs has ended; they are another's to run.

        One of them may be what ended it. Those that were lost together a second time are set aside until each
        can run alone, so that it is found out and the others are not given up with it.
        """
        numbers = {n: job for job in jobs if (n := self.rows.number(job.id)) is not None}
        aside: frozenset[int] = frozenset()
        try:
            lost = numbers.keys() - self.rows.ended(numbers).keys()
            self.folder.remove_leftovers(lost)
            if len(lost) > 1:
                aside = frozenset(n for n in lost if numbers[n].attempt >= TOGETHER)
                self.rows.interrupted(aside, aside=True)
            for owner in {job.owner for job in jobs}:
                self.rows.queue.recover(owner=owner).result()
        except (SQLAlchemyError, OSError) as error:  # their leases run out
            log.error("jobs of a worker that ended cannot be put back now: %s", error)
        self.inbox.put(Lost(tuple(jobs), aside))
        self.wake()

    def wake(self) -> None:
        """There may be work."""
        for member in self.members:
            member.wake()


def gather(
    kind: Kind, engine: Engine, settings: Settings, server: ServerSettings, rows: Rows, folder: Folder
) -> Crew:
    """The crew of a batch, not yet started.

    Args:
        server: Names the queue's database, and how many jobs each worker runs together.

    Raises:
        WorkflowError: They are to be on Ray, and that cannot be.
    """
    crew = Crew(SimpleQueue(), rows, folder)
    if kind == 0:
        crew.members = [Worker(engine, rows.queue, crew.told, server.jobs_at_once)]
    elif kind != "none":
        asked: Mapping[str, Any] = {"workers": kind, "preview_size": 32}  # nobody looks at previews
        crew.members = apart_workers(settings, server.model_copy(update=asked), crew.told, crew.lost)
    return crew
