"""What people see of a batch under way."""

import io
import logging

from rich.console import Console

from engine.events import NodeFinished, Notice
from server.batch.board import FAILURES_SHOWN, Board, failure_of, span
from server.telling import Message


def board(terminal: bool = True, jobs: int = 20) -> Board:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100, color_system=None)
    return Board(console, jobs, 2, 30, {n: f"job_{n}_[red]" for n in range(1, jobs + 1)}, {"5": "Sampler"})


def drawn(found: Board) -> str:
    with found.console.capture() as capture:
        found.console.print(found.drawn())
    return capture.get()


def step(value: int, job: str = "x-3") -> Message:
    return Message(job, None, "progress", {"value": value, "max": 20, "node": "5"})


def test_it_shows_jobs_nodes_steps_and_what_is_being_made() -> None:
    found = board()
    for number in (3, 4, 5):
        found.taken(number)
    found.news(step(7), 3)
    found.news(NodeFinished("1", "Paint", 0.1, {}), None)
    text = drawn(found)
    assert "2 of 20 jobs" in text
    assert "1 of 30 nodes" in text
    assert "steps/s" in text
    assert "making job_3_[red] Sampler 7/20, job_4_[red] and 1 more" in text
    assert "left" not in text, "nothing can be said before a job has ended"
    found.ended({"job": 3, "status": "success", "inputs": {}, "outputs": []})
    text = drawn(found)
    assert "3 of 20 jobs" in text
    assert "job_3_" not in text
    assert "left" in text


def test_failures_are_said_at_once_the_first_of_them() -> None:
    found = board(terminal=False)
    for number in range(1, FAILURES_SHOWN + 5):
        error = {"node_id": "5", "class_type": "Refuse", "message": "it is [bad]\nmore"}
        line = {"job": number, "status": "error", "inputs": {"Paint.color": "[x]"}, "outputs": []}
        found.ended({**line, "error": error})
    said = found.console.file.getvalue()  # type: ignore[attr-defined]
    assert "job 1 (Paint.color=[x]): node 5, Refuse: it is [bad]" in said
    assert said.count("failed job") == FAILURES_SHOWN
    assert f"{FAILURES_SHOWN + 4} failed" in drawn(found)


def test_notices_are_said_and_foreign_news_are_nothing() -> None:
    found = board(terminal=False)
    found.news(Notice("retried with half the batch"), None)
    found.news(step(1, "another"), None)
    assert "retried with half the batch" in found.console.file.getvalue()  # type: ignore[attr-defined]


def test_without_a_terminal_it_says_a_line_now_and_then() -> None:
    found = board(terminal=False)
    with found:
        found.tick()
        assert found.console.file.getvalue() == ""  # type: ignore[attr-defined]
        found._said -= 1000
        found.tick()
        found.tick()
    said = found.console.file.getvalue()  # type: ignore[attr-defined]
    assert said.count("\n") == 1
    assert said.startswith("2 of 20 jobs, 0 of 30 nodes")


def test_the_log_is_written_above_the_board_and_afterwards_as_before() -> None:
    handler = logging.StreamHandler()
    before = handler.stream
    logging.getLogger().addHandler(handler)
    try:
        with board():
            assert handler.stream is not before
        assert handler.stream is before
    finally:
        logging.getLogger().removeHandler(handler)


def test_times_are_said_as_people_do() -> None:
    assert [span(s) for s in (0.04, 9.94, 59.4, 61, 3599, 3600, 7_380)] == [
        "0.0 s", "9.9 s", "59 s", "1:01 min", "59:59 min", "1:00 h", "2:03 h",
    ]  # fmt: skip


def test_a_failure_without_a_node_says_its_status() -> None:
    assert failure_of({"job": 3, "status": "cancelled", "inputs": {}}) == "job 3: cancelled"
