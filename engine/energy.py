"""How much energy the machine has used, where it can tell, and what of it each of several jobs used."""

import importlib
import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the counters of the processors, Intel's and AMD's; on most systems to root alone."""


class Meter:
    """Counts the joules of the processors and of the GPU that computes, for all programs together.

    Processors count in a register that begins anew (after minutes under full load at the earliest): what is
    read less often than that comes out too low.

    Args:
        device: Where models compute, as torch spells it; "cuda" and "cuda:1" count with the processors, where
            the package `nvidia-ml-py` is installed.
        powercap: The folder of the processors' counters.
    """

    def __init__(self, device: str = "cpu", powercap: Path = POWERCAP) -> None:
        found = [_Package.found(zone) for zone in sorted(powercap.glob("intel-rapl:*"))]
        self._packages = [package for package in found if package is not None]
        self._gpu = _gpu(device) if device.startswith("cuda") else None
        self._gpu_start = self._gpu() if self._gpu else None
        self._joules = 0.0

    def joules(self) -> float | None:
        """The joules used since this meter was made; None where nothing counts them."""
        if not self._packages and self._gpu_start is None:
            return None
        self._joules += sum(package.used() for package in self._packages)
        return self._joules + self._by_gpu()

    def _by_gpu(self) -> float:
        now = self._gpu() if self._gpu else None
        return 0.0 if now is None or self._gpu_start is None else now - self._gpu_start


class _Package:
    """The counter of one processor: `energy_uj`, which begins anew after `max_energy_range_uj`."""

    def __init__(self, zone: Path) -> None:
        self._counter = zone / "energy_uj"
        self._range = _number(zone / "max_energy_range_uj")
        self._last = _number(self._counter)

    @classmethod
    def found(cls, zone: Path) -> "_Package | None":
        """The counter of a zone; None where that is a part of a processor, or the board, or unreadable."""
        with suppress(OSError, ValueError):
            if (zone / "name").read_text(encoding="ascii").startswith("package"):
                return cls(zone)
        return None

    def used(self) -> float:
        """The joules since the last time; 0 while it cannot be read."""
        try:
            now = _number(self._counter)
        except (OSError, ValueError):
            return 0.0
        grown = now - self._last if now >= self._last else now - self._last + self._range
        self._last = now
        return max(grown, 0) / 1e6


def _number(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))


def _gpu(device: str) -> Callable[[], float | None] | None:
    """Reads the joules of a GPU since its driver was loaded; None where NVIDIA's library does not tell."""
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return None
    import torch  # only where models compute by it

    def joules() -> float | None:
        try:
            return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
        except nvml.NVMLError:
            return None

    try:
        nvml.nvmlInit()
        uuid = torch.cuda.get_device_properties(device).uuid  # NVML numbers devices in an order of its own
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}".encode())
    except nvml.NVMLError:
        return None
    return joules


class Shares:
    """Splits what a meter counts over the jobs under way: each moment's energy in equal parts among them.

    What is used while no job is under way counts for none. Safe to use from several threads.

    Args:
        joules: The meter, such as `Meter("cuda").joules`.
    """

    def __init__(self, joules: Callable[[], float | None]) -> None:
        self._joules, self._last = joules, joules()
        self._each = 0.0  # of a job that is under way from the start
        self._begun: dict[Hashable, float] = {}
        self._lock = threading.Lock()

    def begin(self, job: Hashable) -> None:
        """Note that a job is under way from now on; one that is begun again starts from nothing."""
        with self._lock:
            self._read()
            self._begun[job] = self._each

    def end(self, job: Hashable) -> float | None:
        """The joules of a job that is no longer under way; None where nothing counts, or it was not begun."""
        with self._lock:
            self._read()
            begun = self._begun.pop(job, None)
            return None if begun is None or self._last is None else self._each - begun

    def _read(self) -> None:
        now = self._joules()
        if now is not None and self._last is not None and self._begun:
            self._each += (now - self._last) / len(self._begun)
        self._last = now
