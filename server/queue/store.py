"""The queue of jobs: accept, lease, finish, cancel, and questions about them; every promise is a commit."""

from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection, Engine, delete, func, select, update
from sqlalchemy.exc import IntegrityError

from server.queue import statements as sql
from server.queue.clock import Clock
from server.queue.jobs import ENDED, WAITING, Ending, Job, NewJob, job_of, row_of
from server.queue.outbox import all_ended
from server.queue.progress import LEASE_S, finished, leased, pruned, recovered
from server.queue.statements import HAS_ENDED, ORDER, groups_of
from server.queue.tables import jobs, names
from server.queue.writer import Writer

T = TypeVar("T")
Leased: TypeAlias = tuple[bool, list[Job]]
Early: TypeAlias = Callable[[Leased], None]


class FullError(Exception):
    """As many jobs wait as may."""


class TakenError(Exception):
    """A job of this id is there already."""


class Queue:
    """Jobs in a database.

    What a method returns is a future that is done once the change is committed; reading methods answer at
    once, from the calling thread.

    Args:
        most: Jobs that may wait.
    """

    def __init__(self, engine: Engine, most: int = 100_000, clock: Callable[[], float] | None = None) -> None:
        self.engine, self._most, self._clock = engine, most, clock or Clock(engine)
        self.writer = Writer(engine)
        self._reader = engine.execution_options(isolation_level="AUTOCOMMIT")
        question = select(func.max(jobs.c.number)).where(jobs.c.counted.is_(True))
        last = self.read(lambda connection: connection.scalar(question))
        self._counter, self._room = 0 if last is None else int(last) + 1, 0
        self.remaining = 0
        """Jobs that wait or run, as far as this process has heard."""
        self.recount()

    def close(self) -> None:
        """Commit what waits, then close the database."""
        self.writer.close()
        self.engine.dispose()

    # ------------------------------------------------------------ changes

    def next_number(self) -> int:
        """The next of the counter; it advances with every request without a number, valid or not."""
        number, self._counter = self._counter, self._counter + 1
        return number

    def accept(
        self,
        new: NewJob,
        number: float,
        counted: bool,
        also: Callable[[Connection, Job], None] = lambda _connection, _job: None,
    ) -> "Future[Job]":
        """Record a job; once the future is done, the job will end, whatever happens.

        Args:
            also: What else is to be recorded in the same transaction.

        Raises:
            FullError: In the future, if too many wait.
            TakenError: In the future, if its id is taken.
        """
        row = row_of(new, number, counted, self._clock())

        def write(connection: Connection) -> Job:
            self._take_room(connection)
            if self._room < 0:
                raise FullError(f"{self._most} jobs are waiting; try again later")
            try:
                seq = sql.ACCEPT.insert(connection, row)
            except IntegrityError as error:
                raise TakenError(f"a job has the id {new.id!r} already") from error
            job = job_of({**row, **dict.fromkeys(sql.LATER), "seq": seq})
            also(connection, job)
            return job

        return self.writer.submit(write, after=lambda _: self._count(1))

    def _take_room(self, connection: Connection) -> None:
        """Count down the places that were free when last counted, so that a long queue costs nothing."""
        self._room -= 1
        if self._room < 0:
            self._room = self._most - int(connection.scalar(sql.WAITING_COUNT) or 0) - 1

    def lease(self, owner: str, most: int = 1, above: int | None = None) -> "Future[list[Job]]":
        """The next jobs, now this owner's for `LEASE_S` seconds; only those of a priority above, if given."""
        return self.writer.submit(lambda c: leased(c, owner, most, self._clock(), above), durable=False)

    def beat(self, owner: str, held: Collection[str] | None = None) -> "Future[list[str]]":
        """Keep an owner's leases; gives the ids of those of its jobs that are to be cancelled.

        Args:
            held: The jobs that it knows of; a lease whose commit it never heard of runs out.
        """

        def write(connection: Connection) -> list[str]:
            self._look(connection)
            mine = [jobs.c.owner == owner, jobs.c.status == "running"]
            mine += [] if held is None else [jobs.c.id.in_(held)]
            connection.execute(update(jobs).where(*mine).values(lease_until=self._clock() + LEASE_S))
            return list(connection.scalars(select(jobs.c.id).where(*mine, jobs.c.cancelling.is_(True))))

        return self.writer.submit(write, durable=False)

    def finish(self, job: Job, ending: Ending) -> "Future[bool]":
        """Record a job's end with its outputs; False if it is no longer this owner's."""
        now = self._clock()
        return self.writer.submit(
            lambda c: finished(c, job, ending, now), after=lambda done: self._count(-done)
        )

    def finish_and_lease(
        self, job: Job, ending: Ending, most: int, above: int | None = None, early: Early | None = None
    ) -> "Future[Leased]":
        """As `finish`, then `lease` for the same owner, in one transaction: one commit for each job.

        Args:
            early: As for `Writer.submit`: what was leased may begin while the end is synced.
        """
        now, owner = self._clock(), job.owner or ""

        def write(connection: Connection) -> Leased:
            done = finished(connection, job, ending, now)
            return done, leased(connection, owner, most, now, above) if most else []

        return self.writer.submit(write, after=lambda found: self._count(-found[0]), early=early)

    def release(self, job: Job, paused: bool = False) -> "Future[bool]":
        """Put a job back that was begun and not ended; its attempt does not count. False as for `finish`."""

        def write(connection: Connection) -> bool:
            attempt = (jobs.c.owner == job.owner, jobs.c.attempt == job.attempt)
            mine = (jobs.c.seq == job.seq, jobs.c.status == "running", *attempt)
            status = "paused" if paused else "pending"
            values = {"status": status, "attempt": jobs.c.attempt - 1, "owner": None, "lease_until": None}
            self._room = 0
            return connection.execute(update(jobs).where(*mine).values(values)).rowcount == 1

        return self.writer.submit(write)

    def recover(self, all_owners: bool = False, owner: str | None = None) -> "Future[list[str]]":
        """Put back the jobs whose worker is gone; those begun too often end. Gives the ids of these.

        Args:
            all_owners: Whether every lease is known to be void, as after the only server's restart.
            owner: One worker that is known to be gone; else those whose leases have run out are.
        """

        def write(connection: Connection) -> list[str]:
            self._look(connection)
            now = self._clock()
            gone = [jobs.c.status == "running"]
            if owner is not None:
                gone.append(jobs.c.owner == owner)
            elif not all_owners:
                gone.append(jobs.c.lease_until < now)
            cancelled, given_up = recovered(connection, gone, now)
            ended[:] = [*cancelled, *given_up]
            self._room = 0  # some wait again
            return given_up

        ended: list[Any] = []
        return self.writer.submit(write, after=lambda _: self._count(-len(ended)))

    def cancel_waiting(self, ids: Iterable[str] | None) -> "Future[list[str]]":
        """End jobs that wait (all of them for None) as cancelled; gives the ids of those that did wait."""
        now = self._clock()
        values = {"status": "cancelled", "finished": now, "ending": Ending("cancelled").as_json()}
        change = update(jobs).where(jobs.c.status.in_(WAITING)).values(values)
        groups = groups_of(ids)

        def write(connection: Connection) -> list[str]:
            return [id for group in groups for id in all_ended(connection, change.where(*group), now)]

        return self.writer.submit(write, after=lambda ended: self._count(-len(ended)))

    def ask_to_cancel(self, id: str) -> "Future[bool]":
        """Note that a running job is to be cancelled; whether one was."""
        change = update(jobs).where(jobs.c.id == id, jobs.c.status == "running").values(cancelling=True)
        return self.writer.submit(lambda connection: connection.execute(change).rowcount == 1)

    def move(self, id: str, before: Sequence[str], after: str) -> "Future[bool]":
        """Change a job's status if it has one of those before: pause, resume, retry; whether it had."""
        values: dict[str, Any] = {"status": after}
        if after == "pending":
            values |= {"attempt": 0, "cancelling": False, "ending": None, "finished": None, "started": None}
        change = update(jobs).where(jobs.c.id == id, jobs.c.status.in_(before)).values(values)

        def write(connection: Connection) -> bool:
            self._room = 0
            return connection.execute(change).rowcount == 1

        return self.writer.submit(write, after=lambda moved: self._count(moved and set(before) <= set(ENDED)))

    def forget(self, ids: Iterable[str] | None) -> "Future[None]":
        """Remove ended jobs (all for None) from the history."""
        change = delete(jobs).where(jobs.c.status.in_(ENDED))
        groups = groups_of(ids)

        def write(connection: Connection) -> None:
            for group in groups:
                connection.execute(change.where(*group))

        return self.writer.submit(write)

    def prune(self, entries: int, days: float) -> "Future[None]":
        """Remove ended jobs beyond a number and an age."""
        before = self._clock() - days * 86400
        return self.writer.submit(lambda c: pruned(c, entries, before), durable=False)

    def _look(self, connection: Connection) -> None:
        if isinstance(self._clock, Clock):
            self._clock.look(connection)

    def _count(self, change: int) -> None:
        self.remaining += change

    # ------------------------------------------------------------ questions

    def read(self, question: Callable[[Connection], T]) -> T:
        """Ask something of the database, outside of any transaction."""
        with self._reader.connect() as connection:
            return question(connection)

    def job(self, id: str) -> Job | None:
        """The job of an id."""
        return next(iter(self.jobs(jobs.c.id == id)), None)

    def jobs(self, *where: Any, order: Sequence[Any] = (jobs.c.seq,), **limits: int | None) -> list[Job]:
        """Jobs that fulfil all conditions; `limit` and `offset` cut the list."""
        question = select(*jobs.c).where(*where).order_by(*order)
        question = question.limit(limits.get("limit")).offset(limits.get("offset"))
        return [job_of(dict(r)) for r in self.read(lambda c: c.execute(question).mappings().all())]

    def waiting(self) -> list[Job]:
        """The jobs that wait, in the order in which they will run."""
        return self.jobs(jobs.c.status.in_(WAITING), order=ORDER)

    def running(self) -> list[Job]:
        """The jobs that run."""
        return self.jobs(jobs.c.status == "running")

    def history(self, limit: int | None = None, offset: int | None = None) -> list[Job]:
        """Ended jobs, oldest first; without an offset the last of them, as many as `limit` says."""
        if limit is not None and (offset is None or offset < 0):
            return self.jobs(HAS_ENDED, order=(jobs.c.finished.desc(), jobs.c.seq.desc()), limit=limit)[::-1]
        return self.jobs(HAS_ENDED, order=(jobs.c.finished, jobs.c.seq), limit=limit, offset=offset)

    def recount(self) -> None:
        """Count anew, in turn with the changes: other processes may have ended or added jobs."""
        question = select(func.count()).where(jobs.c.status.in_((*WAITING, "running")))

        def write(connection: Connection) -> int:
            return int(connection.scalar(question) or 0)

        self.writer.submit(write, False, lambda counted: self._count(counted - self.remaining)).result()

    def counts(self) -> dict[str, int]:
        """How many jobs there are of each status."""
        each = select(jobs.c.status, func.count()).group_by(jobs.c.status)
        return self.read(lambda connection: dict(connection.execute(each).all()))

    # ------------------------------------------------------------ names of outputs

    def reserve(self, job: Job, path: str, sha256: str) -> "Future[None]":
        """Note, before a file appears, that it is this job's."""

        def write(connection: Connection) -> None:
            connection.execute(delete(names).where(names.c.seq == job.seq, names.c.path == path))
            connection.execute(names.insert().values(seq=job.seq, path=path, sha256=sha256))

        return self.writer.submit(write)

    def reserved(self, job: Job) -> dict[str, str]:
        """The names that earlier attempts of a job reserved, with the content they were to have."""
        question = select(names.c.path, names.c.sha256).where(names.c.seq == job.seq)
        return self.read(lambda connection: dict(connection.execute(question).all()))
