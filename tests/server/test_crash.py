"""Nothing accepted is lost, nothing is done twice, nothing is half there, whenever the process ends."""

from pathlib import Path

import pytest

from tests.server.asking import outputs, post, rows, until_empty
from tests.server.crashes import end_at_each_change, kill_often
from tests.server.faulty import ENDED, Process, expected, prompt


@pytest.mark.slow
def test_no_job_is_lost_or_done_twice_over_thirty_kills_at_random_moments(tmp_path: Path) -> None:
    tally = kill_often(tmp_path, 30)
    assert tally.wrong == []
    assert tally.kills == 30
    assert len(tally.accepted) > 30
    assert tally.ended["success"] >= len(tally.accepted) - tally.ended["error"]
    assert tally.again > 0, "no kill hit a running job; the test shows nothing"


@pytest.mark.slow
def test_ended_at_any_change_of_the_disk_the_state_is_before_or_after_and_a_restart_finishes(
    tmp_path: Path,
) -> None:
    points, wrong = end_at_each_change(tmp_path)
    assert wrong == []
    assert points >= 12, "fewer changes than accept, lease, reserve, write, link and finish make"


@pytest.mark.slow
def test_a_restart_that_is_itself_ended_at_any_change_loses_nothing(tmp_path: Path) -> None:
    points, wrong = end_at_each_change(tmp_path, from_start=True)
    assert wrong == []
    assert points >= 12


def test_a_job_that_ends_its_process_each_time_is_given_up_after_three_attempts(tmp_path: Path) -> None:
    process = Process(tmp_path)
    # it begins while the end of this one is being synced, and must not take it along
    assert post(process.address, prompt(3, "first", "Slow", steps=20, seconds=0.05), "first") == 200
    assert post(process.address, prompt(1, "poison", "Die"), "poison") == 200
    assert process.wait() == ENDED
    for _ in range(2):
        assert Process(tmp_path).wait() == ENDED
    process = Process(tmp_path)
    assert post(process.address, prompt(2, "next"), "next") == 200
    until_empty(process.address)
    first, poison, following = rows(tmp_path)
    assert (first["status"], first["attempt"]) == ("success", 1)
    assert (poison["status"], poison["attempt"]) == ("error", 3)
    assert "interrupted 3 times" in poison["ending"]
    assert following["status"] == "success"
    assert outputs(tmp_path) == {"first_00001_.png": expected(3), "next_00001_.png": expected(2)}
    assert process.terminate() == 0
