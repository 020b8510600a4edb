"""Ends of this server's jobs that other processes of its queue ran: looked for, and told like its own."""

import asyncio
import contextlib
from collections.abc import Iterator

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from server.queue.clock import Clock
from server.queue.jobs import Ending, Job
from server.queue.store import Queue
from server.queue.tables import jobs
from server.telling import ENDS, Message
from server.worker import LOOK_S
from server.workers import Workers

OVERLAP_S = 10.0
"""Seconds of ends that are looked at again; they are committed a little later than their time says."""


class Elsewhere:
    """Looks, each `LOOK_S` seconds, for jobs that have ended and that no worker of this process told of."""

    def __init__(self, queue: Queue, workers: Workers) -> None:
        self._queue, self._workers = queue, workers
        self._clock = Clock(queue.engine)
        self._since = self._clock() - OVERLAP_S
        self._seen: set[str] = set()
        """Jobs that had ended at the last look; a worker of this process would have told of them by now."""

    async def run(self) -> None:
        """Look until it is cancelled; on the event loop's thread."""
        while True:
            await asyncio.sleep(LOOK_S)
            with contextlib.suppress(SQLAlchemyError):  # the workers complain of it
                await self._look()

    async def _look(self) -> None:
        ids = await asyncio.to_thread(self._queue.read, self._ended)
        untold = self._workers.untold(ids)
        for job in await asyncio.to_thread(self._jobs, untold & self._seen):
            if job.ending is not None and self._workers.untold([job.id]):
                self._workers.ended_elsewhere(job, job.ending, messages(job, job.ending))
        self._seen = untold

    def _ended(self, connection: Connection) -> list[str]:
        self._clock.look(connection)
        now = self._clock()
        found = list(connection.scalars(select(jobs.c.id).where(jobs.c.finished > self._since)))
        self._since = now - OVERLAP_S
        return found

    def _jobs(self, ids: set[str]) -> list[Job]:
        if not ids:
            return []
        found = [job for id in ids if (job := self._queue.job(id)) is not None]
        self._queue.recount()
        return found


def messages(job: Job, ending: Ending) -> Iterator[Message]:
    """What the client of a job would have heard of its run, but for progress and pictures of steps."""
    if job.client_id is None:
        return
    told = [Message(job.id, job.client_id, type, data) for type, data in ending.messages]
    yield from (message for message in told if message.type not in ENDS)
    for id, output in ending.outputs.items():
        display = ending.meta.get(id, {}).get("display_node", id)
        data = {"node": id, "display_node": display, "output": output, "prompt_id": job.id}
        yield Message(job.id, job.client_id, "executed", data)
    yield from (message for message in told if message.type in ENDS)
