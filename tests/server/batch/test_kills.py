"""Whenever a batch is killed, the same command goes on, does nothing twice, and leaves the same bytes."""

import os
import signal
from pathlib import Path

import pytest

from tests.server.batch.commands import (
    ENDED,
    Command,
    differences,
    kill_often,
    lines_of,
    meddle,
    points_of_no_return,
    ran,
)
from tests.server.batch.commands import workflow as written

SWEEP = ("--vary", "Paint.color=1..6", "--vary", "Mix.seed=1,2,3")


def asked(folder: Path) -> list[str]:
    """A batch of 18 jobs."""
    return ["batch", str(written(folder)), *SWEEP]


@pytest.mark.slow
def test_nothing_is_lost_or_done_twice_over_thirty_kills_with_fresh_caches(tmp_path: Path) -> None:
    tally = kill_often(tmp_path, asked(tmp_path), 30)
    assert tally.wrong == []
    assert tally.between > 3, "no kill hit a batch in the middle; the test shows nothing"


@pytest.mark.slow
def test_nor_with_a_warm_shared_cache_half_lines_in_the_manifest_and_a_lost_queue(tmp_path: Path) -> None:
    tally = kill_often(tmp_path, asked(tmp_path), 24, seed=2, cache=lambda _: "shared", meddle=meddle)
    assert tally.wrong == []
    assert tally.between > 3, "no kill hit a batch in the middle; the test shows nothing"


@pytest.mark.slow
def test_ended_at_any_change_of_the_disk_the_same_command_finishes(tmp_path: Path) -> None:
    arguments = ["batch", str(written(tmp_path)), "--vary", "Paint.color=1,2"]
    points, wrong = points_of_no_return(tmp_path, arguments, stride=9)  # benchmarks/batch_kills.py: each
    assert wrong == []
    assert points > 60, "fewer changes of the disk than two jobs make"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_told_to_stop_it_stops_at_the_next_step_and_the_same_command_goes_on(
    tmp_path: Path, how: signal.Signals
) -> None:
    mark = tmp_path / "stop being slow"
    path = written(tmp_path, "SlowUnless", mark=str(mark))
    arguments = ["batch", str(path), "--vary", "Paint.color=1..9", "--output", "out"]
    command = Command(tmp_path, *arguments)
    command.until_running(tmp_path / "out")
    command.interrupt(how)
    assert command.wait(20) == 130, command.err
    assert "0 of 9 jobs are done; the same command goes on" in command.err
    mark.touch()
    assert ran(tmp_path, *arguments).wait() == 0
    assert [line["attempts"] for line in lines_of(tmp_path / "out")] == [1] * 9


def test_told_twice_to_stop_it_ends_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, "Stuck", seconds=60.0)
    command = Command(tmp_path, "batch", str(path), "--vary", "Paint.color=1..9", "--output", "out")
    command.until_running(tmp_path / "out")
    command.interrupt()
    command.interrupt()
    assert command.wait(10) == 130


def test_two_commands_at_once_on_one_folder_do_not_mix(tmp_path: Path) -> None:
    path = written(tmp_path, "Slow", steps=50, seconds=0.02)
    arguments = ["batch", str(path), "--vary", "Paint.color=1,2,3", "--output", str(tmp_path / "out")]
    first, second = Command(tmp_path / "a", *arguments), Command(tmp_path / "b", *arguments)
    codes = {first.wait(), second.wait()}
    assert codes == {0, 2}, first.err + second.err
    assert "is being written by another batch" in first.err + second.err
    assert len(lines_of(tmp_path / "out")) == 3


def test_a_full_disk_stops_it_and_afterwards_it_goes_on(tmp_path: Path) -> None:
    arguments = ["batch", str(written(tmp_path)), *SWEEP, "--output", "out"]
    command = ran(tmp_path / "full", *arguments, environ={"LATENTGRAPH_TEST_FULL": "manifest.jsonl"})
    assert command.wait() == 1
    assert "broken off" in command.err
    assert "No space left on device" in command.err
    again = ran(tmp_path / "full", *arguments)
    assert again.wait() == 0, again.err
    ran(tmp_path / "whole", *arguments)
    assert differences(tmp_path / "full" / "out", tmp_path / "whole" / "out") == []


def test_a_job_that_ends_the_process_each_time_keeps_no_other_from_being_done(tmp_path: Path) -> None:
    arguments = ["batch", str(written(tmp_path, "DieOn", bad=2)), "--vary", "Paint.color=1,2,3,4,5"]
    for _ in range(5):
        command = ran(tmp_path, *arguments, "--output", "out")
        assert command.wait() == ENDED
    assert sorted(line["job"] for line in lines_of(tmp_path / "out")) == [1, 3, 4, 5]
    assert "job 2: twice under way when a run ended" in command.err
    assert "--workers 1 goes on without it" in command.err


def test_nothing_is_left_running(tmp_path: Path) -> None:
    command = ran(tmp_path, *asked(tmp_path), "--output", "out")
    with pytest.raises(ProcessLookupError):
        os.kill(command.pid, 0)
