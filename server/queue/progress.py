"""What moves a job on, within a transaction that another commits: it is leased, it ends, it is forgotten."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, select, update

from server.queue import statements as sql
from server.queue.jobs import ATTEMPTS, Ending, Job, job_of, worn_out
from server.queue.outbox import all_ended, job_ended
from server.queue.tables import jobs

LEASE_S = 60.0
"""Seconds that a worker may be silent before its jobs are another's."""


def leased(connection: Connection, owner: str, most: int, now: float, above: int | None = None) -> list[Job]:
    """The next jobs, now this owner's for `LEASE_S` seconds.

    Args:
        above: Only jobs of a higher priority.
    """
    values: dict[str, Any] = {"most": most, "who": owner, "until": now + LEASE_S, "now": now}
    statement = sql.LEASE
    if above is not None:
        statement, values["above"] = sql.LEASE_ABOVE, above
    found = [job_of(row) for row in statement.rows(connection, values)]
    return sorted(found, key=lambda j: (-j.priority, j.number, j.seq))


def finished(connection: Connection, job: Job, ending: Ending, now: float) -> bool:
    """Record a job's end with its outputs; False if it is no longer this owner's."""
    which = {"job": job.seq, "who": job.owner, "which": job.attempt}
    values = which | {"now_status": ending.status, "now_ending": ending.as_json(), "now": now}
    if sql.FINISH.change(connection, values) != 1:
        return connection.execute(sql.FINISHED, values).first() is not None
    if job.attempt > 1 or any(file.get("type") == "output" for file in ending.files):
        sql.UNNAME.change(connection, {"job": job.seq})
    job_ended(connection, job, ending, now)
    return True


def recovered(
    connection: Connection, gone: Sequence[ColumnElement[bool]], now: float
) -> tuple[list[str], list[str]]:
    """Put back the jobs that fulfil all conditions; the ids of those that ended cancelled, and worn out."""
    free = {"owner": None, "lease_until": None}
    over = {"status": "cancelled", "finished": now, "ending": Ending("cancelled").as_json()}
    asked = update(jobs).where(*gone, jobs.c.cancelling.is_(True))
    cancelled = all_ended(connection, asked.values(over | free), now)
    worn = select(jobs.c.seq, jobs.c.id).where(*gone, jobs.c.attempt >= ATTEMPTS)
    given_up: list[str] = []
    for seq, id in connection.execute(worn).all():
        over = {"status": "error", "finished": now, "ending": worn_out(id, now).as_json()}
        change = update(jobs).where(jobs.c.seq == seq, *gone).values(over | free)
        given_up += all_ended(connection, change, now)
    connection.execute(update(jobs).where(*gone).values(status="pending", **free))
    return cancelled, given_up


def pruned(connection: Connection, entries: int, before: float) -> None:
    """Remove the jobs that ended before a time, and all but so many of the others that ended."""
    connection.execute(delete(jobs).where(sql.HAS_ENDED, jobs.c.finished < before))
    newest = select(jobs.c.seq).where(sql.HAS_ENDED).order_by(jobs.c.finished.desc(), jobs.c.seq.desc())
    connection.execute(delete(jobs).where(jobs.c.seq.in_(newest.offset(entries))))
