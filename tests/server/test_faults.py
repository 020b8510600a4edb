"""A disk that is full, broken or read-only: no crash, no false success; work goes on once it is mended."""

from pathlib import Path

import pytest

from tests.server.crashes import fail_at_each_call


@pytest.mark.slow
@pytest.mark.parametrize("code", ["ENOSPC", "EIO"])
def test_one_call_that_fails_costs_at_most_its_own_job(tmp_path: Path, code: str) -> None:
    points, seen, wrong = fail_at_each_call(tmp_path, code, lasting=False)
    assert wrong == []
    assert points > 20
    assert seen["error"] >= 3
    assert seen["success"] >= 3


@pytest.mark.slow
@pytest.mark.parametrize("code", ["ENOSPC", "EROFS"])
def test_a_disk_that_stays_bad_from_some_call_on_stops_nothing_for_good(tmp_path: Path, code: str) -> None:
    _, seen, wrong = fail_at_each_call(tmp_path, code, lasting=True, stride=3)
    assert wrong == []
    assert seen["POST 503"] >= 1
    assert seen["success"] >= 1
