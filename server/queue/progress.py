"""What moves a job on, within a transaction that another commits: it is leased, it ends."""

from sqlalchemy import Connection

from server.queue import statements as sql
from server.queue.jobs import Ending, Job, job_of
from server.queue.outbox import job_ended

LEASE_S = 60.0
"""Seconds that a worker may be silent before its jobs are another's."""


def leased(connection: Connection, owner: str, most: int, now: float) -> list[Job]:
    """The next jobs, now this owner's for `LEASE_S` seconds."""
    values = {"most": most, "who": owner, "until": now + LEASE_S, "now": now}
    found = [job_of(dict(r)) for r in connection.execute(sql.LEASE, values).mappings()]
    return sorted(found, key=lambda j: (-j.priority, j.number, j.seq))


def finished(connection: Connection, job: Job, ending: Ending, now: float) -> bool:
    """Record a job's end with its outputs; False if it is no longer this owner's."""
    which = {"job": job.seq, "who": job.owner, "which": job.attempt}
    values = which | {"now_status": ending.status, "now_ending": ending.as_json(), "now": now}
    if connection.execute(sql.FINISH, values).rowcount != 1:
        return False
    if job.attempt > 1 or any(file.get("type") == "output" for file in ending.files):
        connection.execute(sql.UNNAME, {"job": job.seq})
    job_ended(connection, job, ending, now)
    return True
