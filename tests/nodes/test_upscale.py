"""Upscaling networks: files of known architectures, tiles with progress, foreign files."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from spandrel import ModelLoader
from spandrel.architectures.Compact import Compact

from engine.devices import Devices
from engine.problems import NodeFailure
from engine.steps import Progress, run_alone
from nodes.diffusion.upscaler import UpscaleModel
from nodes.diffusion.weights import Recipe
from nodes.upscale import image_upscale_with_model


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("up") / "x2.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(Compact(num_in_ch=3, num_out_ch=3, num_feat=4, num_conv=2, upscale=2).state_dict(), path)
    return path


def upscaler(path: Path) -> UpscaleModel:
    return UpscaleModel(Recipe("x2", "upscaler", "upscaler", path), Devices("cpu"))


def test_a_picture_is_enlarged_as_spandrel_does(file: Path) -> None:
    image = torch.rand(2, 20, 30, 4)
    enlarged = run_alone(image_upscale_with_model(upscale_model=upscaler(file), image=image))
    with torch.inference_mode():
        expected = ModelLoader().load_from_file(file)(image[..., :3].movedim(-1, 1)).movedim(1, -1)
    torch.testing.assert_close(enlarged, expected)


def test_tiles_meet_without_a_seam_and_report_progress(file: Path) -> None:
    model, image = upscaler(file), torch.rand(1, 40, 600, 3)
    enlarged = run_alone(model.enlarged(image))
    (whole,) = model.answer([image[0].movedim(-1, 0)])
    assert (
        enlarged[0].movedim(-1, 0) - whole
    ).abs().max() < 0.05  # a few rows of context are lost at an edge
    steps, told, value = model.enlarged(image), list[tuple[int, int]](), None
    while True:
        try:
            ask = steps.send(value)
        except StopIteration:
            break
        if isinstance(ask, Progress):
            told.append((ask.step, ask.total))
            value = None
        else:
            value = model.answer(ask.requests)  # type: ignore[union-attr]
    assert told == [(1, 2), (2, 2)]


def test_a_foreign_file_is_named(tmp_path: Path) -> None:
    save_file({"lora_unet_x.lora_up.weight": torch.zeros(2, 2)}, tmp_path / "x.safetensors")
    with pytest.raises(NodeFailure, match="no upscaler that spandrel knows: it looks like a LoRA"):
        upscaler(tmp_path / "x.safetensors").recipe.module(Devices("cpu"))
