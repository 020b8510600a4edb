"""The queue's laws: who is next, who owns a job, what is counted, what is kept."""

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from server.queue.jobs import ATTEMPTS, Ending, Job, NewJob
from server.queue.opening import open_database
from server.queue.store import LEASE_S, FullError, Queue, TakenError

PROMPT = {"1": {"class_type": "X", "inputs": {}}}


class Clock:
    """Time that tests move."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(tmp_path: Path, clock: Clock) -> Iterator[Queue]:
    queue = Queue(open_database(f"sqlite:///{tmp_path / 'q.sqlite'}"), clock=clock)
    yield queue
    queue.close()


def put(queue: Queue, id: str, number: float | None = None, **facts: Any) -> Job:
    new = NewJob(id, PROMPT, facts.pop("extra_data", {}), ("1",), **facts)
    counted = number is None
    return queue.accept(new, queue.next_number() if number is None else number, counted).result()


def ids(found: list[Job]) -> list[str]:
    return [job.id for job in found]


def take(queue: Queue, who: str = "me", most: int = 1) -> list[Job]:
    return queue.lease(who, most).result()


def end(queue: Queue, id: str, status: Any = "success") -> None:
    (job,) = [j for j in take(queue, most=1_000) if j.id == id]
    assert queue.finish(job, Ending(status)).result()


def test_priority_comes_before_number_and_number_before_arrival(queue: Queue) -> None:
    put(queue, "a", 5)
    put(queue, "b", 5)
    put(queue, "c", -1)
    put(queue, "d", 9, priority=1)
    assert ids(queue.waiting()) == ["d", "c", "a", "b"]
    assert ids(take(queue, most=4)) == ["d", "c", "a", "b"]


def test_a_lease_above_a_priority_takes_only_what_is_more_urgent(queue: Queue) -> None:
    for priority in (0, 2, 1):
        put(queue, f"p{priority}", priority=priority)
    assert queue.lease("me", 3, above=2).result() == []
    (first,) = queue.lease("me", 3, above=1).result()
    assert first.id == "p2"
    done, following = queue.finish_and_lease(first, Ending("success"), 3, above=0).result()
    assert (done, ids(following)) == (True, ["p1"])
    assert ids(queue.waiting()) == ["p0"]


def test_a_job_is_leased_once_with_its_attempt_counted(queue: Queue) -> None:
    put(queue, "a")
    (job,) = take(queue)
    assert (job.status, job.attempt, job.owner) == ("running", 1, "me")
    assert take(queue, "other") == []


def test_an_id_is_taken_once_even_after_its_end(queue: Queue) -> None:
    put(queue, "a")
    with pytest.raises(TakenError, match="'a'"):
        put(queue, "a")
    end(queue, "a")
    with pytest.raises(TakenError):
        put(queue, "a")


def test_of_two_with_one_id_in_one_transaction_one_is_taken(queue: Queue) -> None:
    new = NewJob("a", PROMPT, {}, ("1",))
    futures: list[Future[Job]] = [queue.accept(new, i, True) for i in range(20)]
    failed = [f for f in futures if isinstance(f.exception(), TakenError)]
    assert len(failed) == 19
    assert len(queue.waiting()) == 1


def test_a_full_queue_takes_no_more_until_there_is_room(tmp_path: Path) -> None:
    queue = Queue(open_database(f"sqlite:///{tmp_path / 'q.sqlite'}"), most=3)
    for id in "abc":
        put(queue, id)
    with pytest.raises(FullError, match="3 jobs are waiting"):
        put(queue, "d")
    take(queue)
    put(queue, "d")
    with pytest.raises(FullError):
        put(queue, "e")
    assert queue.remaining == 4
    queue.close()


def test_a_stale_owner_cannot_end_what_is_anothers_by_now(queue: Queue, clock: Clock) -> None:
    put(queue, "a")
    (stale,) = take(queue, "first")
    clock.now += LEASE_S + 1
    assert queue.recover(all_owners=False).result() == []
    (fresh,) = take(queue, "second")
    assert fresh.attempt == 2
    assert not queue.finish(stale, Ending("success")).result()
    assert not queue.release(stale).result()
    assert queue.job("a").status == "running"  # type: ignore[union-attr]
    assert queue.finish(fresh, Ending("error")).result()
    assert queue.job("a").status == "error"  # type: ignore[union-attr]


def test_an_earlier_attempt_of_the_same_owner_is_stale_too(queue: Queue, clock: Clock) -> None:
    put(queue, "a")
    (stale,) = take(queue)
    clock.now += LEASE_S + 1
    queue.recover(all_owners=False).result()
    (fresh,) = take(queue)
    assert not queue.finish(stale, Ending("success")).result()
    assert queue.finish(fresh, Ending("success")).result()


def test_a_lease_that_is_renewed_stays_and_one_that_expired_is_taken_by_another(
    queue: Queue, clock: Clock
) -> None:
    put(queue, "a")
    put(queue, "b")
    take(queue, "alive")
    take(queue, "silent")
    clock.now += LEASE_S - 1
    queue.beat("alive").result()
    clock.now += 2
    queue.recover(all_owners=False).result()
    assert ids(take(queue, "other", 5)) == ["b"]


def test_a_job_begun_too_often_ends_with_an_error_that_says_so(queue: Queue) -> None:
    put(queue, "a")
    for attempt in range(1, ATTEMPTS + 1):
        (job,) = take(queue)
        assert job.attempt == attempt
        given_up = queue.recover(all_owners=True).result()
    assert given_up == ["a"]
    job = queue.job("a")
    assert job is not None
    assert job.ending is not None
    assert job.status == "error"
    assert f"interrupted {ATTEMPTS} times" in job.ending.error["exception_message"]  # type: ignore[index]
    assert take(queue) == []


def test_putting_back_does_not_count_as_an_attempt(queue: Queue) -> None:
    put(queue, "a")
    for _ in range(ATTEMPTS + 2):
        (job,) = take(queue)
        assert job.attempt == 1
        assert queue.release(job).result()
    (job,) = take(queue)
    queue.release(job, paused=True).result()
    assert take(queue) == []
    assert ids(queue.waiting()) == ["a"]
    assert queue.move("a", ("paused",), "pending").result()
    assert ids(take(queue)) == ["a"]


def test_a_job_whose_cancellation_was_asked_for_ends_cancelled_when_its_worker_is_gone(queue: Queue) -> None:
    put(queue, "a")
    take(queue)
    assert queue.ask_to_cancel("a").result()
    assert queue.beat("me").result() == ["a"]
    queue.recover(all_owners=True).result()
    assert queue.job("a").status == "cancelled"  # type: ignore[union-attr]


def test_thousands_can_be_cancelled_or_forgotten_by_id_at_once(queue: Queue) -> None:
    futures = [queue.accept(NewJob(f"j{i}", PROMPT, {}, ()), i, True) for i in range(1_500)]
    assert futures[-1].result()
    wanted = [f"j{i}" for i in range(1_400)] + [f"unknown{i}" for i in range(40_000)]
    assert len(queue.cancel_waiting(wanted).result()) == 1_400
    assert queue.remaining == 100
    queue.forget(wanted).result()
    assert queue.counts() == {"pending": 100}
    assert len(queue.cancel_waiting(None).result()) == 100


def test_the_history_is_bounded_by_number_and_age_even_where_all_ended_at_once(
    queue: Queue, clock: Clock
) -> None:
    for i in range(10):
        put(queue, f"j{i}")
    queue.cancel_waiting(None).result()
    queue.prune(entries=4, days=30).result()
    assert ids(queue.history()) == ["j6", "j7", "j8", "j9"]
    clock.now += 31 * 86_400
    put(queue, "new")
    put(queue, "waits")
    queue.cancel_waiting(["new"]).result()
    queue.prune(entries=4, days=30).result()
    assert ids(queue.jobs()) == ["new", "waits"]


def test_the_history_is_paged_in_the_order_of_endings(queue: Queue, clock: Clock) -> None:
    for id in "abcde":
        put(queue, id)
    for id in "cabde":
        clock.now += 1
        queue.cancel_waiting([id]).result()
    assert ids(queue.history()) == list("cabde")
    assert ids(queue.history(2)) == list("de")
    assert ids(queue.history(2, 1)) == list("ab")
    assert ids(queue.history(2, -1)) == list("de")
    assert ids(queue.history(None, 3)) == list("de")
    assert ids(queue.history(9, 9)) == []
    assert ids(queue.history(0)) == []


def test_what_a_node_shows_is_recorded_even_where_it_is_no_json(queue: Queue) -> None:
    put(queue, "a")
    (job,) = take(queue)
    assert queue.finish(job, Ending("success", outputs={"1": {"x": [b"bytes", {1: object()}]}})).result()
    found = queue.job("a")
    assert found is not None
    assert found.ending is not None
    assert found.ending.outputs["1"]["x"][0] == "b'bytes'"


def test_a_retried_job_waits_again_and_is_in_the_history_no_more(queue: Queue) -> None:
    put(queue, "a")
    end(queue, "a", "error")
    assert queue.remaining == 0
    assert queue.move("a", ("success", "error", "cancelled"), "pending").result()
    assert queue.remaining == 1
    assert queue.history() == []
    (job,) = take(queue)
    assert (job.attempt, job.ending, job.finished) == (1, None, None)


def test_what_remains_is_counted_in_turn_with_the_changes(queue: Queue) -> None:
    for i in range(50):
        put(queue, f"j{i}")
        queue.recount()
        assert queue.remaining == i + 1
    futures = [queue.accept(NewJob(f"k{i}", PROMPT, {}, ()), i, True) for i in range(50)]
    queue.recount()
    assert futures[-1].result()
    assert queue.remaining == 100


def test_the_counter_goes_on_after_a_restart_and_given_numbers_do_not_move_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'q.sqlite'}"
    queue = Queue(open_database(url))
    assert [put(queue, id).shown_number for id in "abc"] == [0, 1, 2]
    put(queue, "d", 500.5)
    queue.close()
    queue = Queue(open_database(url))
    assert put(queue, "e").shown_number == 3
    assert [j.shown_number for j in queue.waiting()] == [0, 1, 2, 3, 500.5]
    queue.close()


def test_names_are_reserved_until_the_job_ends(queue: Queue) -> None:
    put(queue, "a")
    (job,) = take(queue)
    queue.reserve(job, "/out/a_00001_.png", "11").result()
    queue.reserve(job, "/out/a_00001_.png", "22").result()
    queue.recover(all_owners=True).result()
    (again,) = take(queue)
    assert queue.reserved(again) == {"/out/a_00001_.png": "22"}
    queue.finish(again, Ending("success")).result()
    assert queue.reserved(again) == {}


def test_the_order_of_thousands_is_kept_over_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'q.sqlite'}"
    queue = Queue(open_database(url))
    count = 2_000
    futures = [queue.accept(NewJob(f"j{i}", PROMPT, {}, ("1",)), i % 7, True) for i in range(count)]
    assert futures[-1].result()
    queue.close()
    queue = Queue(open_database(url))
    wanted = [f"j{i}" for _, i in sorted((i % 7, i) for i in range(count))]
    assert ids(queue.waiting()) == wanted
    assert ids(take(queue, most=50)) == wanted[:50]
    assert queue.remaining == count
    queue.close()
