"""The queue as a whole: jobs claimed once by many processes; like a small model whatever is done to it."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from server.queue.jobs import ATTEMPTS, ENDED, WAITING, Ending, Job, NewJob
from server.queue.opening import open_database
from server.queue.store import FullError, Queue
from tests.server.claiming import claimed


@pytest.mark.slow
def test_each_of_two_thousand_jobs_is_leased_by_one_of_eight_processes(tmp_path: Path) -> None:
    leased, each, counts = claimed(tmp_path, processes=8, jobs=2_000)
    assert len(leased) == 2_000
    assert set(leased.values()) == {1}
    assert counts == {"success": 2_000}
    assert sum(n > 0 for n in each) > 1, "one process had them all; the test shows nothing"


MOST = 6


class Machine(RuleBasedStateMachine):
    """Does what clients, workers and crashes do; `expected` says what must be there."""

    jobs: Any = Bundle("jobs")
    leases: Any = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.expected: dict[str, list[Any]] = {}  # by id: status, attempt, priority, number, arrival
        self.arrivals = 0
        self.open()

    def open(self) -> None:
        path = Path(self.folder.name) / "q.sqlite"
        self.queue = Queue(open_database(f"sqlite:///{path}"), most=MOST)

    def teardown(self) -> None:
        self.queue.close()
        self.folder.cleanup()

    def of(self, *statuses: str) -> list[str]:
        return [id for id, facts in self.expected.items() if facts[0] in statuses]

    @rule(target=jobs, priority=st.integers(-1, 1), number=st.none() | st.integers(-2, 2))
    def submit(self, priority: int, number: int | None) -> str:
        self.arrivals += 1
        id = f"j{self.arrivals}"
        given = self.queue.next_number() if number is None else number
        new = NewJob(id, {"1": {}}, {}, ("1",), priority=priority)
        future = self.queue.accept(new, given, number is None)
        if len(self.of(*WAITING)) >= MOST:
            assert isinstance(future.exception(), FullError)
        else:
            assert future.result().status == "pending"
            self.expected[id] = ["pending", 0, priority, given, self.arrivals]
        return id

    @rule(target=leases, most=st.integers(1, 3), above=st.none() | st.integers(-2, 1))
    def lease(self, most: int, above: int | None) -> list[Job]:
        order = sorted(self.of("pending"), key=self.place)
        order = [i for i in order if above is None or self.expected[i][2] > above]
        leased = self.queue.lease("me", most, above).result()
        assert [j.id for j in leased] == order[:most]
        for job in leased:
            self.expected[job.id][0] = "running"
            self.expected[job.id][1] += 1
            assert job.attempt == self.expected[job.id][1]
        return leased

    def place(self, id: str) -> tuple[float, ...]:
        _, _, priority, number, arrival = self.expected[id]
        return (-priority, number, arrival)

    def current(self, job: Job) -> bool:
        facts = self.expected.get(job.id)
        return facts is not None and facts[0] == "running" and facts[1] == job.attempt

    @rule(leased=consumes(leases), status=st.sampled_from(ENDED))
    def finish(self, leased: list[Job], status: Any) -> None:
        for job in leased:
            current = self.current(job)
            assert self.queue.finish(job, Ending(status)).result() == current
            if current:
                self.expected[job.id][0] = status

    @rule(target=leases, leased=consumes(leases), status=st.sampled_from(ENDED), most=st.integers(0, 2))
    def finish_and_lease(self, leased: list[Job], status: Any, most: int) -> list[Job]:
        taken: list[Job] = []
        for job in leased:
            current = self.current(job)
            if current:
                self.expected[job.id][0] = status
            order = sorted(self.of("pending"), key=self.place)
            done, found = self.queue.finish_and_lease(job, Ending(status), most).result()
            assert (done, [j.id for j in found]) == (current, order[:most])
            for following in found:
                self.expected[following.id][0] = "running"
                self.expected[following.id][1] += 1
                assert following.attempt == self.expected[following.id][1]
            taken += found
        return taken

    @rule(leased=consumes(leases), paused=st.booleans())
    def put_back(self, leased: list[Job], paused: bool) -> None:
        for job in leased:
            if self.current(job):
                self.expected[job.id][:2] = ["paused" if paused else "pending", job.attempt - 1]
                assert self.queue.release(job, paused).result()

    @rule(ids=st.lists(jobs, max_size=3) | st.none())
    def cancel(self, ids: list[str] | None) -> None:
        wanted = [i for i in self.of(*WAITING) if ids is None or i in ids]
        assert sorted(self.queue.cancel_waiting(ids).result()) == sorted(wanted)
        for id in wanted:
            self.expected[id][0] = "cancelled"

    @rule(
        id=jobs,
        change=st.sampled_from([(("pending",), "paused"), (("paused",), "pending"), (ENDED, "pending")]),
    )
    def move(self, id: str, change: tuple[Any, str]) -> None:
        before, after = change
        can = id in self.expected and self.expected[id][0] in before
        assert self.queue.move(id, before, after).result() == can
        if can:
            self.expected[id][:2] = [after, 0 if after == "pending" else self.expected[id][1]]

    @rule(ids=st.lists(jobs, max_size=3) | st.none())
    def forget(self, ids: list[str] | None) -> None:
        self.queue.forget(ids).result()
        for id in self.of(*ENDED):
            if ids is None or id in ids:
                del self.expected[id]

    @rule()
    def crash(self) -> None:
        """What a process leaves behind that ends without a word: the file, with what was committed."""
        self.queue.close()
        self.open()
        given_up = self.queue.recover(all_owners=True).result()
        running = self.of("running")
        assert sorted(given_up) == sorted(i for i in running if self.expected[i][1] >= ATTEMPTS)
        for id in running:
            self.expected[id][0] = "error" if id in given_up else "pending"

    @invariant()
    def is_as_expected(self) -> None:
        found = {j.id: [j.status, j.attempt] for j in self.queue.jobs()}
        assert found == {id: facts[:2] for id, facts in self.expected.items()}
        assert self.queue.remaining == len(self.of(*WAITING, "running"))
        assert [j.id for j in self.queue.waiting()] == sorted(self.of(*WAITING), key=self.place)


TestTheQueueIsLikeItsModel = Machine.TestCase
TestTheQueueIsLikeItsModel.settings = settings(
    max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
