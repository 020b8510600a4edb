"""Questions about many jobs: pages of them, newest first, and how many run before one."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select

from server.queue.jobs import Job, Status, job_of
from server.queue.store import Queue
from server.queue.tables import jobs

PAGE = 500
_LEFT_OUT = {"prompt": "{}", "extra_data": "{}", "ending": None}
_LIGHT = [c for c in jobs.c if c.name not in _LEFT_OUT]


@dataclass(frozen=True)
class Wanted:
    """Which jobs of a list.

    Args:
        statuses: None for all.
        metadata: What their labels have to say.
        before: Only those that were accepted before this `seq`.
    """

    statuses: Collection[Status] | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    before: int | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """The conditions for rows; labels have to be looked at again, job by job."""
        found: list[ColumnElement[bool]] = []
        if self.statuses is not None:
            found.append(jobs.c.status.in_(list(self.statuses)))
        if self.before is not None:
            found.append(jobs.c.seq < self.before)
        found += [jobs.c.options.contains(json.dumps(value), autoescape=True) for _, value in self.metadata]
        return found

    def labelled(self, options: Mapping[str, Any]) -> bool:
        """Whether a job's labels are as wanted."""
        labels = options.get("metadata")
        return isinstance(labels, dict) and all(labels.get(k) == v for k, v in self.metadata)


def newest(queue: Queue, wanted: Wanted, limit: int) -> list[Job]:
    """Jobs, newest first, without their prompts and endings."""
    found: list[Job] = []
    for job in _each(queue, wanted):
        if not wanted.metadata or wanted.labelled(job.options):
            found.append(job)
        if len(found) >= limit:
            break
    return found


def _each(queue: Queue, wanted: Wanted) -> Iterator[Job]:
    before = wanted.before
    while True:
        page = Wanted(wanted.statuses, wanted.metadata, before)
        question = select(*_LIGHT).where(*page.conditions()).order_by(jobs.c.seq.desc()).limit(PAGE)
        rows = queue.read(lambda connection, q=question: list(connection.execute(q).mappings()))  # type: ignore[misc]
        yield from (job_of({**row, **_LEFT_OUT}) for row in rows)
        if len(rows) < PAGE:
            return
        before = rows[-1]["seq"]


def position(queue: Queue, job: Job) -> int | None:
    """How many jobs run before one that waits; None if it does not wait, or is paused."""
    if job.status != "pending":
        return None
    earlier = or_(
        jobs.c.priority > job.priority,
        and_(jobs.c.priority == job.priority, jobs.c.number < job.number),
        and_(jobs.c.priority == job.priority, jobs.c.number == job.number, jobs.c.seq < job.seq),
    )
    question = select(func.count()).where(jobs.c.status == "pending", earlier)
    return queue.read(lambda connection: int(connection.scalar(question) or 0))


def sorted_page(
    queue: Queue,
    statuses: Collection[Status],
    workflow: str | None,
    by: str,
    falling: bool,
    most: int,
    skip: int,
) -> tuple[list[Job], int]:
    """Jobs without their prompts, and how many there are in all.

    Args:
        workflow: Only those that came from the saved workflow of this id.
        by: `execution_duration` (jobs that have none last), else when they were accepted.
    """
    which: list[ColumnElement[bool]] = [jobs.c.status.in_(list(statuses))]
    if workflow is not None:
        which.append(jobs.c.extra_data.contains(f'"id":{json.dumps(workflow)}', autoescape=True))
    order: list[ColumnElement[Any]] = [jobs.c.seq.desc() if falling else jobs.c.seq]
    if by == "execution_duration":
        took = jobs.c.finished - jobs.c.started
        order = [took.is_(None), took.desc() if falling else took, *order]
    columns = [c for c in jobs.c if c.name != "prompt"]
    question = select(*columns).where(*which).order_by(*order).limit(most).offset(skip)
    rows = queue.read(lambda connection: list(connection.execute(question).mappings()))
    number = select(func.count()).where(*which)
    total = queue.read(lambda connection: int(connection.scalar(number) or 0))
    return [job_of({**row, "prompt": "{}"}) for row in rows], total
