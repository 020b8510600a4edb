"""Our sampling loop beside diffusers' own pipeline, same weights; and jobs batched beside one at a time."""

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from machine import described, table

from engine import events
from engine.cache import Tiers
from engine.config import make_env, read_settings
from engine.node import node
from engine.registry import Registry, installed
from engine.runner import Engine
from engine.workflow import Workflow, from_json
from nodes.ports import Image

STORYBOOK = Path(__file__).parents[1] / "nodes" / "storybook"
PROMPT = "a red house on the left, a green meadow, hills, dawn, clouds"
CFG = 4.5


@node("TakeImage", category="benchmark", is_output=True)
def take_image(*, images: Image) -> Image:
    """Take a picture and write nothing, as the pipeline does."""
    return images


def workflow(seed: int, steps: int, size: int) -> Workflow:
    made = {
        "1": ("CheckpointLoaderSimple", {"ckpt_name": "storybook"}),
        "2": ("CLIPTextEncode", {"text": PROMPT, "clip": ["1", 1]}),
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
        "6": ("VAEDecode", {"samples": ["5", 0], "vae": ["1", 2]}),
        "7": ("TakeImage", {"images": ["6", 0]}),
    }
    return from_json({id: {"class_type": c, "inputs": i} for id, (c, i) in made.items()})


def pipeline(steps: int, size: int) -> Callable[[int], Any]:
    """The peer: diffusers' StableDiffusionPipeline with its Euler scheduler, as a function of the seed."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(STORYBOOK, local_files_only=True, safety_checker=None)
    pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    pipe.to("cuda" if torch.cuda.is_available() else "cpu")

    def run(seed: int) -> Any:
        return pipe(
            PROMPT,
            num_inference_steps=steps,
            guidance_scale=CFG,
            height=size,
            width=size,
            generator=torch.Generator().manual_seed(seed),
            output_type="pt",
        ).images

    return run


async def together(engine: Engine, flows: Iterable[Workflow], listen: Callable[[events.Event], None]) -> None:
    runs = await asyncio.gather(*(engine.finish(engine.start(engine.plan(w), listen)) for w in flows))
    assert all(r.status == "success" for r in runs), runs


def one_by_one(engine: Engine, flows: Iterable[Workflow]) -> None:
    runs = [engine.run(engine.plan(w)) for w in flows]
    assert all(r.status == "success" for r in runs), runs


def seconds(fn: Callable[[], Any]) -> float:
    started = time.perf_counter()
    fn()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2, 4, 8])
    chosen = parser.parse_args()
    print(described("torch", "diffusers"))
    print(f"{chosen.steps} steps, {chosen.size} px, cfg {CFG}, {torch.get_num_threads()} torch threads")
    registry: Registry = installed().with_nodes(take_image)
    settings = read_settings(cache="off")
    none = Tiers(())
    with Engine(registry, make_env(settings, registry, none), none) as engine:
        compared(engine, chosen)
        batched(engine, chosen)
    print(f"load at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def compared(engine: Engine, chosen: argparse.Namespace) -> None:
    """Prompt to picture, taking turns, so that what else runs here slows both."""
    theirs = pipeline(chosen.steps, chosen.size)
    ours_s, theirs_s = [], []
    for seed in range(chosen.repeats + 1):
        flow = workflow(seed, chosen.steps, chosen.size)
        theirs_s.append(seconds(partial(theirs, seed)))
        ours_s.append(seconds(partial(one_by_one, engine, [flow])))
    a, b = ours_s[1:], theirs_s[1:]  # the first loads and warms up
    rows = [
        [name, f"{statistics.median(v):.2f}", f"{min(v):.2f}"]
        for name, v in (("latentgraph", a), ("diffusers", b))
    ]
    print(table(["prompt to picture", "median s", "best s"], rows))
    pairs = statistics.median(x / y for x, y in zip(a, b, strict=True))
    print(f"ours / diffusers: median of pairs {pairs:.2f}, of the best {min(a) / min(b):.2f}")


def batched(engine: Engine, chosen: argparse.Namespace) -> None:
    """So many jobs at once beside the same jobs one after the other, in turn."""
    rows = []
    for k in chosen.jobs:
        flows = [workflow(1000 * k + i, chosen.steps, chosen.size) for i in range(k)]
        calls: list[events.ModelBatch] = []

        def listen(event: events.Event, calls: list[events.ModelBatch] = calls) -> None:
            if isinstance(event, events.ModelBatch) and event.target == "Model":
                calls.append(event)

        alone_s = seconds(partial(one_by_one, engine, flows))
        together_s = seconds(lambda flows=flows, listen=listen: asyncio.run(together(engine, flows, listen)))
        told = len(calls) // k  # each job hears of every batch
        rows.append([str(k), f"{alone_s:.2f}", f"{together_s:.2f}", f"{alone_s / together_s:.2f}", str(told)])
    print(table(["jobs", "one by one s", "together s", "throughput ×", "model batches"], rows))


if __name__ == "__main__":
    main()
