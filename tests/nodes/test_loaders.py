"""Loaders: what can be chosen, what they make, that they read no weights, and what is wrong with files."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.devices import Devices
from engine.files import Files
from engine.ports import Env
from engine.problems import NodeFailure
from nodes import loaders, text_loaders
from nodes.diffusion.autoencoder import Vae
from nodes.diffusion.model import Model
from nodes.diffusion.text import Clip
from nodes.diffusion.weights import Recipe
from tests.nodes.ldm_files import control, save_sd1
from tests.nodes.storybook import FOLDER, files_under, storybook

CONV = "lora_unet_up_blocks_1_resnets_0_conv1"
TEXT = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return files_under(tmp_path)


@pytest.fixture
def devices() -> Devices:
    return Devices("cpu")


def put(tmp_path: Path, role: str, name: str, held: dict[str, torch.Tensor]) -> None:
    (tmp_path / "models" / role).mkdir(parents=True, exist_ok=True)
    save_file(held, tmp_path / "models" / role / name)


def choices(node: object, port: str, files: Files) -> tuple[str, ...]:
    found = node.input(port).choices(Env(files))  # type: ignore[attr-defined]
    assert isinstance(found, tuple)
    return found


def recipes_of(parts: tuple[Model, Clip, Vae]) -> list[Recipe]:
    model, clip, vae = parts
    return [model.recipe, *(tower.recipe for tower in clip.towers), vae.recipe]


def test_choices_are_files_and_model_folders(files: Files, tmp_path: Path) -> None:
    put(tmp_path, "checkpoints", "one.safetensors", {"x": torch.zeros(1)})
    (tmp_path / "models" / "checkpoints" / "notes.txt").write_text("not a model")
    assert choices(loaders.checkpoint_loader_simple, "ckpt_name", files) == ("one.safetensors", "storybook")
    put(tmp_path, "diffusers", "one.safetensors", {"x": torch.zeros(1)})
    assert choices(loaders.diffusers_loader, "model_path", files) == ("storybook",)


def test_both_loaders_give_the_parts_of_a_folder(files: Files, devices: Devices) -> None:
    simple = loaders.checkpoint_loader_simple(ckpt_name="storybook", files=files, devices=devices)
    folder = loaders.diffusers_loader(model_path="storybook", files=files, devices=devices)
    assert simple == folder
    assert [x.part for x in recipes_of(simple)] == ["unet", "text_encoder", "vae"]
    assert {x.digest for x in recipes_of(simple)} == {files.digest("checkpoints", "storybook")}


def test_a_single_file_gives_its_parts(files: Files, devices: Devices, tmp_path: Path) -> None:
    (tmp_path / "models" / "checkpoints").mkdir(parents=True)
    save_sd1(tmp_path / "models" / "checkpoints" / "tiny.safetensors")
    model, clip, vae = loaders.checkpoint_loader_simple(
        ckpt_name="tiny.safetensors", files=files, devices=devices
    )
    assert (model.latent.scale, model.sampling.prediction) == (0.18215, "eps")
    assert {x.digest for x in recipes_of((model, clip, vae))} == {
        files.digest("checkpoints", "tiny.safetensors")
    }


def test_the_fingerprint_is_the_content(files: Files, tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "models" / "checkpoints" / "copy")
    digest = loaders.checkpoint_digest
    assert digest(ckpt_name="copy", files=files) == digest(ckpt_name="storybook", files=files)
    index = tmp_path / "models" / "checkpoints" / "copy" / "model_index.json"
    index.write_text(index.read_text() + " ")
    assert digest(ckpt_name="copy", files=files) != digest(ckpt_name="storybook", files=files)


def test_loading_reads_no_weights_and_imports_no_networks() -> None:
    script = """
import sys
from pathlib import Path
from engine.devices import Devices
from nodes import loaders, text_loaders
from tests.nodes.storybook import files_under
given = {"files": files_under(Path("/nonexistent")), "devices": Devices("cpu")}
loaders.checkpoint_loader_simple(ckpt_name="storybook", **given)
loaders.vae_loader(vae_name="storybook", **given)
heavy = [name for name in ("diffusers", "transformers", "spandrel", "accelerate") if name in sys.modules]
assert not heavy, heavy
sys.exit(0)
"""
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert ran.returncode == 0, ran.stderr


def lora(part: str) -> dict[str, torch.Tensor]:
    return {
        f"{part}.lora_up.weight": torch.ones(96, 2, 1, 1),
        f"{part}.lora_down.weight": torch.ones(2, 9, 3, 3),
    }


def loaded(tmp_path: Path, *parts: str) -> tuple[Model, Clip]:
    put(
        tmp_path,
        "loras",
        "x.safetensors",
        {key: value for part in parts for key, value in lora(part).items()},
    )
    given = storybook()
    return loaders.lora_loader(
        model=given.model, clip=given.clip, lora_name="x.safetensors", strength_model=0.5, strength_clip=0.8,
        files=files_under(tmp_path),
    )  # fmt: skip


def test_a_lora_patches_the_networks_that_it_has_something_for(tmp_path: Path) -> None:
    model, clip = loaded(tmp_path, CONV)
    assert [patch.strength for patch in model.recipe.patches] == [0.5]  # type: ignore[attr-defined]
    assert clip == storybook().clip
    model, clip = loaded(tmp_path, CONV, TEXT)
    assert [patch.strength for patch in clip.towers[0].recipe.patches] == [0.8]  # type: ignore[attr-defined]


def test_strength_0_is_no_patch(tmp_path: Path) -> None:
    put(tmp_path, "loras", "x.safetensors", lora(CONV))
    model = storybook().model
    given = {"model": model, "lora_name": "x.safetensors", "files": files_under(tmp_path)}
    assert loaders.lora_loader_model_only(**given, strength_model=0.0) == model  # type: ignore[arg-type]
    once = loaders.lora_loader_model_only(**given)  # type: ignore[arg-type]
    assert once != model
    twice = loaders.lora_loader_model_only(model=once, lora_name="x.safetensors", files=files_under(tmp_path))
    assert len(twice.recipe.patches) == 2


def test_a_control_net_is_looked_at_before_it_is_used(files: Files, devices: Devices, tmp_path: Path) -> None:
    put(tmp_path, "controlnet", "net.safetensors", control())
    net = loaders.control_net_loader(control_net_name="net.safetensors", files=files, devices=devices)
    assert (net.recipe.part, net.recipe.family) == ("controlnet", "controlnet")
    put(tmp_path, "controlnet", "other.safetensors", {"x": torch.zeros(1)})
    with pytest.raises(NodeFailure, match="no ControlNet"):
        loaders.control_net_loader(control_net_name="other.safetensors", files=files, devices=devices)


def test_differences_are_loaded_upon_a_model(files: Files, devices: Devices, tmp_path: Path) -> None:
    put(tmp_path, "controlnet", "diff.safetensors", control() | {"difference": torch.zeros(1)})
    name, model = "diff.safetensors", storybook().model
    with pytest.raises(NodeFailure, match="as differences"):
        loaders.control_net_loader(control_net_name=name, files=files, devices=devices)
    net = loaders.diff_control_net_loader(model=model, control_net_name=name, files=files, devices=devices)
    (patch,) = net.recipe.patches
    assert getattr(patch, "base", None) == model.recipe
    put(tmp_path, "controlnet", "net.safetensors", control())
    plain = loaders.control_net_loader(control_net_name="net.safetensors", files=files, devices=devices)
    same = loaders.diff_control_net_loader(
        model=model, control_net_name="net.safetensors", files=files, devices=devices
    )
    assert same == plain


def test_parts_that_lie_alone_are_loaded(files: Files, devices: Devices, tmp_path: Path) -> None:
    held = save_sd1(tmp_path / "whole.safetensors")
    prefixes = {
        "vae": "first_stage_model.",
        "diffusion_models": "model.diffusion_model.",
        "text_encoders": "cond_stage_model.transformer.",
    }
    for role, prefix in prefixes.items():
        cut = {key.removeprefix(prefix): value for key, value in held.items() if key.startswith(prefix)}
        put(tmp_path, role, "one.safetensors", cut)
    given = {"files": files, "devices": devices}
    vae = loaders.vae_loader(vae_name="one.safetensors", **given)  # type: ignore[arg-type]
    model = loaders.unet_loader(unet_name="one.safetensors", weight_dtype="default", **given)  # type: ignore[arg-type]
    clip = text_loaders.clip_loader(clip_name="one.safetensors", type="stable_diffusion", **given)  # type: ignore[arg-type]
    for recipe in recipes_of((model, clip, vae)):
        assert sum(p.numel() for p in recipe.module(devices).parameters()) > 100_000


def test_what_cannot_be_done_yet_is_said(files: Files, devices: Devices, tmp_path: Path) -> None:
    put(tmp_path, "vae", "x.safetensors", {"x": torch.zeros(1)})
    with pytest.raises(NodeFailure, match="no vae of a known family"):
        loaders.vae_loader(vae_name="x.safetensors", files=files, devices=devices)
    with pytest.raises(NodeFailure, match="'sd3'"):
        text_loaders.clip_loader(clip_name="x", type="sd3", files=files, devices=devices)
    with pytest.raises(NodeFailure, match="fp8_e5m2"):
        loaders.unet_loader(unet_name="x", weight_dtype="fp8_e5m2", files=files, devices=devices)
