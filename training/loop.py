"""The training loop: a time budget, averaged weights, and checkpoints which survive kill -9.

A checkpoint is written whole or not at all and holds all that a run needs to go on: weights, averages,
optimizer, step, time spent, and each process's random state, from which every choice of a step comes.
"""

import argparse
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.optim.swa_utils import AveragedModel

from training import parallel

Loss = Callable[[int, float], Tensor]
"""The loss of a step, given its number and the share of the time that is spent."""


def options(description: str | None, minutes: float, lr: float) -> argparse.ArgumentParser:
    """A command line with what every trainer takes."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="picture sets, checkpoints")
    parser.add_argument("--model", type=Path, default=Path("model"), help="the pipeline folder")
    parser.add_argument("--minutes", type=float, default=minutes)
    parser.add_argument("--lr", type=float, default=lr)
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --data")
    return parser


def averaged(module: nn.Module, decay: float) -> AveragedModel:
    """A copy whose weights follow by an exponential average, at first more quickly."""

    def follow(mean: Tensor, new: Tensor, n: Tensor | int) -> Tensor:
        return mean + (new - mean) * (1 - min(decay, (1 + int(n)) / (10 + int(n))))

    return AveragedModel(module, avg_fn=follow)


def dice() -> random.Random:
    """A source of choices which the checkpointed random state determines."""
    return random.Random(int(torch.randint(2**62, ()).item()))


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; called by every process, written by the first."""
    random_states: list[Any] = [torch.get_rng_state()]
    if distributed.is_initialized():
        random_states = [None] * distributed.get_world_size()
        distributed.all_gather_object(random_states, torch.get_rng_state())
        if distributed.get_rank() > 0:
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".partial")
    with temporary.open("wb") as file:
        torch.save(state | {"random": random_states}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


class Run:
    """One training run of a model, averaged or not.

    Args:
        name: Of the checkpoint.
        model: What is trained, as far as its parameters ask for gradients.
        args: The command line made by `options`.
        average: The averaged copy and the module it follows.
    """

    def __init__(
        self,
        name: str,
        model: nn.Module,
        args: argparse.Namespace,
        average: tuple[AveragedModel, nn.Module] | None = None,
    ) -> None:
        self.rank, self.args, self.average = parallel.rank(), args, average
        self.path = args.data / f"{name}.checkpoint"
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=args.lr, betas=(0.9, 0.99), weight_decay=0.01)
        self.parts: dict[str, Any] = {"model": model, "optimizer": self.optimizer}
        if average:
            self.parts["average"] = average[0]
        self.step, self.running, spent = 0, 0.0, 0.0
        torch.manual_seed(self.rank)
        if args.resume:
            state = torch.load(self.path, weights_only=True)
            for key, part in self.parts.items():
                part.load_state_dict(state[key])
            self.step, spent = state["step"], state["spent"]
            torch.set_rng_state(state["random"][self.rank % len(state["random"])])
        self.clock, self.saved = parallel.Clock(args.minutes, spent), spent

    def fit(self, loss: Loss, write: Callable[[], None], report: int = 50) -> None:
        """Train until the time is spent; the first process writes with every checkpoint and at the end."""
        while self.args.minutes and (done := self.clock.done()) < 1:
            self.take_step(loss(self.step, done), done)
            if self.rank == 0 and self.step % report == 0:
                print(f"{self.clock.seconds():5.0f}s step {self.step} loss {self.running:.4f}", flush=True)
            if done * self.clock.budget > self.saved + 120:
                self.saved = done * self.clock.budget
                state = {key: part.state_dict() for key, part in self.parts.items()}
                save(self.path, state | {"step": self.step, "spent": self.clock.seconds()})
                if self.rank == 0:
                    write()
        if self.rank == 0:
            write()
            print(f"{self.step} steps in {parallel.world()} processes, loss {self.running:.4f}")

    def take_step(self, loss: Tensor, done: float) -> None:
        """One step of the optimizer, with the mean gradient of all processes."""
        self.optimizer.param_groups[0]["lr"] = parallel.learning_rate(self.args.lr, self.step, done)
        self.optimizer.zero_grad()
        loss.backward()
        parallel.average_gradients(self.trained)
        nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        if self.average:
            self.average[0].update_parameters(self.average[1])
        self.step += 1
        self.running += (float(loss.detach()) - self.running) * max(0.02, 1 / self.step)
