"""The workflows that come along: each runs, is kept, and does what its name says."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.events import ModelBatch
from engine.workflow import Workflow, load
from tests.workflows.shipped import PATHS, Studio, titled

NAMES = (
    "controlnet_canny", "denoising_filmstrip", "forward_noise", "hires_fix", "image_to_image", "inpaint",
    "inpaint_controlnet_upscale", "interpolate", "lora_style", "outpaint", "text_to_image", "upscale",
    "variations",
)  # fmt: skip
PROMPTED = tuple(name for name in NAMES if name not in ("forward_noise", "upscale"))
QUICK = {"Sampler.steps": 3}


def dependent(workflow: Workflow, id: str) -> set[str]:
    """The node and all that hang on it."""
    found, size = {id}, 0
    while len(found) > size:
        size = len(found)
        for other, node in workflow.nodes.items():
            links = [value[0] for value in node.inputs.values() if isinstance(value, list)]
            if found.intersection(links):
                found.add(other)
    return found


def command(*args: str, folder: Path) -> list[dict[str, Any]]:
    """The events of `latentgraph run … --json` in a process and a folder of their own."""
    env = {**os.environ, "LATENTGRAPH_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    env["PYTHONPATH"] = str(Path(__file__).parents[2])
    line = [sys.executable, "-c", "from engine.cli import main; main()", "run", *args, "--json"]
    done = subprocess.run(line, capture_output=True, cwd=folder, env=env, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(row) for row in done.stdout.splitlines()]


def test_the_workflows_that_the_readme_promises_are_there() -> None:
    assert set(NAMES) <= set(PATHS)


@pytest.mark.parametrize("name", sorted(PATHS))
def test_nodes_that_people_set_are_titled(name: str) -> None:
    workflow = load(PATHS[name])
    titles = [node.title for node in workflow.nodes.values()]
    assert all(titles)
    wanted = {"CheckpointLoaderSimple": "Checkpoint", "EmptyLatentImage": "Size"}
    wanted |= {"LoadImageMask": "Mask", "ImagePadForOutpaint": "Mask"}
    for node in workflow.nodes.values():
        assert node.title == wanted.get(node.class_type, node.title)
        if node.class_type == "LoadImage":
            assert node.title in ("Image", "Control image")
    for title in ("Prompt", "Negative prompt", "Sampler") if name in PROMPTED else ():
        assert titles.count(title) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PATHS))
def test_runs_as_it_is_and_then_has_nothing_to_do(name: str, studio: Studio) -> None:
    first = studio.run(name)
    (file,) = first.files
    assert file.name.startswith(f"{name}_")
    assert file.stat().st_size < 2**20
    assert first.picture.std() > 10  # not one colour
    again = studio.run(name)
    assert again.run.executed == ()
    assert again.run.outputs == first.run.outputs
    assert not [event for event in again.events if isinstance(event, ModelBatch)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["text_to_image", "inpaint"])
def test_a_picture_carries_the_workflow_that_makes_it_again(
    name: str, studio: Studio, tmp_path: Path
) -> None:
    made = studio.run(name, QUICK)
    carried = load(made.files[0])
    assert carried.nodes == load(PATHS[name]).with_inputs(QUICK).nodes
    with Studio(tmp_path) as elsewhere:
        assert np.array_equal(elsewhere.run(carried).picture, made.picture)


@pytest.mark.slow
def test_inpainting_leaves_the_rest_exactly_as_it_was(studio: Studio) -> None:
    inputs = Path(PATHS["inpaint"]).parents[1] / "nodes" / "storybook" / "input"
    original = np.asarray(Image.open(inputs / "meadow.png").convert("RGB"))
    mask = np.asarray(Image.open(inputs / "meadow_mask.png").convert("L"))
    made = studio.run("inpaint").picture
    assert np.array_equal(made[mask == 0], original[mask == 0])
    assert np.abs(made[mask == 255].astype(int) - original[mask == 255]).mean() > 10


@pytest.mark.slow
def test_outpainting_leaves_the_picture_exactly_as_it_was(studio: Studio) -> None:
    workflow = load(PATHS["outpaint"])
    padding = workflow.nodes[titled(workflow, "Mask")].inputs
    original = studio.run(workflow, {"Save.images": [titled(workflow, "Size"), 0]}).picture
    made = studio.run("outpaint").picture
    kept = original.shape[1] - padding["feathering"]
    assert made.shape == (128, 128 + padding["right"], 3)
    assert np.array_equal(made[:, :kept], original[:, :kept])
    assert made[:, 128:].std() > 20  # painted, no longer the grey border


@pytest.mark.slow
def test_another_seed_gives_another_picture(studio: Studio) -> None:
    one, other = (studio.run("text_to_image", {**QUICK, "Sampler.seed": seed}).picture for seed in (1, 2))
    assert np.abs(one.astype(int) - other).mean() > 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["text_to_image", "controlnet_canny", "inpaint", "lora_style"])
def test_another_prompt_reruns_only_what_depends_on_it(name: str, studio: Studio) -> None:
    studio.run(name, QUICK)
    again = studio.run(name, {**QUICK, "Prompt.text": f"a prompt that no other test has: {name}"})
    workflow = load(PATHS[name])
    assert set(again.run.executed) == dependent(workflow, titled(workflow, "Prompt"))


@pytest.mark.slow
def test_two_processes_write_the_same_bytes_and_the_third_nothing(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    args = ("text_to_image", "--set", "Sampler.steps=3", "--output", "pictures")
    first, other = (command(*args, folder=folder)[-1] for folder in folders)
    assert first["outputs"][0]["sha256"] == other["outputs"][0]["sha256"]
    third = command(*args, folder=folders[0])
    assert third[-1]["executed"] == []
    assert third[-1]["outputs"] == first["outputs"]
    assert not [event for event in third if event["event"] == "model_batch"]


@pytest.mark.slow
def test_the_variations_are_those_of_their_seeds(studio: Studio) -> None:
    grid = studio.run("variations").picture
    workflow = load(PATHS["variations"])
    prompt = workflow.nodes[titled(workflow, "Prompt")].inputs["text"]
    third = studio.run("text_to_image", {"Prompt.text": prompt, "Sampler.seed": 3}).picture
    assert np.abs(grid[-128:, :128].astype(int) - third).max() <= 2  # a shared batch rounds otherwise


@pytest.mark.slow
def test_the_strip_goes_from_one_picture_to_the_other_in_small_steps(studio: Studio) -> None:
    workflow = load(PATHS["interpolate"])
    strip = studio.run("interpolate").picture
    cells = [strip[:, x : x + 128].astype(int) for x in range(0, strip.shape[1], 132)]
    for cell, title in ((cells[0], "Prompt"), (cells[-1], "Second prompt")):
        prompt = workflow.nodes[titled(workflow, title)].inputs["text"]
        whole = studio.run("text_to_image", {"Prompt.text": prompt, "Sampler.seed": 1}).picture
        assert np.abs(cell - whole).mean() < 12  # each frame is redrawn a little after the slerp
    ends = np.abs(cells[0] - cells[-1]).mean()
    assert all(np.abs(one - other).mean() < 0.7 * ends for one, other in pairwise(cells))
