"""Device memory: which device computes, and what stays loaded on it within a budget of bytes."""

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

T = TypeVar("T")


def computing() -> AbstractContextManager[Any]:
    """The context in which nodes run: no gradients, where torch is loaded at all."""
    torch = sys.modules.get("torch")
    return torch.inference_mode() if torch else nullcontext()


class Devices:
    """Keeps loaded models, least recently used out first, within a budget.

    Args:
        device: Where models compute: "cpu", "cuda", "cuda:1"; None picks a GPU when there is one.
        budget: Bytes that held objects may take together; None takes 70 % of the device's memory.
    """

    def __init__(self, device: str | None = None, budget: int | None = None) -> None:
        self._device, self._budget = device, budget
        self._held: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = threading.RLock()

    @property
    def device(self) -> str:
        """The device's name as torch spells it."""
        if self._device is None:
            import torch  # the one place that asks; importing the engine must not load torch

            self._device = "cuda" if torch.cuda.is_available() else "cpu"
        return self._device

    def held(self, key: Hashable, build: Callable[[], T], nbytes: Callable[[T], int]) -> T:
        """What `key` names, built at its first use and kept until memory is wanted for something else."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                kept: T = self._held[key][0]
                return kept
            value = build()
            self._held[key] = (value, nbytes(value))
            self._trim(keep=key)
            return value

    def free(self) -> int:
        """Let go of everything held; returns the bytes that it took."""
        with self._lock:
            freed = sum(size for _, size in self._held.values())
            self._held.clear()
        torch = sys.modules.get("torch")
        if torch and torch.cuda.is_available():
            torch.cuda.empty_cache()
        return freed

    def _trim(self, keep: Hashable) -> None:
        if self._budget is None:
            self._budget = int(0.7 * _total_memory(self.device))
        while sum(size for _, size in self._held.values()) > self._budget and len(self._held) > 1:
            oldest = next(k for k in self._held if k != keep)
            del self._held[oldest]


def _total_memory(device: str) -> int:
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory)
    import psutil

    return int(psutil.virtual_memory().total)
