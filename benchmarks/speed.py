"""Our sampling loop beside diffusers' pipeline and the bare UNet call, on the same random weights."""

import argparse
import asyncio
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from machine import described, table
from random_models import MODELS, embeddings, piped, pipeline, write_folder
from torch import Tensor, nn

from engine import events
from engine.cache import Tiers
from engine.config import make_env, read_settings
from engine.devices import Devices
from engine.files import Files
from engine.node import node
from engine.registry import installed
from engine.runner import Engine
from engine.workflow import Workflow, from_json
from nodes.diffusion import families
from nodes.ports import Latent

CFG = 5.0
ALONE = "UNet call alone"
clock = {"wall": time.perf_counter, "cpu": time.process_time}[os.environ.get("CLOCK", "wall")]
"""`CLOCK=cpu` counts processor time of all threads, for a busy machine; of the steps on a CPU only."""


@node("TakeLatent", category="benchmark", is_output=True)
def take_latent(*, samples: Latent) -> Latent:
    """Take a latent and write nothing."""
    return samples


def workflow(name: str, seed: int, steps: int, size: int, decode: bool = False) -> Workflow:
    made: dict[str, tuple[str, dict[str, Any]]] = {
        "1": ("DiffusersLoader", {"model_path": name}),
        "2": ("CLIPTextEncode", {"text": "a red fox in the snow", "clip": ["1", 1]}),
        "3": ("CLIPTextEncode", {"text": "", "clip": ["1", 1]}),
        "4": ("EmptyLatentImage", {"width": size, "height": size, "batch_size": 1}),
        "5": (
            "KSampler",
            {
                **{"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0]},
                **{"seed": seed, "steps": steps, "cfg": CFG, "denoise": 1.0},
                **{"sampler_name": "euler", "scheduler": "normal"},
            },
        ),
        "6": ("TakeLatent", {"samples": ["5", 0]}),
    }
    if decode:
        made["7"] = ("VAEDecode", {"samples": ["5", 0], "vae": ["1", 2]})
        made["8"] = ("PreviewImage", {"images": ["7", 0]})
    return from_json({id: {"class_type": c, "inputs": i} for id, (c, i) in made.items()})


def engine_on(base: Path, device: str) -> Engine:
    registry, none = installed().with_nodes(take_latent), Tiers(())
    settings = read_settings(base_directory=base, cache="off", device=device)
    return Engine(registry, make_env(settings, registry, none), none)


def our_unet(engine: Engine, name: str) -> nn.Module:
    """The network that the engine itself runs."""
    files, devices = engine.env[Files], engine.env[Devices]
    found = families.checkpoint(files.find("diffusers", name), files.digest("diffusers", name), devices)
    return found.model.recipe.module(devices)


@dataclass
class Watch:
    """When calls of a network began and ended."""

    began: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    inputs: tuple[Any, Any] = ((), {})

    @classmethod
    def on(cls, unet: nn.Module) -> "Watch":
        watch = cls()

        def before(_: nn.Module, args: Any, more: Any) -> None:
            watch.inputs = (args, more)
            watch.began.append(clock())

        unet.register_forward_pre_hook(before, with_kwargs=True)
        unet.register_forward_hook(lambda *_: watch.ended.append(clock()))
        return watch

    def taken(self) -> tuple[float, float]:
        """Median seconds of a call, and of the time between two calls, since the last look."""
        calls = [b - a for a, b in zip(self.began, self.ended, strict=True)]
        between = [b - a for a, b in zip(self.ended, self.began[1:], strict=False)]
        self.began.clear()
        self.ended.clear()
        return statistics.median(calls), statistics.median(between)


def compared(base: Path, name: str, size: int, steps: int, repeats: int) -> None:
    """Seconds a step, in turns, so that what else runs here slows all; on a CPU, where calls are awaited."""
    shape = MODELS[name]
    with engine_on(base, "cpu") as engine, torch.inference_mode():
        ours = Watch.on(unet := our_unet(engine, name))
        pipe = pipeline(base / "models" / "diffusers" / name, shape, "cpu")
        theirs, given = Watch.on(pipe.unet), embeddings(pipe, shape)
        rows: dict[str, list[tuple[float, float]]] = {"latentgraph": [], "diffusers": [], ALONE: []}
        for seed in range(repeats + 1):
            run = engine.run(engine.plan(workflow(name, seed, steps, size)))
            assert run.status == "success", run.failures
            rows["latentgraph"].append(ours.taken())
            piped(pipe, given, CFG, size, steps, seed)
            rows["diffusers"].append(theirs.taken())
            args, more = ours.inputs
            for _ in range(steps):
                unet(*args, **more)
            rows[ALONE].append(ours.taken())
    told = [[who, *told_of(found[1:])] for who, found in rows.items()]  # the first run warms up
    print(
        table([f"{name}, {size} px, cfg {CFG}", "ms a call", "ms between calls", "between / call, %"], told)
    )
    ratios = {
        who: statistics.median(sum(a) / sum(b) for a, b in zip(found[1:], rows[ALONE][1:], strict=True))
        for who, found in rows.items()
    }
    print(
        f"a step / the call alone, median of {repeats} pairs: ours {ratios['latentgraph']:.3f}, "
        f"diffusers' {ratios['diffusers']:.3f} (aim: ours at most 2 % between calls)\n"
    )


def told_of(found: Sequence[tuple[float, float]]) -> list[str]:
    calls, between = zip(*found, strict=True)
    return [ms(calls), ms(between), f"{100 * statistics.median(b / c for c, b in found):.2f}"]


def ms(values: Sequence[float]) -> str:
    return f"{1000 * statistics.median(values):.2f}"


def alone(who: str, base: Path, name: str, size: int, steps: int, device: str) -> None:
    """The child process of `memory`: prompt to picture once, then its peak in MB."""
    if who == "ours":
        with engine_on(base, device) as engine:
            run = engine.run(engine.plan(workflow(name, 1, steps, size, decode=True)))
            assert run.status == "success", run.failures
    else:
        pipe = pipeline(base / "models" / "diffusers" / name, MODELS[name], device)
        with torch.inference_mode():
            piped(pipe, embeddings(pipe, MODELS[name]), CFG, size, steps, 1, "pt")
    peak = torch.cuda.max_memory_allocated() if device.startswith("cuda") else None
    print(peak or most_resident())


def most_resident() -> int:
    """Bytes; not getrusage's figure, which a new process inherits from the one that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def memory(base: Path, name: str, size: int, steps: int, device: str) -> None:
    """Peak memory of one run, each in a process of its own."""
    peaks = {}
    for who in ("ours", "theirs"):
        command = [sys.executable, __file__, "--child", who, "--base", str(base), "--models", name]
        command += ["--size", str(size), "--steps", str(steps), "--device", device]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks[who] = int(done.stdout.splitlines()[-1]) / 2**20
    rows = [["latentgraph", f"{peaks['ours']:.0f}"], ["diffusers", f"{peaks['theirs']:.0f}"]]
    print(table([f"{name}, {size} px, {device}", "peak MB"], rows))
    print(f"ours / diffusers' {peaks['ours'] / peaks['theirs']:.3f} (aim: at most 1)\n")


def ceiling(unet: nn.Module, inputs: tuple[Any, Any], device: str) -> float:
    """Rows a second of the UNet call alone, in the best batch."""
    args, more = inputs
    best = 0.0
    for rows in (2, 4, 8, 16, 32, 64):

        def widened(value: Any, rows: int = rows) -> Any:
            several = isinstance(value, Tensor) and value.ndim > 0 and len(value) > 1
            return value[:1].expand(rows, *value.shape[1:]).contiguous() if several else value

        call = partial(unet, *map(widened, args), **{k: widened(v) for k, v in more.items()})
        with torch.inference_mode():
            call()
            best = max(best, rows * 8 / seconds(lambda call=call: [call() for _ in range(8)], device))
    return best


def seconds(run: Callable[[], Any], device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - started


def throughput(base: Path, name: str, size: int, steps: int, device: str, jobs: Sequence[int]) -> None:
    """Steps a second of k jobs, batched across jobs and one by one, beside the most that the device gives."""
    with engine_on(base, device) as engine:
        watch = Watch.on(unet := our_unet(engine, name))
        engine.run(engine.plan(workflow(name, 0, 2, size)))
        most = ceiling(unet, watch.inputs, device) / 2  # a step is a row with and a row without the prompt
        rows = []
        for k in jobs:
            flows = [workflow(name, 1000 * k + i, steps, size) for i in range(k)]
            off = k * steps / timed(engine, [[flow] for flow in flows])
            on = k * steps / timed(engine, [flows])
            rows.append([str(k), f"{off:.2f}", f"{off / most:.2f}", f"{on:.2f}", f"{on / most:.2f}"])
    print(
        f"{name}, {size} px, {device}: the UNet call alone gives {most:.2f} steps a second in its best batch"
    )
    print(table(["jobs", "one by one it/s", "of the most", "batched it/s", "of the most"], rows), "\n")


def timed(engine: Engine, groups: Sequence[Sequence[Workflow]]) -> float:
    """Seconds from the first sampler's start to the last one's end, over groups of jobs run together."""
    total = 0.0
    for flows in groups:
        times: list[float] = []

        def listen(event: events.Event, times: list[float] = times) -> None:
            if isinstance(event, events.NodeProgress | events.NodeStarted | events.NodeFinished):
                kind = getattr(event, "class_type", "KSampler")
                if kind == "KSampler":
                    times.append(time.perf_counter())

        async def together(flows: Sequence[Workflow] = flows, listen: Any = listen) -> list[Any]:
            return await asyncio.gather(*(engine.finish(engine.start(engine.plan(w), listen)) for w in flows))

        assert all(run.status == "success" for run in asyncio.run(together()))
        total += max(times) - min(times)
    return total


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=["sd15_narrow"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, help="pixels; default: the model's own")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument(
        "--base", type=Path, help="where the random models lie or will lie; default: a temporary folder"
    )
    parser.add_argument("--child", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    cpu = not chosen.device.startswith("cuda")
    if chosen.child:
        alone(chosen.child, chosen.base, chosen.models[0], chosen.size, chosen.steps, chosen.device)
        return
    print(described("torch", "diffusers"))
    kind = os.environ.get("CLOCK", "wall")
    print(f"{torch.get_num_threads()} torch threads, {chosen.steps} steps, clock: {kind}\n")
    with tempfile.TemporaryDirectory() as temporary:
        base = chosen.base or Path(temporary)
        for name in chosen.models:
            write_folder(base / "models" / "diffusers" / name, MODELS[name])
            size = chosen.size or (MODELS[name].cpu_size if cpu else MODELS[name].size)
            if cpu:
                compared(base, name, size, chosen.steps, chosen.repeats)
            else:
                throughput(base, name, size, chosen.steps, chosen.device, chosen.jobs)
            gc.collect()
            memory(base, name, size, chosen.steps, chosen.device)
    print(f"load at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
