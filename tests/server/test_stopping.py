"""SIGTERM: nothing new is taken, what runs ends or goes back, the process ends in time and with status 0."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.server.asking import ask, outputs, post, rows, sound, until_empty
from tests.server.faulty import Process, expected, prompt

LONG = {"steps": 1_000, "seconds": 0.05}


def until_running(process: Process, id: str) -> None:
    last = time.monotonic() + 30
    while id not in [item[1] for item in ask(process.address, "GET", "/queue")[1]["queue_running"]]:
        assert time.monotonic() < last


def statuses(base: Path) -> dict[str, tuple[str, int]]:
    return {row["id"]: (row["status"], row["attempt"]) for row in rows(base)}


def test_a_short_job_is_finished_and_those_that_wait_are_kept(tmp_path: Path) -> None:
    process = Process(tmp_path)
    post(process.address, prompt(1, "a", "Slow", steps=10, seconds=0.05), "a")
    post(process.address, prompt(2, "b"), "b")
    until_running(process, "a")
    assert process.terminate() == 0
    assert statuses(tmp_path) == {"a": ("success", 1), "b": ("pending", 0)}
    process = Process(tmp_path)
    until_empty(process.address)
    assert process.terminate() == 0
    assert outputs(tmp_path) == {"a_00001_.png": expected(1), "b_00001_.png": expected(2)}


def test_a_long_job_goes_back_within_the_time_and_is_done_after_the_restart(tmp_path: Path) -> None:
    process = Process(tmp_path, stop_seconds=0.5)
    post(process.address, prompt(1, "a", "Slow", **LONG), "a")
    until_running(process, "a")
    started = time.monotonic()
    assert process.terminate() == 0
    assert time.monotonic() - started < 5
    assert statuses(tmp_path) == {"a": ("pending", 0)}
    assert outputs(tmp_path) == {}
    assert sound(tmp_path)


def test_files_of_a_job_that_was_put_back_are_not_written_twice(tmp_path: Path) -> None:
    both: dict[str, Any] = prompt(1, "early")
    both |= {"5": {"class_type": "Slow", "inputs": {"picture": ["1", 0], "steps": 40, "seconds": 0.05}}}
    both |= {"7": {"class_type": "Keep", "inputs": {"picture": ["5", 0], "prefix": "late"}}}
    process = Process(tmp_path, stop_seconds=0.1)
    post(process.address, both, "a")
    last = time.monotonic() + 30
    while "early_00001_.png" not in outputs(tmp_path):
        assert time.monotonic() < last
    assert process.terminate() == 0
    assert statuses(tmp_path) == {"a": ("pending", 0)}
    process = Process(tmp_path)
    until_empty(process.address)
    process.kill()
    assert outputs(tmp_path) == {"early_00001_.png": expected(1), "late_00001_.png": expected(1)}


def test_new_prompts_are_refused_while_it_stops(tmp_path: Path) -> None:
    process = Process(tmp_path, stop_seconds=3.0)
    post(process.address, prompt(1, "a", "Slow", **LONG), "a")
    until_running(process, "a")
    exits: list[int | None] = []
    stopping = threading.Thread(target=lambda: exits.append(process.terminate()))
    stopping.start()
    last = time.monotonic() + 2
    while (answer := ask(process.address, "POST", "/prompt", {"prompt": prompt(2, "b")}))[0] == 200:
        assert time.monotonic() < last
    assert answer[0] == 503
    assert "stopping" in answer[1]["error"]["message"]
    stopping.join()
    assert exits == [0]


@pytest.mark.slow
def test_a_node_that_cannot_be_stopped_does_not_hold_up_the_end(tmp_path: Path) -> None:
    process = Process(tmp_path, stop_seconds=1.0)
    post(process.address, prompt(1, "a", "Stuck", seconds=60.0), "a")
    until_running(process, "a")
    started = time.monotonic()
    try:
        assert process.terminate(10) == 0, "it is still there after ten seconds"
        assert time.monotonic() - started < 10
    finally:
        process.kill()
    assert statuses(tmp_path) == {"a": ("pending", 0)}
    assert sound(tmp_path)
