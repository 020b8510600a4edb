"""The statements that every job goes through, compiled once."""

from sqlalchemy import bindparam, func, select, update

from server.queue.jobs import WAITING
from server.queue.tables import jobs

NEXT = (
    select(jobs.c.seq)
    .where(jobs.c.status == "pending")
    .order_by(jobs.c.priority.desc(), jobs.c.number, jobs.c.seq)
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
    .where(jobs.c.seq == bindparam("job"), jobs.c.status == "running", jobs.c.owner == bindparam("who"))
    .values(
        status=bindparam("now_status"),
        finished=bindparam("now"),
        ending=bindparam("now_ending"),
        owner=None,
        lease_until=None,
    )
)
WAITING_COUNT = select(func.count()).where(jobs.c.status.in_(WAITING))
