"""A worker runs what waits whatever goes wrong, stops what it is told to, puts back what it leaves."""

import os
import queue
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from server.queue.jobs import NewJob
from server.running import Running
from tests.server.crew import Crew
from tests.server.faulty import expected, prompt


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    crew = Crew(tmp_path)
    crew.worker.start()
    yield crew
    crew.close()


def status(crew: Crew, id: str) -> str:
    job = crew.queue.job(id)
    assert job is not None
    return job.status


def waits_at_gate(crew: Crew) -> None:
    assert crew.gates.come.acquire(timeout=30)


def disk_full() -> OperationalError:
    return OperationalError("", {}, sqlite3.OperationalError("database or disk is full"))


def test_jobs_are_taken_one_after_the_other_and_their_ends_told_once_committed(crew: Crew) -> None:
    for id in "abc":
        crew.put(id, prompt(ord(id), id))
    assert crew.ended("c")[1].status == "success"
    story = [
        (kind, what[0].id if kind == "ended" else what.id) for kind, what in crew.seen if kind != "message"
    ]
    assert story == [(kind, id) for id in "abc" for kind in ("taken", "ended")]
    assert [status(crew, id) for id in "abc"] == ["success"] * 3


def test_a_job_begins_while_the_end_before_it_is_synced_and_is_told_of_after_that(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, fsync = threading.Event(), os.fsync

    def slow(file: int) -> None:
        assert go.wait(30)
        fsync(file)

    crew.put("a", prompt(1, "a", "Gate"))
    crew.put("b", prompt(2, "b", "Gate"))
    waits_at_gate(crew)
    monkeypatch.setattr(os, "fsync", slow)
    crew.worker.cancel("a")
    waits_at_gate(crew)
    assert [status(crew, id) for id in "ab"] == ["cancelled", "running"]
    crew.events.put(("mark", None))
    go.set()
    crew.gates.open.set()
    crew.ended("b")
    kinds = [kind for kind, _ in crew.seen]
    before = [(kind, what) for kind, what in crew.seen[: kinds.index("mark")] if kind != "message"]
    assert [(kind, job.id) for kind, job in before] == [("taken", "a")], "its end is told once it is synced"
    after = crew.seen[kinds.index("ended") + 1 :]
    assert {m.job_id for m in (what for kind, what in after if kind == "message")} == {"b"}
    assert all(m.job_id == "a" for kind, m in crew.seen[: kinds.index("ended")] if kind == "message")
    assert after[0][0] == "taken"


def test_a_more_urgent_job_overtakes_one_that_runs_which_ends_as_if_alone(crew: Crew, tmp_path: Path) -> None:
    crew.put("low", prompt(1, "low", "Gate"))
    waits_at_gate(crew)
    crew.put("same", prompt(2, "same"))
    crew.put("high", prompt(3, "high", "Slow", steps=2, seconds=0.001), priority=1)
    assert crew.ended("high")[1].status == "success"
    assert crew.worker.running == ["low"]
    assert status(crew, "same") == "pending"
    crew.gates.open.set()
    crew.ended("low")
    crew.ended("same")
    output = tmp_path / "output"
    assert [(output / f"{n}_00001_.png").read_bytes() for n in ("low", "same", "high")] == [
        expected(1), expected(2), expected(3)
    ]  # fmt: skip


def test_of_each_urgency_one_job_overtakes_and_the_next_follows_it(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease: Any = crew.queue.lease
    looks: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def noted(owner: str, most: int, above: int | None) -> Any:
        found = lease(owner, most, above)
        found.add_done_callback(lambda _: looks.put(above))
        return found

    crew.put("low", prompt(1, "low", "Gate"))
    waits_at_gate(crew)
    crew.put("high", prompt(2, "high", "Gate"), priority=1)
    waits_at_gate(crew)
    crew.put("next", prompt(3, "next"), priority=1)
    crew.put("other", prompt(4, "other"))
    crew.put("top", prompt(5, "top"), priority=2)
    crew.ended("top")
    monkeypatch.setattr(crew.queue, "lease", noted)
    assert [looks.get(timeout=30), looks.get(timeout=30)] == [1, 1]
    assert [status(crew, id) for id in ("high", "next", "other")] == ["running", "pending", "pending"]
    crew.worker.cancel("high")
    crew.ended("next")
    assert status(crew, "other") == "pending"
    assert crew.worker.running == ["low"]
    crew.worker.cancel("low")
    assert crew.ended("other")[1].status == "success"


def test_a_more_urgent_job_that_nobody_told_of_is_found(crew: Crew) -> None:
    crew.put("low", prompt(1, "low", "Gate"))
    waits_at_gate(crew)
    new = NewJob("high", prompt(2, "high"), {}, ("9",), priority=1)
    crew.queue.accept(new, crew.queue.next_number(), True).result()
    assert crew.ended("high")[1].status == "success"


def test_two_jobs_at_once_are_both_under_way(tmp_path: Path) -> None:
    crew = Crew(tmp_path, at_once=2)
    crew.worker.start()
    crew.put("a", prompt(1, "a", "Gate"))
    crew.put("b", prompt(2, "b", "Gate"))
    crew.put("c", prompt(3, "c"))
    crew.until("taken", "b")
    assert sorted(crew.worker.running) == ["a", "b"]
    assert status(crew, "c") == "pending"
    crew.gates.open.set()
    assert crew.ended("c")[1].status == "success"
    crew.close()


def test_a_running_job_is_cancelled_at_its_next_step_and_the_next_one_runs(crew: Crew) -> None:
    crew.put("a", prompt(1, "a", "Gate"))
    crew.put("b", prompt(2, "b"))
    waits_at_gate(crew)
    assert crew.worker.cancel("b") == []
    assert crew.worker.cancel("a") == ["a"]
    assert crew.ended("a")[1].status == "cancelled"
    assert crew.ended("b")[1].status == "success"


def test_a_job_that_was_to_be_cancelled_when_it_was_put_back_ends_when_it_is_taken_again(crew: Crew) -> None:
    crew.put("a", prompt(1, "a", "Gate"))
    waits_at_gate(crew)
    crew.queue.ask_to_cancel("a").result()
    crew.queue.release(*crew.queue.running()).result()
    crew.worker.cancel("a")  # the first attempt is nobody's any more
    crew.until("taken", "a")
    crew.until("taken", "a")
    assert crew.ended("a")[1].status == "cancelled"
    assert [kind for kind, _ in crew.seen if kind != "message"] == ["taken", "taken", "ended"]


def test_a_paused_job_waits_until_it_is_resumed(crew: Crew) -> None:
    crew.put("a", prompt(1, "a", "Gate"))
    waits_at_gate(crew)
    crew.worker.cancel("a", put_back=True)
    crew.until("put back", "a")
    assert status(crew, "a") == "paused"
    crew.gates.open.set()
    assert crew.queue.move("a", ("paused",), "pending").result()
    crew.worker.wake()
    assert crew.ended("a")[1].status == "success"


@pytest.mark.parametrize("first", [True, False])
def test_who_wants_a_job_to_end_has_the_last_word_over_who_puts_it_back(crew: Crew, first: bool) -> None:
    crew.put("a", prompt(1, "a", "Gate"))
    waits_at_gate(crew)
    (running,) = crew.worker._running.values()
    running.cancel(put_back=first)
    running.cancel(put_back=not first)
    assert crew.ended("a")[1].status == "cancelled"


def test_a_fault_of_ours_ends_the_job_with_an_error_and_the_worker_goes_on(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: Running) -> Any:
        raise KeyError("a bug")

    monkeypatch.setattr(Running, "run", broken)
    crew.put("a", prompt(1, "a"))
    _, ending = crew.ended("a")
    assert ending.status == "error"
    assert ending.error is not None
    assert "a bug" in ending.error["exception_message"]
    monkeypatch.undo()
    crew.put("b", prompt(2, "b"))
    assert crew.ended("b")[1].status == "success"


def test_an_end_that_cannot_be_recorded_is_an_error_and_the_worker_goes_on(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = crew.queue.finish_and_lease

    def broken(job: Any, ending: Any, *more: Any) -> Any:
        if ending.status == "success" and job.id == "a":
            raise KeyError("a bug")
        return finish(job, ending, *more)

    monkeypatch.setattr(crew.queue, "finish_and_lease", broken)
    crew.put("a", prompt(1, "a"))
    assert crew.ended("a")[1].status == "error"
    assert status(crew, "a") == "error"
    crew.put("b", prompt(2, "b"))
    assert crew.ended("b")[1].status == "success"


@pytest.mark.parametrize("error", [disk_full(), ValueError("a row that cannot be read"), RuntimeError()])
def test_a_lease_that_fails_is_tried_again(
    crew: Crew, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    lease, failed = crew.queue.lease, threading.Event()

    def failing(*args: Any) -> Any:
        if not failed.is_set():
            failed.set()
            raise error
        return lease(*args)

    monkeypatch.setattr(crew.queue, "lease", failing)
    crew.put("a", prompt(1, "a"))
    assert crew.ended("a")[1].status == "success"
    assert failed.is_set()


@pytest.mark.parametrize("put_back", [False, True])
def test_an_end_that_cannot_be_committed_is_tried_until_it_is(
    crew: Crew, monkeypatch: pytest.MonkeyPatch, put_back: bool
) -> None:
    name = "release" if put_back else "finish_and_lease"
    real, times = getattr(crew.queue, name), iter(range(10))

    def failing(*args: Any, **kwargs: Any) -> Any:
        if next(times) < 1:
            raise disk_full()
        return real(*args, **kwargs)

    monkeypatch.setattr(crew.queue, name, failing)
    crew.put("a", prompt(1, "a", "Gate"))
    waits_at_gate(crew)
    crew.worker.cancel("a", put_back=put_back)
    crew.until("put back" if put_back else "ended", "a")
    assert next(times) == 2
    assert status(crew, "a") == ("paused" if put_back else "cancelled")


def test_an_end_is_not_told_where_the_job_is_anothers_by_now(crew: Crew) -> None:
    crew.put("a", prompt(1, "a", "Gate"))
    waits_at_gate(crew)
    crew.queue.recover(all_owners=True).result()
    (theirs,) = crew.queue.lease("other").result()
    crew.gates.open.set()
    crew.put("b", prompt(2, "b"))
    crew.ended("b")
    assert ("ended", "a") not in [(kind, what[0].id) for kind, what in crew.seen if kind == "ended"]
    assert (status(crew, "a"), theirs.attempt) == ("running", 2)


def test_a_job_whose_lease_was_lost_with_the_database_is_not_run_beside_itself(tmp_path: Path) -> None:
    crew = Crew(tmp_path, at_once=2)
    crew.worker.start()
    crew.put("a", prompt(1, "a", "Gate"))
    waits_at_gate(crew)

    def forget(connection: Connection) -> None:
        connection.execute(text("UPDATE jobs SET status = 'pending', owner = NULL, attempt = attempt - 1"))

    crew.queue.writer.submit(forget).result()
    crew.put("b", prompt(2, "b"))
    crew.ended("b")
    crew.gates.open.set()
    crew.ended("a")
    assert [what.id for kind, what in crew.seen if kind == "taken"] == ["a", "b"]
    assert [(job.id, job.status, job.attempt) for job in crew.queue.history()] == [
        ("b", "success", 1),
        ("a", "success", 1),
    ]
    crew.close()


def test_stopping_puts_back_what_does_not_end_in_time(tmp_path: Path) -> None:
    crew = Crew(tmp_path)
    crew.worker.start()
    crew.put("a", prompt(1, "a", "Gate"))
    crew.put("b", prompt(2, "b"))
    waits_at_gate(crew)
    assert crew.worker.stop(0.05)
    job = crew.queue.job("a")
    assert job is not None
    assert (job.status, job.attempt, job.owner) == ("pending", 0, None)
    assert status(crew, "b") == "pending"
    crew.close()
