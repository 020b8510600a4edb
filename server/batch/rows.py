"""The jobs of a batch as rows of the queue: submitted in order, put back, looked up when they have ended."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from blake3 import blake3
from sqlalchemy import select, update

from engine.batch import Batch
from engine.batch.planning import PlannedJob
from server.queue.jobs import ENDED, Job, NewJob, Status
from server.queue.statements import groups_of
from server.queue.store import Queue
from server.queue.tables import jobs

PRIORITY = -1
"""Below what people send to a server that has the same queue."""


class Rows:
    """The rows of one batch.

    Args:
        queue: May hold other jobs, too.
        folder: Where the outputs go.
        shared: Whether others use the queue; the same batch into another folder has rows of its own there.
        exact: Whether the calls of nodes that running nodes add are not batched either.
    """

    def __init__(
        self, queue: Queue, batch: Batch, folder: Path, *, shared: bool = False, exact: bool = False
    ) -> None:
        name = blake3(f"{batch.digest} {folder.resolve()}".encode()).hexdigest() if shared else batch.digest
        self.queue, self.shared = queue, shared
        self._prefix = f"{name[:12]}-"
        self._options = {
            "batch": batch.digest,
            "shared": shared,
            "otherwise": int(exact),
            "output": str(folder.resolve()),
            "items": {role: {k: str(p) for k, p in found.items()} for role, found in batch.items.items()},
        }

    def id(self, number: int) -> str:
        """The id of a job's row."""
        return f"{self._prefix}{number}"

    def number(self, id: str) -> int | None:
        """The number of the job that an id means; None where it is not of this batch."""
        number = id.removeprefix(self._prefix)
        return int(number) if number != id and number.isdecimal() else None

    def standing(self) -> dict[int, Status]:
        """How each job that has a row stands."""
        question = select(jobs.c.id, jobs.c.status).where(jobs.c.id.startswith(self._prefix))
        rows = self.queue.read(lambda connection: connection.execute(question).all())
        return {number: status for id, status in rows if (number := self.number(id)) is not None}

    def submit(self, planned: Iterable[PlannedJob]) -> None:
        """Record jobs, in order, as many with one commit as can be."""
        accepted = [
            self.queue.accept(self._new(job), float(job.job.number), counted=False) for job in planned
        ]
        for future in accepted:
            future.result()

    def run_again(self, numbers: Iterable[int]) -> None:
        """Have jobs run that have ended, as if they had never been begun."""
        moved = [self.queue.move(self.id(n), ENDED, "pending") for n in numbers]
        for future in moved:
            future.result()

    def running(self) -> dict[int, Job]:
        """The jobs that are under way, as far as the queue knows."""
        return self._which("running")

    def aside(self) -> dict[int, Job]:
        """The jobs that wait until they are let in."""
        return self._which("paused")

    def _which(self, status: Status) -> dict[int, Job]:
        found = self.queue.jobs(jobs.c.id.startswith(self._prefix), jobs.c.status == status)
        return {number: job for job in found if (number := self.number(job.id)) is not None}

    def interrupted(self, numbers: Iterable[int], aside: bool = False) -> None:
        """Have jobs wait whose worker has ended; how often they were begun is kept.

        Args:
            aside: Whether they wait until they are let in.
        """
        free = {"status": "paused" if aside else "pending", "owner": None, "lease_until": None}
        self._change(numbers, "running", free)

    def let_in(self, number: int) -> None:
        """Have a job run that was set aside."""
        self._change([number], "paused", {"status": "pending"})

    def _change(self, numbers: Iterable[int], before: Status, values: Mapping[str, Any]) -> None:
        changes = [
            update(jobs).where(*group, jobs.c.status == before).values(values)
            for group in groups_of(self.id(n) for n in numbers)
        ]
        self.queue.writer.submit(lambda c: [c.execute(change) for change in changes]).result()

    def withdraw(self, numbers: Iterable[int]) -> None:
        """See to it that jobs that wait are not run."""
        self.queue.cancel_waiting([self.id(n) for n in numbers]).result()

    def forget(self) -> None:
        """Remove the rows of a batch that has ended, where the database is not removed with them."""
        if self.shared:
            self.queue.forget(self.id(n) for n in self.standing()).result()

    def ended(self, among: Collection[int]) -> dict[int, Job]:
        """Those of some jobs that have ended, in order."""
        over = [n for n, status in self.standing().items() if status in ENDED and n in among]
        groups = groups_of(self.id(n) for n in sorted(over))
        found = [job for group in groups for job in self.queue.jobs(*group)] if over else []
        return {number: job for job in found if (number := self.number(job.id)) is not None and job.ended}

    def _new(self, planned: PlannedJob) -> NewJob:
        workflow = planned.job.workflow
        extra: dict[str, Any] = {}
        if workflow.editor is not None:
            extra["extra_pnginfo"] = {"workflow": workflow.editor}
        options: Mapping[str, Any] = {**self._options, "pinned": dict(planned.pinned)}
        return NewJob(
            self.id(planned.job.number),
            workflow.as_api(),
            extra,
            planned.plan.targets,
            priority=PRIORITY,
            options=options,
        )
