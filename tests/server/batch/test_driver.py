"""The driver: ends that nobody told of, workers that end, jobs that have to run alone."""

import threading
from collections.abc import Collection
from pathlib import Path
from queue import SimpleQueue

import pytest

from server.batch.crew import Crew, Ended, Lost, News, Stop, Taken
from server.batch.driver import HOPELESS, Driver
from server.batch.manifest import Line, Manifest, changed
from server.queue.jobs import Ending, Job
from server.worker import Told, Worker
from tests.server.batch.test_rows import Desk, desk, shared

__all__ = ["desk", "shared"]


class Heard:
    """Notes what is shown."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.begun: list[int] = []
        self.others: list[News] = []

    def taken(self, number: int) -> None:
        self.begun.append(number)

    def ended(self, line: Line) -> None:
        self.lines.append(line)

    def news(self, news: News, number: int | None) -> None:
        self.others.append(news)

    def tick(self) -> None:
        """Nothing."""


def driver(desk: Desk, used: list[Collection[str]] | None = None, aside: Collection[int] = ()) -> Driver:
    """A driver of a submitted batch whose jobs somebody else runs."""
    desk.take_over()
    crew = Crew(SimpleQueue(), desk.rows, desk.folder)
    left = {job.job.number: job for job in desk.plan.jobs}
    manifest = Manifest(desk.folder.path / "manifest.jsonl", 4)
    used = [] if used is None else used
    return Driver(left, manifest, crew, Heard(), used.append, aside=set(aside))


def run(found: Driver) -> None:
    """Drive to the end."""
    try:
        found.run()
    finally:
        found.manifest.close()


def test_ends_in_the_queue_are_found_though_nobody_tells_of_them(desk: Desk) -> None:
    used: list[Collection[str]] = []
    found = driver(desk, used)
    for job in desk.lease(4):
        desk.end(job, Ending("success", executed=("1", "9")))
    run(found)
    assert sorted(found.manifest.lines) == [1, 2, 3, 4]
    assert (found.left, found.executed, found.failed, found.stopped) == ({}, 8, 0, False)
    assert used == [job.uses for job in desk.plan.jobs]


def test_an_end_is_on_disk_before_it_is_shown_and_noted_once(desk: Desk) -> None:
    found = driver(desk)
    jobs = desk.lease(4)
    on_disk: list[int] = []
    show = found.show
    assert isinstance(show, Heard)
    show.ended = lambda line: on_disk.append(  # type: ignore[method-assign]
        len(found.manifest.path.read_text(encoding="utf-8").splitlines())
    )
    for job in jobs:
        found.crew.inbox.put(Taken(job))
        found.crew.inbox.put(Ended(job, Ending("error", error={"exception_message": "bad"})))
        found.crew.inbox.put(Ended(job, Ending("success")))
        desk.end(job, Ending("error"))
    run(found)
    assert on_disk == [4] * 4
    assert found.manifest.path.read_text(encoding="utf-8").count("\n") == 4


def test_it_stops_when_it_is_told_to_and_notes_what_has_ended_until_then(desk: Desk) -> None:
    found = driver(desk)
    (job,) = desk.lease(1)
    found.crew.inbox.put(Stop())
    found.crew.inbox.put(Ended(job, Ending("success")))
    run(found)
    assert found.stopped
    assert list(found.manifest.lines) == [1]
    assert list(found.left) == [2, 3, 4]


def test_workers_that_end_before_they_take_a_job_are_not_started_for_ever(desk: Desk) -> None:
    found = driver(desk)
    for _ in range(HOPELESS):
        found.crew.inbox.put(Lost(()))
    with pytest.raises(ChildProcessError, match="before they took a job"):
        found.run()


def test_jobs_that_were_set_aside_run_last_and_one_after_the_other(desk: Desk) -> None:
    found = driver(desk, aside=(1, 3))
    for job in desk.lease(4):
        if desk.rows.number(job.id) in (1, 3):
            desk.rows.interrupted([desk.rows.number(job.id) or 0], aside=True)
        else:
            desk.end(job, Ending("success"))
    seen: list[set[int]] = []

    def work() -> None:
        """End whatever waits, as long as something comes."""
        for _ in range(2):
            jobs: list[Job] = []
            while not jobs:
                jobs = desk.lease(4)
            seen.append({desk.rows.number(job.id) or 0 for job in jobs})
            for job in jobs:
                desk.end(job, Ending("success"))

    thread = threading.Thread(target=work)
    thread.start()
    run(found)
    thread.join()
    assert seen == [{1}, {3}]


def test_what_was_lost_together_twice_is_set_aside_and_its_files_are_removed(desk: Desk) -> None:
    found = driver(desk)
    for _ in range(2):
        jobs = desk.lease(2)
        (desk.folder.path / "toy_1_00001_.png").touch()
        found.crew.lost(jobs)
        assert not (desk.folder.path / "toy_1_00001_.png").exists()
    first, second = found.crew.inbox.get(), found.crew.inbox.get()
    assert isinstance(first, Lost)
    assert isinstance(second, Lost)
    assert (first.aside, second.aside) == (frozenset(), {1, 2})
    assert desk.rows.standing() == {1: "paused", 2: "paused", 3: "pending", 4: "pending"}


def test_what_was_lost_alone_three_times_is_given_up(desk: Desk) -> None:
    found = driver(desk)
    for _ in range(3):
        found.crew.lost(desk.lease(1))
    assert desk.rows.standing()[1] == "error"
    (row,) = desk.rows.ended([1]).values()
    assert row.ending is not None
    assert "interrupted 3 times" in str(row.ending.error)


def test_a_job_whose_end_was_committed_is_not_lost_with_its_worker(desk: Desk) -> None:
    found = driver(desk)
    jobs = desk.lease(2)
    desk.end(jobs[0], Ending("success"))
    (desk.folder.path / "toy_1_00001_.png").touch()
    found.crew.lost(jobs)
    assert (desk.folder.path / "toy_1_00001_.png").exists()
    assert (desk.rows.standing()[1], desk.rows.standing()[2]) == ("success", "pending")


def test_a_worker_elsewhere_writes_into_the_batchs_folder_under_the_batchs_names(
    shared: Desk, tmp_path: Path
) -> None:
    found = driver(shared)
    quiet = Told(*[lambda *_: None] * 5)
    worker = Worker(shared.engine, shared.queue, quiet, 4)
    worker.start()
    run(found)
    assert worker.stop(10)
    ends = ("00001_.png", "00002_.copy")
    names = {f"toy_{n}_{end}" for n in range(1, 5) for end in ends}
    assert {p.name for p in shared.folder.path.glob("toy_*")} == names
    assert changed(shared.folder.path, found.manifest.lines.values()) == set()
    assert not (tmp_path / "output").exists()
    assert {line["device"] for line in found.manifest.lines.values()} == {"cpu"}
