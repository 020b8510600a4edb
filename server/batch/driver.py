"""The driver of a batch: waits for the ends of its jobs, and writes each down before it tells of it."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from queue import Empty
from typing import Any, Protocol

from sqlalchemy.exc import SQLAlchemyError

from engine.batch.planning import PlannedJob
from engine.energy import Shares
from engine.events import Notice
from server.batch.crew import Crew, Ended, Lost, News, Stop, Taken
from server.batch.manifest import Line, Manifest, keys_of, line_of
from server.queue.jobs import Ending, Job
from server.stopping import listening

TICK_S = 0.5
"""Seconds between looks at the time."""
LOOK_S = 1.0
"""Seconds between looks for ends that nobody told of, where processes elsewhere run the jobs."""
LOOK_SELDOM_S = 10.0
"""The same where our own workers tell of them."""
HOPELESS = 5
"""Workers that ended one after the other without taking a job."""


class Show(Protocol):
    """Shows how far a batch is."""

    def taken(self, number: int) -> None:
        """A job was begun."""

    def ended(self, line: Line) -> None:
        """A job has ended."""

    def news(self, news: News, number: int | None) -> None:
        """Something else has happened; of which job, where that is known."""

    def tick(self) -> None:
        """A moment has passed."""


@dataclass
class Driver:
    """Drives the jobs that are left.

    Args:
        left: The jobs, by number.
        used: Is given the keys of the results that a job counted for, when it has ended.
        shares: Measures the energy that each takes; None where jobs run elsewhere.
        aside: Jobs that are to run alone, when nothing else is left.
        predicted: Distinct nodes that will run; None where that cannot be told.
    """

    left: dict[int, PlannedJob]
    manifest: Manifest
    crew: Crew
    show: Show
    used: Callable[[Collection[str]], None] = lambda _: None
    shares: Shares | None = None
    aside: set[int] = field(default_factory=set)
    predicted: int | None = None
    executed: int = 0
    stopped: bool = False
    failed: int = 0
    _barren: int = field(default=0, repr=False)
    _looked: float = field(default_factory=time.monotonic, repr=False)

    def run(self) -> None:
        """Drive until every job has ended, or `stopped` says why not.

        Raises:
            OSError: The manifest cannot be written; nothing is lost, the queue knows what has ended.
            ChildProcessError: The workers end, one after the other, before they take a job.
        """
        with listening(lambda: self.crew.inbox.put(Stop())):
            self.crew.start()
            try:
                while self.left and not self.stopped:
                    self._turn()
            finally:
                self.crew.stop()
            self._note(self._waiting(0.0))

    def _turn(self) -> None:
        self._note(self._waiting(TICK_S))
        self._let_in()
        often = not self.crew.members
        if time.monotonic() - self._looked > (LOOK_S if often else LOOK_SELDOM_S):
            self._look()
        self.show.tick()

    def _let_in(self) -> None:
        """Once nothing else is left, have the jobs run that were set aside, one after the other.

        Those that were begun least often go first: whichever ends the process, the others are done by then.
        """
        self.aside &= self.left.keys()
        if self.aside and self.left.keys() == self.aside:
            begun = {n: job.attempt for n, job in self.crew.rows.aside().items()}
            number = min(self.aside, key=lambda n: (begun.get(n, 0), n))
            self.aside.discard(number)
            self.crew.rows.let_in(number)
            self.crew.wake()

    def _waiting(self, seconds: float) -> list[News]:
        """What was told, after at most so many seconds."""
        found: list[News] = []
        try:
            found.append(self.crew.inbox.get(timeout=seconds) if seconds else self.crew.inbox.get_nowait())
            while True:
                found.append(self.crew.inbox.get_nowait())
        except Empty:
            return found

    def _note(self, told: Collection[News]) -> None:
        """Take in what was told; the ends in it with one sync of the manifest."""
        ended: dict[int, tuple[Job, Ending]] = {}
        for news in told:
            match news:
                case Stop():
                    self.stopped = True
                case Taken(job):
                    self._taken(job)
                case Ended(job, ending):
                    if (number := self.crew.rows.number(job.id)) in self.left:
                        ended[number] = job, ending
                case Lost():
                    self._lost(news)
                case _:
                    job_id = getattr(news, "job_id", "")
                    self.show.news(news, self.crew.rows.number(job_id))
        self._write(ended)

    def _taken(self, job: Job) -> None:
        self._barren = 0
        if (number := self.crew.rows.number(job.id)) in self.left:
            if self.shares:
                self.shares.begin(number)
            self.show.taken(number)

    def _lost(self, news: Lost) -> None:
        """Workers that end again and again before they take a job will not do better."""
        self._barren += 1
        self.aside |= news.aside
        self.show.news(news, None)
        if self._barren >= HOPELESS:
            raise ChildProcessError(f"workers ended {self._barren} times before they took a job")
        self._look()

    def _look(self) -> None:
        """Look for ends that nobody told of: by processes elsewhere, or a moment before a worker ended."""
        self._looked = time.monotonic()
        rows = self.crew.rows
        try:
            if rows.shared:
                rows.queue.recover().result()
            found = rows.ended(self.left)
        except SQLAlchemyError as error:
            return self.show.news(Notice(f"the queue cannot be asked, trying on: {error}"), None)
        self._write({n: (job, job.ending) for n, job in found.items() if job.ending is not None})

    def _write(self, ended: Mapping[int, tuple[Job, Ending]]) -> None:
        lines = [self._line(number, job, ending) for number, (job, ending) in ended.items()]
        self.manifest.add(lines)
        for line in lines:
            planned = self.left.pop(line["job"])
            self.executed += len(line["executed"])
            self.failed += line["status"] != "success"
            self.used(planned.uses)
            self.show.ended(line)

    def _line(self, number: int, job: Job, ending: Ending) -> Line:
        planned = self.left[number]
        more: dict[str, Any] = {}
        if self.shares and (joules := self.shares.end(number)) is not None:
            more["joules"] = round(joules, 3)
        return {**line_of(number, planned.job.inputs, keys_of(planned.plan), job, ending), **more}
