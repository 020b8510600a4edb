"""A batch's rows in the queue, and what is made of those that an interrupted run left."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.batch import Batch
from engine.batch.planning import BatchPlan, plan_batch
from engine.batch.reading import read_batch
from engine.config import make_env, open_tiers, read_settings
from engine.runner import Engine
from engine.workflow import load
from server.batch.folder import Folder
from server.batch.rows import PRIORITY, Rows
from server.batch.standing import standing, take_over
from server.queue.jobs import Ending, Job, NewJob
from server.queue.opening import open_database
from server.queue.store import Queue
from tests.server.batch.commands import TOYS, workflow


class Desk:
    """A planned batch of four jobs, and a queue; nobody runs anything."""

    def __init__(self, base: Path, shared: bool = False) -> None:
        settings = read_settings(base_directory=base, cache=Path("off"), device="cpu")
        tiers = open_tiers(settings)
        self.engine = Engine(TOYS, make_env(settings, TOYS, tiers), tiers)
        made = load(workflow(base))
        self.batch: Batch = read_batch(
            replace(made, editor={"nodes": []}), TOYS, ["Paint.color=1,2", "Mix.seed=3,4"]
        )
        self.plan: BatchPlan = plan_batch(self.batch, self.engine)
        self.queue = Queue(open_database(f"sqlite:///{base / 'q.sqlite'}"))
        self.folder = Folder(base / "out", self.batch, 8)
        self.rows = Rows(self.queue, self.batch, self.folder.path, shared=shared)
        self.folder.path.mkdir()

    def lease(self, count: int) -> list[Job]:
        return self.queue.lease("somebody", count).result()

    def end(self, job: Job, ending: Ending) -> None:
        assert self.queue.finish(job, ending).result()

    def take_over(self, **facts: Any) -> frozenset[int]:
        found = standing(self.folder, facts.pop("retry_failed", False))
        done = take_over(found, self.plan, self.folder, self.rows)
        self.lines = found.manifest.lines
        found.manifest.close()
        return done


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Where a batch is submitted."""
    found = Desk(tmp_path)
    yield found
    found.queue.close()
    found.engine.close()


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Desk]:
    """The same with a queue that others use, too."""
    found = Desk(tmp_path, shared=True)
    yield found
    found.queue.close()
    found.engine.close()


def test_jobs_are_submitted_in_order_with_their_rungs_their_folder_and_the_editors_workflow(
    desk: Desk,
) -> None:
    desk.rows.submit(desk.plan.jobs)
    jobs = desk.lease(9)
    assert [desk.rows.number(job.id) for job in jobs] == [1, 2, 3, 4]
    first = jobs[0]
    assert first.id == f"{desk.batch.digest[:12]}-1"
    assert first.priority == PRIORITY < 0
    assert first.targets == ("9",)
    assert first.extra_data == {"extra_pnginfo": {"workflow": {"nodes": []}}}
    assert first.options["pinned"] == dict(desk.plan.jobs[0].pinned) != {}
    assert first.options["output"] == str(desk.folder.path.resolve())
    assert first.prompt["9"]["inputs"]["filename_prefix"] == "toy_1"


def test_ids_of_others_are_no_numbers_of_ours(desk: Desk) -> None:
    own = desk.rows.id(3)
    assert [desk.rows.number(id) for id in (own, own + "x", "3", "", "other-3")] == [3] + [None] * 4


def test_two_folders_do_not_share_rows_of_a_shared_queue(shared: Desk, tmp_path: Path) -> None:
    other = Rows(shared.queue, shared.batch, tmp_path / "other", shared=True)
    assert other.id(1) != shared.rows.id(1)
    shared.rows.submit(shared.plan.jobs)
    assert other.standing() == {}
    shared.queue.accept(NewJob("foreign", {}, {}, ()), 0, counted=True).result()
    for job in shared.lease(9):
        shared.end(job, Ending("cancelled"))
    shared.rows.forget()
    assert [job.id for job in shared.queue.history()] == ["foreign"]


def test_ends_that_only_the_queue_knows_are_noted_and_not_run_again(desk: Desk) -> None:
    desk.take_over()
    first, second = desk.lease(2)
    desk.end(first, Ending("success", executed=("1",)))
    desk.end(second, Ending("error", error={"exception_message": "bad"}))
    assert desk.take_over() == {1, 2}
    assert [desk.lines[n]["status"] for n in (1, 2)] == ["success", "error"]
    assert desk.rows.standing() == {1: "success", 2: "error", 3: "pending", 4: "pending"}


def test_what_was_under_way_waits_again_and_the_second_time_until_each_can_run_alone(desk: Desk) -> None:
    desk.take_over()
    assert [job.attempt for job in desk.lease(2)] == [1, 1]
    desk.take_over()
    assert [job.attempt for job in desk.lease(3)] == [2, 2, 1]
    desk.take_over()
    assert desk.rows.standing() == {1: "paused", 2: "paused", 3: "pending", 4: "pending"}
    desk.rows.let_in(2)
    assert [(desk.rows.number(job.id), job.attempt) for job in desk.lease(1)] == [(2, 3)]
    desk.take_over()
    assert desk.rows.standing()[2] == "paused", "no kill of the whole command gives a job up"
    assert {n: job.attempt for n, job in desk.rows.aside().items()} == {1: 2, 2: 3}


def test_a_retry_that_was_killed_is_not_gone_on_with_unless_it_is_asked_for(desk: Desk) -> None:
    desk.take_over()
    (job,) = desk.lease(1)
    desk.end(job, Ending("error"))
    desk.take_over()
    desk.take_over(retry_failed=True)
    assert [desk.rows.number(job.id) for job in desk.lease(1)] == [1]
    assert desk.take_over() == {1}
    assert desk.rows.standing()[1] == "cancelled"


def test_what_others_run_goes_on(shared: Desk) -> None:
    shared.take_over()
    (job,) = shared.lease(1)
    (shared.folder.path / "toy_1_00001_.png").touch()
    (shared.folder.path / "toy_2_00001_.png").touch()
    shared.take_over()
    assert shared.rows.standing()[1] == "running"
    assert (shared.folder.path / "toy_1_00001_.png").exists(), "it is being made"
    shared.end(job, Ending("success"))
    assert shared.take_over() == {1}


def test_files_of_interrupted_jobs_are_removed_those_of_finished_ones_stay(desk: Desk) -> None:
    desk.take_over()
    for job in desk.lease(2)[:1]:
        desk.end(job, Ending("success"))
    for number in (1, 2, 3):
        (desk.folder.path / f"toy_{number}_00001_.png").touch()
    desk.take_over()
    assert [p.name for p in desk.folder.path.glob("*.png")] == ["toy_1_00001_.png"]


def test_a_success_without_its_files_is_run_again(desk: Desk) -> None:
    desk.take_over()
    (job,) = desk.lease(1)
    file = {"node_id": "9", "filename": "toy_1_00001_.png", "subfolder": "", "type": "output", "sha256": "x"}
    desk.end(job, Ending("success", files=(file,)))
    assert desk.take_over() == frozenset()
    assert desk.rows.standing()[1] == "pending"


def test_failed_jobs_are_run_again_where_that_is_asked_for_and_else_not(desk: Desk) -> None:
    desk.take_over()
    (job,) = desk.lease(1)
    desk.end(job, Ending("error"))
    assert desk.take_over() == {1}
    assert desk.take_over(retry_failed=True) == frozenset()
    assert desk.rows.standing()[1] == "pending"
    assert desk.take_over() == {1}, "the retry was interrupted; this time it is not wanted"
    assert desk.rows.standing()[1] == "cancelled"
    assert desk.take_over(retry_failed=True) == frozenset()
    assert desk.rows.standing()[1] == "pending"
