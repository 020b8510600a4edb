"""Device memory: which device computes and in which types, and what stays loaded within a budget of bytes."""

import ctypes
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

T = TypeVar("T")
Precision = Literal["auto", "fp32", "fp16", "bf16"]


def computing() -> AbstractContextManager[Any]:
    """The context in which nodes run: no gradients, where torch is loaded at all."""
    torch = sys.modules.get("torch")
    return torch.inference_mode() if torch else nullcontext()


@dataclass(eq=False)
class _Held:
    value: Any
    nbytes: int
    move: Callable[[Any, str], None] | None


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was not enough, on the host or on a device."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def give_back() -> None:
    """Return freed memory of the host to the system, which the C library keeps; nothing where it cannot."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class Devices:
    """Keeps loaded models, least recently used out first: from the device to the host, and from there away.

    Args:
        device: Where models compute: "cpu", "cuda", "cuda:1"; None picks a GPU when there is one.
        budget: Bytes that held objects may take together on the device; None takes 70 % of its memory.
        host_budget: Bytes that they may take on the host when the device has no room; None takes 40 % of its
            memory. Where models compute on the CPU, there is no second place.
        precision: The type that networks compute in; "auto" halves on a GPU what is safe in half.
    """

    def __init__(
        self,
        device: str | None = None,
        budget: int | None = None,
        *,
        host_budget: int | None = None,
        precision: Precision = "auto",
    ) -> None:
        self._device, self._budget, self._host_budget = device, budget, host_budget
        self.precision = precision
        self._held: OrderedDict[Hashable, _Held] = OrderedDict()
        self._away: OrderedDict[Hashable, _Held] = OrderedDict()
        self._lock = threading.RLock()

    @property
    def device(self) -> str:
        """The device's name as torch spells it."""
        if self._device is None:
            import torch  # the one place that asks; importing the engine must not load torch

            self._device = "cuda" if torch.cuda.is_available() else "cpu"
        return self._device

    def held(
        self,
        key: Hashable,
        build: Callable[[], T],
        nbytes: Callable[[T], int],
        move: Callable[[T, str], None] | None = None,
    ) -> T:
        """What `key` names, built at its first use and kept until memory is wanted for something else.

        Args:
            move: Brings it to a device in place; with it, what has no room waits on the host.
        """
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            elif key in self._away:
                self._held[key] = found = self._away.pop(key)
                self._trim(keep=key)
                _moved(found, self.device)
            else:
                value = build()
                self._held[key] = _Held(value, nbytes(value), move)
                self._trim(keep=key)
            kept: T = self._held[key].value
            return kept

    def nbytes(self) -> tuple[int, int]:
        """The bytes of what is held on the device, and of what waits on the host."""
        with self._lock:
            return _sum(self._held), _sum(self._away)

    def free(self) -> int:
        """Clear the device of everything held; returns the bytes that it took there.

        On a GPU, what can wait on the host goes there; on a CPU everything is let go.
        """
        with self._lock:
            freed = _sum(self._held)
            while self._held:
                self._evict(next(iter(self._held)))
        torch = sys.modules.get("torch")
        if torch and torch.cuda.is_available():
            torch.cuda.empty_cache()
        return freed

    def attention(self) -> str:
        """The kernels that attention may run through, best first."""
        if not self.device.startswith("cuda"):
            return "sdpa (cpu)"
        import torch

        asked: Any = torch.backends.cuda
        names = {"flash": "flash", "cudnn": "cudnn", "efficient": "mem_efficient", "math": "math"}
        there = [name for name, kernel in names.items() if getattr(asked, f"{kernel}_sdp_enabled")()]
        return f"sdpa ({', '.join(there)})"

    def _trim(self, keep: Hashable) -> None:
        if self._budget is None:
            self._budget = int(0.7 * _total_memory(self.device))
        while _sum(self._held) > self._budget and len(self._held) > 1:
            self._evict(next(k for k in self._held if k != keep))

    def _evict(self, key: Hashable) -> None:
        """From the device to the host, where it can wait there."""
        found = self._held.pop(key)
        if found.move is None or self.device == "cpu":
            return
        _moved(found, "cpu")
        self._away[key] = found
        if self._host_budget is None:
            self._host_budget = int(0.4 * _total_memory("cpu"))
        while _sum(self._away) > self._host_budget:
            self._away.popitem(last=False)


def _moved(found: _Held, device: str) -> None:
    if found.move is not None:
        found.move(found.value, device)


def _sum(held: OrderedDict[Hashable, _Held]) -> int:
    return sum(found.nbytes for found in held.values())


def _total_memory(device: str) -> int:
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory)
    import psutil

    return int(psutil.virtual_memory().total)
