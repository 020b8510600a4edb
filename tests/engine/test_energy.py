"""Energy: the kernel's counters as files, a stand-in for NVIDIA's library, and how jobs share it."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.energy import Meter, Shares


def zone(powercap: Path, folder: str, name: str, microjoules: int, most: int = 10_000_000) -> Path:
    made = powercap / folder
    made.mkdir(parents=True, exist_ok=True)
    (made / "name").write_text(f"{name}\n")
    (made / "max_energy_range_uj").write_text(f"{most}\n")
    counter = made / "energy_uj"
    counter.write_text(f"{microjoules}\n")
    return counter


def test_packages_are_added_and_their_parts_and_the_board_are_not(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 0)
    core = zone(tmp_path, "intel-rapl:0:0", "core", 0)
    board = zone(tmp_path, "intel-rapl:2", "psys", 0)
    again = zone(tmp_path, "intel-rapl-mmio:0", "package-0", 0)
    meter = Meter("cpu", tmp_path)
    assert meter.joules() == 0.0
    first.write_text("3500000\n")
    second.write_text("500000\n")
    for counter in (core, board, again):
        counter.write_text("9000000\n")
    assert meter.joules() == pytest.approx(3.0)


def test_a_counter_that_begins_anew_goes_on(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 9_000_000, most=10_000_000)
    meter = Meter("cpu", tmp_path)
    for value, joules in ((9_500_000, 0.5), (500_000, 1.5), (1_000_000, 2.0)):
        counter.write_text(f"{value}\n")
        assert meter.joules() == pytest.approx(joules)


def test_where_nothing_counts_there_is_no_figure(tmp_path: Path) -> None:
    assert Meter("cpu", tmp_path).joules() is None
    assert Meter("cpu", tmp_path / "absent").joules() is None
    zone(tmp_path, "intel-rapl:0", "package-0", 0).unlink()  # as for a user who may not read it
    (tmp_path / "intel-rapl:1").mkdir()
    assert Meter("cpu", tmp_path).joules() is None


def test_a_counter_that_cannot_be_read_for_a_while_loses_nothing(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = Meter("cpu", tmp_path)
    counter.write_text("nonsense")
    assert meter.joules() == 0.0
    counter.write_text("2000000")
    assert meter.joules() == pytest.approx(2.0)


class _Refused(Exception):
    pass


def library(monkeypatch: pytest.MonkeyPatch, millijoules: list[int | None], asked: list[bytes]) -> None:
    """NVIDIA's library for a machine that has none: device "GPU-uuid", which reads so, one after another."""

    def energy(handle: str) -> int:
        found = millijoules.pop(0)
        if found is None:
            raise _Refused
        return found

    made: Any = types.ModuleType("pynvml")
    made.NVMLError, made.nvmlInit = _Refused, lambda: None
    made.nvmlDeviceGetHandleByUUID = lambda uuid: asked.append(uuid)
    made.nvmlDeviceGetTotalEnergyConsumption = energy
    monkeypatch.setitem(sys.modules, "pynvml", made)
    properties = types.SimpleNamespace(uuid="uuid")
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: properties)


def test_a_gpu_is_found_by_its_uuid_and_counts_with_the_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []
    library(monkeypatch, [5_000, 5_000, 7_500], asked)
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = Meter("cuda:1", tmp_path)
    assert meter.joules() == 0.0
    counter.write_text("1000000")
    assert meter.joules() == pytest.approx(3.5)
    assert asked == [b"GPU-uuid"]


def test_a_gpu_that_does_not_count_has_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library(monkeypatch, [None], [])
    assert Meter("cuda", tmp_path).joules() is None


def test_without_the_library_a_gpu_has_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Meter("cuda", tmp_path).joules() is None


def test_jobs_under_way_together_share_each_moment() -> None:
    reading = [0.0]
    shares = Shares(lambda: reading[0])
    reading[0] = 5.0  # nobody's
    shares.begin("a")
    reading[0] = 11.0
    shares.begin("b")
    reading[0] = 21.0
    assert shares.end("a") == pytest.approx(6 + 5)
    reading[0] = 22.0
    assert shares.end("b") == pytest.approx(5 + 1)
    assert shares.end("b") is None


def test_shares_of_nothing_counted_are_none() -> None:
    shares = Shares(lambda: None)
    shares.begin(1)
    assert shares.end(1) is None


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0, 100)), max_size=40))
def test_shares_add_up_to_what_was_used_while_any_job_was_under_way(moves: list[tuple[int, float]]) -> None:
    now, busy, total = 0.0, 0.0, 0.0
    under_way: set[int] = set()
    shares = Shares(lambda: now)
    for job, used in moves:
        now += used
        busy += used if under_way else 0.0
        if job in under_way:
            total += shares.end(job) or 0.0
        else:
            shares.begin(job)
        under_way ^= {job}
    total += sum(shares.end(job) or 0.0 for job in under_way)
    assert total == pytest.approx(busy)
