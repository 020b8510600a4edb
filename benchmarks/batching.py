"""Jobs whose model calls share batches beside the same jobs one at a time: jobs a second, memory."""

import argparse
import asyncio
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from machine import described, table
from random_models import MODELS, write_folder

from engine import events
from engine.cache import Tiers
from engine.config import make_env, read_settings
from engine.groups import LADDER
from engine.node import node
from engine.ports import Env
from engine.registry import installed
from engine.runner import Engine, Run
from engine.trail import ALONE, Pinned
from engine.workflow import Workflow, from_json
from nodes.ports import Image

THINGS = ("house", "castle", "boat", "tree", "sun", "moon", "mill", "bridge")
COLORS = ("red", "blue", "green", "yellow")
VARIED = ("2", "5", "6")
"""The nodes that call models for each job: its prompt, its sampling, its picture."""

clock = {"wall": time.perf_counter, "cpu": time.process_time}[os.environ.get("CLOCK", "wall")]
"""`CLOCK=cpu` counts processor time of all threads, for a busy machine; on a CPU only."""


@node("TakeImage", category="benchmark", is_output=True)
def take_image(*, images: Image) -> Image:
    """Take a picture and write nothing: files are not what is measured."""
    return images


def workflow(number: int, loader: tuple[str, dict[str, Any]], steps: int, size: int) -> Workflow:
    """A job with a prompt and a seed of its own."""
    prompt = f"a {COLORS[number % 4]} {THINGS[number // 4 % 8]} on the left, a green meadow, hills {number}"
    made = {
        "1": loader,
        "2": ("CLIPTextEncode", {"text": prompt, "clip": ["1", 1]}),
        "3": ("CLIPTextEncode", {"text": "", "clip": ["1", 1]}),
        "4": ("EmptyLatentImage", {"width": size, "height": size, "batch_size": 1}),
        "5": (
            "KSampler",
            {
                **{"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0]},
                **{"seed": number, "steps": steps, "cfg": 4.5, "denoise": 1.0},
                **{"sampler_name": "dpmpp_2m", "scheduler": "karras"},
            },
        ),
        "6": ("VAEDecode", {"samples": ["5", 0], "vae": ["1", 2]}),
        "7": ("TakeImage", {"images": ["6", 0]}),
    }
    return from_json({id: {"class_type": c, "inputs": i} for id, (c, i) in made.items()})


def pinned(jobs: int, limit: int) -> Pinned:
    """The rungs that a batch of so many jobs gets: see `engine.batch.planning`."""
    rung = max(r for r in LADDER if r <= min(jobs, limit))
    return Pinned(dict.fromkeys(VARIED, 1 if limit == 1 else rung if rung > 1 else ALONE), ALONE)


class Taken:
    """Runs jobs, so many at once; what it took."""

    def __init__(
        self, engine: Engine, flows: Sequence[Workflow], at_once: int, env: Env | None = None
    ) -> None:
        self.batches = 0
        self._engine, self._flows, self._env = engine, flows, env
        self._places = asyncio.Semaphore(at_once)
        started = clock()
        runs = asyncio.run(self._all())
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds = clock() - started
        assert all(run.status == "success" for run in runs), runs

    async def _all(self) -> list[Run]:
        return await asyncio.gather(*(self._one(i, flow) for i, flow in enumerate(self._flows)))

    async def _one(self, number: int, flow: Workflow) -> Run:
        async with self._places:
            plan = self._engine.plan(flow, env=self._env)
            return await self._engine.finish(
                self._engine.start(plan, partial(self._told, number), env=self._env)
            )

    def _told(self, number: int, event: events.Event) -> None:
        """Each running job hears of every batch: the one with the lowest number counts."""
        if number == 0 and isinstance(event, events.ModelBatch):
            self.batches += 1


def memory(fresh: bool = False) -> int:
    """Most bytes in use since the last fresh start: on the GPU, else resident."""
    if torch.cuda.is_available():
        if fresh:
            torch.cuda.reset_peak_memory_stats()
        return int(torch.cuda.max_memory_allocated())
    if fresh:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def by_number(engine: Engine, flow: Callable[[int], Workflow], chosen: argparse.Namespace) -> None:
    """So many jobs one at a time, together at the rungs of a batch, and together at any rung, in turn."""
    rows = []
    for k in chosen.jobs:
        found: dict[str, list[float]] = {"alone": [], "pinned": [], "free": []}
        told: dict[str, tuple[int, int]] = {}
        for repeat in range(chosen.repeats):
            flows = [flow(10_000 * repeat + 100 * k + i) for i in range(k)]
            ways: Mapping[str, tuple[int, Env | None]] = {
                "alone": (1, None),
                "pinned": (k, engine.env.with_(pinned(k, chosen.rung))),
                "free": (k, None),
            }
            for name, (at_once, env) in ways.items():
                memory(fresh=True)
                taken = Taken(engine, flows, at_once, env)
                found[name].append(taken.seconds)
                told[name] = taken.batches, memory()
        speed = [f"{k / statistics.median(found[name]):.2f}" for name in found]
        ratios = [
            f"{statistics.median(a / b for a, b in zip(found['alone'], found[name], strict=True)):.2f}"
            for name in ("pinned", "free")
        ]
        batches = [str(told[name][0]) for name in ("pinned", "free")]
        peaks = [f"{told[name][1] / 2**20:.0f}" for name in ("alone", "pinned")]
        rows.append([str(k), *speed, *ratios, *batches, *peaks])
    head = [
        "jobs",
        "one at a time, jobs/s",
        f"together, rung ≤ {chosen.rung}",
        "any rung",
        "ratio",
        "ratio, any",
    ]
    print(table([*head, "model batches", "any", "peak MB one at a time", "together"], rows))


def by_places(engine: Engine, flow: Callable[[int], Workflow], chosen: argparse.Namespace) -> None:
    """A batch of jobs at every limit of rungs, so many jobs at once; jobs a second beside one at a time."""
    flows = [flow(1_000_000 + i) for i in range(chosen.batch)]
    rows = []
    for limit in chosen.limits:
        env = engine.env.with_(pinned(len(flows), limit))
        cells = []
        for at_once in chosen.places:
            base = Taken(engine, flows, 1).seconds
            cells.append(f"{base / Taken(engine, flows, at_once, env).seconds:.2f}")
        rows.append([str(limit), *cells])
    print(f"\n{len(flows)} jobs; speed over one at a time at any rung, measured before each cell")
    print(table(["rung ≤", *(f"{at_once} at once" for at_once in chosen.places)], rows))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="storybook", help="a checkpoint, or one of " + ", ".join(MODELS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--jobs", type=int, nargs="*", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--rung", type=int, default=8, help="the largest rung of a batch")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32, help="jobs of the second table")
    parser.add_argument("--places", type=int, nargs="*", default=[2, 4, 8, 12, 16, 32])
    parser.add_argument("--limits", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--base", type=Path, help="holds models/; default: a temporary folder")
    chosen = parser.parse_args()
    print(described("torch"))
    print(
        f"{chosen.model} on {chosen.device}, {chosen.steps} steps, {chosen.size} px, "
        f"{torch.get_num_threads()} torch threads, medians of {chosen.repeats}, "
        f"clock: {os.environ.get('CLOCK', 'wall')}\n"
    )
    with tempfile.TemporaryDirectory() as temporary:
        base = chosen.base or Path(temporary)
        loader: tuple[str, dict[str, Any]] = ("CheckpointLoaderSimple", {"ckpt_name": chosen.model})
        if chosen.model in MODELS:
            write_folder(base / "models" / "diffusers" / chosen.model, MODELS[chosen.model])
            loader = ("DiffusersLoader", {"model_path": chosen.model})
        registry, none = installed().with_nodes(take_image), Tiers(())
        settings = read_settings(base_directory=base, cache="off", device=chosen.device)
        with Engine(registry, make_env(settings, registry, none), none) as engine:
            flow = partial(workflow, loader=loader, steps=chosen.steps, size=chosen.size)
            for rows in {1, *chosen.limits, chosen.rung}:  # kernels are chosen and memory is taken now
                Taken(engine, [flow(2_000_000 + i) for i in range(rows)], rows)
            by_number(engine, flow, chosen)
            if chosen.places:
                by_places(engine, flow, chosen)
    print(f"load at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
