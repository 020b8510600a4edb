"""The statements that every job goes through, compiled once."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import bindparam, delete, func, select, update

from server.queue.jobs import WAITING
from server.queue.tables import jobs, names

ORDER = (jobs.c.priority.desc(), jobs.c.number, jobs.c.seq)
"""The order in which jobs run."""
NEXT = (
    select(jobs.c.seq)
    .where(jobs.c.status == "pending")
    .order_by(*ORDER)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
LEASE = (
    update(jobs)
    .where(jobs.c.seq.in_(NEXT.scalar_subquery()))
    .values(
        status="running",
        owner=bindparam("who"),
        lease_until=bindparam("until"),
        started=bindparam("now"),
        attempt=jobs.c.attempt + 1,
    )
    .returning(*jobs.c)
)
FINISH = (
    update(jobs)
    .where(
        jobs.c.seq == bindparam("job"),
        jobs.c.status == "running",
        jobs.c.owner == bindparam("who"),
        jobs.c.attempt == bindparam("which"),
    )
    .values(
        status=bindparam("now_status"),
        finished=bindparam("now"),
        ending=bindparam("now_ending"),
        owner=None,
        lease_until=None,
    )
)
WAITING_COUNT = select(func.count()).where(jobs.c.status.in_(WAITING))
ACCEPT = jobs.insert()
TAKEN = select(jobs.c.seq).where(jobs.c.id == bindparam("job_id"))
UNNAME = delete(names).where(names.c.seq == bindparam("job"))
HAS_ENDED = jobs.c.finished.is_not(None)
"""As the index knows it; a job that is put back has no end."""
GROUP = 500
"""Ids that are named in one statement; databases take a limited number."""


def groups_of(ids: Iterable[str] | None) -> list[tuple[Any, ...]]:
    """Conditions that together mean jobs of these ids (all for None), each short enough for one statement."""
    if ids is None:
        return [()]
    known = list(dict.fromkeys(ids))
    return [(jobs.c.id.in_(known[i : i + GROUP]),) for i in range(0, len(known), GROUP)]
