"""The statements that every job goes through, compiled once."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, bindparam, delete, func, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from server.queue.jobs import WAITING
from server.queue.quick import Quick
from server.queue.tables import jobs, names

ORDER = (jobs.c.priority.desc(), jobs.c.number, jobs.c.seq)
"""The order in which jobs run."""
LATER = ("seq", "started", "finished", "owner", "lease_until", "ending")
"""What a job that is accepted has not yet."""


def _lease(*which: ColumnElement[bool]) -> ReturningUpdate[Any]:
    waiting = select(jobs.c.seq).where(jobs.c.status == "pending", *which).order_by(*ORDER)
    chosen = waiting.limit(bindparam("most")).with_for_update(skip_locked=True)
    # no plain subquery: PostgreSQL may ask one anew for each row, and so lock more than `most`
    change = update(jobs).where(jobs.c.seq.in_(select(chosen.cte("next").c.seq)))
    values: dict[str, Any] = {
        "owner": bindparam("who"),
        "lease_until": bindparam("until"),
        "started": bindparam("now"),
    }
    return change.values(status="running", attempt=jobs.c.attempt + 1, **values).returning(*jobs.c)


LEASE = Quick(_lease())
LEASE_ABOVE = Quick(_lease(jobs.c.priority > bindparam("above")))
FINISH = Quick(
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
FINISHED = select(jobs.c.seq).where(  # by a commit of which nobody heard, as the connection broke
    jobs.c.seq == bindparam("job"),
    jobs.c.status == bindparam("now_status"),
    jobs.c.attempt == bindparam("which"),
    jobs.c.ending == bindparam("now_ending"),
)
WAITING_COUNT = select(func.count()).where(jobs.c.status.in_(WAITING))
ACCEPT = Quick(jobs.insert(), [c.name for c in jobs.c if c.name not in LATER])
UNNAME = Quick(delete(names).where(names.c.seq == bindparam("job")))
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
