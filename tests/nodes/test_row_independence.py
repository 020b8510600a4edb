"""At a fixed rung a job's results are the same to the bit, whatever shares its batches and when it runs."""

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from storybook import files_under  # type: ignore[import-not-found]

from engine.cache import Tiers
from engine.devices import Devices
from engine.events import Event, ModelBatch, NodeProgress
from engine.job import Job
from engine.ports import Env
from engine.registry import installed
from engine.runner import Engine, Run
from engine.trail import Pinned
from engine.workflow import from_json

pytestmark = pytest.mark.slow
RUNG = 4
LONG = "a red house on the left, a green meadow, hills, dawn, clouds, " * 9
"""More tokens than one window of the text encoder holds."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine without a cache, so that every job computes all that no other job has under way."""
    files = files_under(tmp_path_factory.mktemp("rows"))
    with Engine(installed(), Env(files, Devices("cpu")), Tiers(())) as engine:
        yield engine


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def sampled(
    seed: int,
    *,
    text: str = "a blue castle",
    no: str = "",
    steps: int = 3,
    cfg: float = 4.5,
    sampler: str = "euler",
    scheduler: str = "normal",
    denoise: float = 1.0,
    batch: int = 1,
    size: int = 64,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Prompt to picture; `more` are nodes in place of these or beside them."""
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name="storybook"),
        "2": node("CLIPTextEncode", text=text, clip=["1", 1]),
        "3": node("CLIPTextEncode", text=no or f"no {seed}", clip=["1", 1]),
        "4": node("EmptyLatentImage", width=size, height=size, batch_size=batch),
        "5": node(
            "KSampler", model=["1", 0], positive=["2", 0], negative=["3", 0], latent_image=["4", 0],
            seed=seed, steps=steps, cfg=cfg, sampler_name=sampler, scheduler=scheduler, denoise=denoise,
        ),
        "6": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
        "7": node("PreviewImage", images=["6", 0]),
        **(more or {}),
    }  # fmt: skip


def controlled(seed: int, strength: float) -> dict[str, Any]:
    """A picture drawn after the edges of another; the control network's rows are batched too."""
    drawn = sampled(seed, text=f"a castle {seed}")
    drawn["5"]["inputs"] |= {"positive": ["c", 0], "negative": ["c", 1]}
    return drawn | {
        "p": node("LoadImage", image="castle.png"),
        "s": node("ImageScale", image=["p", 0], upscale_method="area", width=64, height=64, crop="center"),
        "e": node("Canny", image=["s", 0], low_threshold=0.1, high_threshold=0.25),
        "n": node("ControlNetLoader", control_net_name="storybook_canny"),
        "c": node(
            "ControlNetApplyAdvanced", positive=["2", 0], negative=["3", 0], control_net=["n", 0],
            image=["e", 0], strength=strength, start_percent=0.0, end_percent=1.0,
        ),
    }  # fmt: skip


def redrawn(seed: int, image: str, denoise: float) -> dict[str, Any]:
    """A picture encoded, noised and drawn anew; and the same enlarged by a network."""
    return sampled(seed, denoise=denoise, steps=6) | {
        "p": node("LoadImage", image=image),
        "s": node("ImageScale", image=["p", 0], upscale_method="area", width=64, height=64, crop="center"),
        "4": node("VAEEncode", pixels=["s", 0], vae=["1", 2]),
        "u": node("UpscaleModelLoader", model_name="storybook_x2.safetensors"),
        "8": node("ImageUpscaleWithModel", upscale_model=["u", 0], image=["s", 0]),
        "9": node("PreviewImage", images=["8", 0]),
    }


JOBS = (
    sampled(1),
    sampled(2, text=LONG, steps=5, cfg=7.0, sampler="dpmpp_2m", scheduler="karras"),
    sampled(3, text="", steps=4, cfg=1.0, sampler="euler_ancestral"),
    sampled(4, text="a boat", no=LONG, steps=2, cfg=2.5, sampler="heun", batch=3),
    controlled(5, 1.0),
    controlled(6, 0.4),
    redrawn(7, "house.png", 0.7),
    redrawn(8, "castle.png", 0.4),
    sampled(9, size=128),
)


class Stage:
    """Runs jobs with every row of every model call at one rung."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.env = engine, engine.env.with_(Pinned(otherwise=RUNG))
        self.batches: list[ModelBatch] = []

    def start(
        self, graph: Mapping[str, Any], listen: Callable[[Event], None] | None = None, priority: int = 0
    ) -> Job:
        plan = self.engine.plan(from_json(dict(graph)), env=self.env)
        return self.engine.start(plan, listen or self._told, env=self.env, priority=priority)

    def _told(self, event: Event) -> None:
        if isinstance(event, ModelBatch):
            self.batches.append(event)

    async def finish(self, job: Job) -> Run:
        run = await asyncio.wait_for(self.engine.finish(job), 120)
        assert run.status == "success", run.failures
        assert set(run.record().rungs.values()) == {RUNG}
        return run

    def alone(self, graph: Mapping[str, Any]) -> Mapping[str, str]:
        """The digests of all results of a job that nothing shares a batch with, by node."""
        return asyncio.run(self.finish(self.start(graph))).record().results

    async def together(self, graphs: list[Mapping[str, Any]]) -> list[Mapping[str, str]]:
        """The same for jobs that run together."""
        runs = await asyncio.gather(*(self.finish(self.start(graph)) for graph in graphs))
        return [run.record().results for run in runs]


@pytest.fixture(scope="module")
def alone(engine: Engine) -> list[Mapping[str, str]]:
    stage = Stage(engine)
    found = [stage.alone(graph) for graph in JOBS]
    assert all(batch.jobs == 1 for batch in stage.batches)
    assert len({results["6"] for results in found}) == len(JOBS)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_companions_and_their_order_change_no_result(
    engine: Engine, alone: list[Mapping[str, str]], seed: int
) -> None:
    order = list(range(len(JOBS)))
    chance = random.Random(seed)
    chance.shuffle(order)
    order = order[: chance.randint(5, len(JOBS))] if seed else order
    stage = Stage(engine)
    found = asyncio.run(stage.together([JOBS[i] for i in order]))
    for i, results in zip(order, found, strict=True):
        assert results == alone[i]
    assert {batch.target for batch in stage.batches if batch.jobs > 1} >= {"Clip", "Model"}


def through(images: Mapping[str, Any]) -> dict[str, Any]:
    """Pictures (the node "in") encoded and decoded, and enlarged, each of them cut out at the end."""
    return {
        **images,
        "1": node("CheckpointLoaderSimple", ckpt_name="storybook"),
        "2": node("VAEEncode", pixels=["in", 0], vae=["1", 2]),
        "3": node("VAEDecode", samples=["2", 0], vae=["1", 2]),
        "4": node("UpscaleModelLoader", model_name="storybook_x2.safetensors"),
        "5": node("ImageUpscaleWithModel", upscale_model=["4", 0], image=["in", 0]),
        "s3": node("PreviewImage", images=["3", 0]),
        "s5": node("PreviewImage", images=["5", 0]),
    }


def test_pictures_encoded_decoded_and_enlarged_in_a_batch_are_as_alone(engine: Engine) -> None:
    """All rows of such a batch are there at once, which jobs beside each other leave to their timing."""
    stage, names = Stage(engine), ["castle.png", "house.png", "castle.png"]
    scaled: dict[str, Any] = {}
    for i, name in enumerate(names):
        scaled[f"p{i}"] = node("LoadImage", image=name)
        scaled[f"r{i}"] = node(
            "ImageScale", image=[f"p{i}", 0], upscale_method=("area", "nearest-exact")[i // 2],
            width=64, height=64, crop="center",
        )  # fmt: skip
    singles = []
    for i in range(3):
        own = {id: value for id, value in scaled.items() if id[1] == str(i)}
        alone = stage.alone(
            through({**own, "in": node("ImageFromBatch", image=[f"r{i}", 0], batch_index=0, length=1)})
        )
        singles.append((alone["3"], alone["5"]))
    batch = {
        "12": node("ImageBatch", image1=["r0", 0], image2=["r1", 0]),
        "in": node("ImageBatch", image1=["12", 0], image2=["r2", 0]),
    }
    cuts = {
        f"{id}.{i}": node("ImageFromBatch", image=[id, 0], batch_index=i, length=1)
        for id in "35"
        for i in range(3)
    }
    shown = {f"s{id}": node("PreviewImage", images=[id, 0]) for id in cuts}
    stage.batches.clear()
    found = stage.alone(through({**scaled, **batch}) | cuts | shown)
    assert [b.rows for b in stage.batches if b.target == "Vae"] == [3, 3]
    assert [(found[f"3.{i}"], found[f"5.{i}"]) for i in range(3)] == singles
    assert len(set(singles)) == 3


def test_an_urgent_job_goes_between_two_steps_of_another_and_changes_no_result(
    engine: Engine, alone: list[Mapping[str, str]]
) -> None:
    """It begins when the other has done three of its steps, and ends while that has hardly moved."""
    long, urgent = sampled(20, steps=30), JOBS[0]
    stage = Stage(engine)
    undisturbed = stage.alone(long)

    async def play() -> None:
        begun, steps = asyncio.Event(), list[float]()

        def told(event: Event) -> None:
            if isinstance(event, NodeProgress):
                steps.append(event.step)
                if len(steps) == 3:
                    begun.set()

        slow = asyncio.create_task(stage.finish(stage.start(long, told)))
        await begun.wait()
        run = await stage.finish(stage.start(urgent, lambda _: None, priority=1))
        passed = len(steps)
        assert run.record().results == alone[0]
        assert not slow.done()
        assert passed < 3 + 2 * len(urgent), (
            "a step or two between nodes of the urgent job, none between its steps"
        )
        assert (await slow).record().results == undisturbed

    asyncio.run(play())
