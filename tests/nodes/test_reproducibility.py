"""The same comes out the same, to the bit: alone, in a batch, beside other jobs, from a cache, elsewhere."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from storybook import FOLDER, files_under  # type: ignore[import-not-found]
from torch import Tensor, equal

from engine.cache import Tier, Tiers
from engine.cache.disk import DiskTier
from engine.devices import Devices
from engine.ports import Env
from engine.registry import Registry, installed
from engine.runner import Engine, Run
from engine.trail import Pinned
from engine.workflow import from_json

SEED = 5


@pytest.fixture(scope="module")
def registry() -> Registry:
    return installed()


@pytest.fixture
def exact(registry: Registry, tmp_path: Path) -> Iterator[Engine]:
    """An engine that computes each row alone, and keeps nothing."""
    with Engine(registry, Env(files_under(tmp_path), Devices("cpu")), Tiers(()), exact=True) as engine:
        yield engine


def graph(
    latent: Mapping[str, Any] | None = None,
    *,
    text: str = "a red house",
    sampler: str = "euler",
    batch: int = 1,
) -> dict[str, Any]:
    """Two steps of the embedded model.

    Args:
        latent: Nodes that make the latent to start from, the last one of which is "start".
    """
    size = {"width": 64, "height": 64, "batch_size": batch}
    sampling = {"seed": SEED, "steps": 2, "cfg": 3.0, "sampler_name": sampler, "scheduler": "karras"}
    links = {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["start", 0]}
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "storybook"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": text, "clip": ["1", 1]}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["1", 1]}},
        "start": {"class_type": "EmptyLatentImage", "inputs": size},
        **(latent or {}),
        "5": {"class_type": "KSampler", "inputs": {**sampling, **links, "denoise": 1.0}},
        "6": {"class_type": "SaveLatent", "inputs": {"samples": ["5", 0], "filename_prefix": "made"}},
    }


def cut(index: int, length: int, batch: int = 3) -> dict[str, Any]:
    """Some items cut out of a batch."""
    size = {"width": 64, "height": 64, "batch_size": batch}
    chosen = {"samples": ["whole", 0], "batch_index": index, "length": length}
    return {
        "whole": {"class_type": "EmptyLatentImage", "inputs": size},
        "start": {"class_type": "LatentFromBatch", "inputs": chosen},
    }


def latents(run: Run) -> Tensor:
    (output,) = run.outputs
    return safetensors.torch.load(Path(output["path"]).read_bytes())["latent_tensor"]


def made(engine: Engine, nodes: Mapping[str, Any], env: Env | None = None) -> Run:
    run = asyncio.run(engine.finish(engine.start(engine.plan(from_json(dict(nodes))), env=env)))
    assert run.status == "success", run.failures
    return run


def made_together(engine: Engine, *graphs: Mapping[str, Any]) -> list[Run]:
    async def together() -> list[Run]:
        jobs = [engine.start(engine.plan(from_json(dict(g)))) for g in graphs]
        return await asyncio.gather(*map(engine.finish, jobs))

    return asyncio.run(together())


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral"])
def test_an_item_of_a_batch_is_made_again_alone(exact: Engine, sampler: str) -> None:
    """Cut out by LatentFromBatch it gets the initial noise of its place in the batch.

    A sampler that draws noise at each step draws it for the whole batch, as the ecosystem does: there only
    the first item, whose draws come first, can be had alone.
    """
    whole = latents(made(exact, graph(batch=3, sampler=sampler)))
    for k in range(3 if sampler == "euler" else 1):
        assert equal(latents(made(exact, graph(cut(k, 1), sampler=sampler))), whole[k : k + 1])


def test_the_place_in_a_batch_changes_nothing(exact: Engine) -> None:
    """The second and third of three are first and second of two."""
    whole = latents(made(exact, graph(batch=3)))
    assert equal(latents(made(exact, graph(cut(1, 2)))), whole[1:])


def test_items_of_a_batch_differ_from_each_other(exact: Engine) -> None:
    whole = latents(made(exact, graph(batch=2)))
    assert not equal(whole[0], whole[1])


def test_other_jobs_and_their_order_change_nothing(exact: Engine) -> None:
    graphs = [graph(text=text) for text in ("a red house", "a blue castle", "a boat at sea")]
    alone = [latents(made(exact, g)) for g in graphs]
    together = [latents(run) for run in made_together(exact, *graphs)]
    backwards = [latents(run) for run in made_together(exact, *graphs[::-1])][::-1]
    for a, b, c in zip(alone, together, backwards, strict=True):
        assert equal(a, b)
        assert equal(a, c)


def test_a_run_beside_others_is_made_again_alone_at_its_recorded_rungs(
    registry: Registry, tmp_path: Path
) -> None:
    """What shared batches of many rows may differ from what ran alone, but not from a replay of it."""
    env = Env(files_under(tmp_path), Devices("cpu"))
    with Engine(registry, env, Tiers(())) as engine:
        beside = made_together(engine, graph(batch=2), graph(text="a boat"), graph(text="a castle"))[0]
        record = beside.record()
        assert record.rungs["5"] != 4, "it has four rows a step and more waited"
        again = made(engine, graph(batch=2), env.with_(Pinned(record.rungs)))
    assert again.record().rungs == record.rungs
    assert again.record().results == record.results


def test_nodes_that_become_ready_together_always_share_their_batch(
    registry: Registry, tmp_path: Path
) -> None:
    """Whether two prompts were encoded in one batch was decided by a race; it changes the last bits."""
    with Engine(registry, Env(files_under(tmp_path), Devices("cpu")), Tiers(())) as engine:
        rungs = [made(engine, graph()).record().rungs for _ in range(5)]
    assert rungs == [{"2": 2, "3": 2, "5": 2}] * 5


def test_from_a_cache_or_not_the_file_has_the_same_bytes(registry: Registry, tmp_path: Path) -> None:
    decoded = {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}}
    saved = {"class_type": "SaveImage", "inputs": {"images": ["7", 0], "filename_prefix": "made"}}
    picture = {**graph(), "7": decoded, "6": saved}
    found = []
    for cache in ("off", "on", "on"):
        tiers: list[Tier] = [] if cache == "off" else [DiskTier(tmp_path / "cache", worth=0.0)]
        with Engine(registry, Env(files_under(tmp_path), Devices("cpu")), Tiers(tiers)) as engine:
            run = made(engine, picture)
        path = Path(run.outputs[0]["path"])
        found.append((len(run.executed), path.read_bytes()))
        path.unlink()
        for tier in tiers:
            tier.close()  # type: ignore[attr-defined]
    assert [count for count, _ in found] == [7, 7, 1]
    assert len({content for _, content in found}) == 1


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from engine.cli import main; main()", "run", "text_to_image"]
    sets = ["--set", "Sampler.steps=2", "--set", "Size.width=64", "--set", "Size.height=64"]
    found = set()
    for hash_seed in ("1", "2"):
        base = tmp_path / hash_seed
        base.mkdir()
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "LATENTGRAPH_CACHE": str(base / "cache")}
        subprocess.run(
            [*command, *sets, "--device", "cpu"], cwd=base, env=env, check=True, capture_output=True
        )
        found.add((base / "output" / "text_to_image_00001_.png").read_bytes())
    assert len(found) == 1


@pytest.mark.slow
def test_a_picture_of_the_embedded_model_is_replayed_or_its_changed_weights_are_named(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from engine.cli import main; main()"]

    def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "LATENTGRAPH_CACHE": str(tmp_path / "cache")}
        return subprocess.run(
            [*command, *arguments, "--device", "cpu"],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )

    shutil.copytree(FOLDER, tmp_path / "models" / "checkpoints" / "mine")
    small = ("Sampler.steps=2", "Size.width=64", "Size.height=64", "Checkpoint.ckpt_name=mine")
    ran("run", "text_to_image", *(word for s in small for word in ("--set", s)))
    picture = "output/text_to_image_00001_.png"
    same = ran("replay", picture)
    assert same.returncode == 0, same.stderr
    weights = next((tmp_path / "models" / "checkpoints" / "mine" / "unet").glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-100] ^= 1
    weights.write_bytes(content)
    changed = ran("replay", picture)
    assert changed.returncode == 2
    assert "checkpoints/mine" in changed.stderr
