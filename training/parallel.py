"""Data parallelism over ``torchrun`` processes with one thread each, and a clock which they share.

On a CPU shared with other work this is several times faster than one process with many threads, whose
threads keep waiting for the one which was descheduled. Without torchrun everything here is a no-op.
"""

import os
import time
from collections.abc import Iterable

import torch
from torch import Tensor, distributed


def join_group() -> None:
    """Join the group of processes if there is one."""
    torch.set_num_threads(1)
    if "RANK" in os.environ:
        distributed.init_process_group("gloo")


def rank() -> int:
    """This process's number."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace every gradient by its mean over the processes."""
    if not distributed.is_initialized():
        return
    grads = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in grads])
    distributed.all_reduce(flat)
    flat /= world()
    for g, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
        g.copy_(part.view_as(g))


class Clock:
    """The share of a time budget that is spent, the same number in every process."""

    def __init__(self, minutes: float, spent: float = 0.0) -> None:
        self.start, self.budget = time.monotonic() - spent, minutes * 60

    def seconds(self) -> float:
        """Seconds of training so far, those before a resume included."""
        return time.monotonic() - self.start

    def done(self) -> float:
        """The share of the budget that is spent."""
        value = torch.tensor(self.seconds() / self.budget)
        if distributed.is_initialized():
            distributed.broadcast(value, 0)
        return float(value)


def learning_rate(peak: float, step: int, done: float, warm_up: int = 40) -> float:
    """Linear warm-up, then a fall to 2 % of the peak as 1 - done^2."""
    return peak * min(1.0, (step + 1) / warm_up) * max(0.02, 1 - done**2)
