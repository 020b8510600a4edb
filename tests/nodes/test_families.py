"""Model families: what they recognise, and networks against diffusers' own conversion of the same file."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel

from engine.devices import Devices
from engine.problems import NodeFailure
from nodes.diffusion import families
from nodes.diffusion.families import Checkpoint
from nodes.diffusion.levels import Discrete
from nodes.diffusion.sampling_space import ModelSampling
from nodes.diffusion.weights import Recipe
from tests.nodes.ldm_files import CONTEXT, WIDTH, save_sd1
from tests.nodes.storybook import FOLDER, storybook

UNET = {
    "block_out_channels": [WIDTH] * 4,
    "layers_per_block": 2,
    "cross_attention_dim": CONTEXT,
    "attention_head_dim": 8,
}
VAE = {"block_out_channels": [WIDTH] * 4, "layers_per_block": 2, "latent_channels": 4}
VAE |= {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sd1") / "tiny.safetensors"
    save_sd1(path)
    return path


@pytest.fixture(scope="module")
def checkpoint(file: Path) -> Checkpoint:
    return families.checkpoint(file, "tiny", Devices("cpu"))


def network(recipe: Recipe) -> Any:
    return recipe.module(Devices("cpu"))


def float32(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.float() for key, value in state.items()}


def test_a_single_files_unet_is_that_of_diffusers_conversion(file: Path, checkpoint: Checkpoint) -> None:
    ours = network(checkpoint.model.recipe)
    theirs = UNet2DConditionModel.from_config({**UNET, "in_channels": 4, "out_channels": 4}).eval()
    theirs.load_state_dict(float32(convert_ldm_unet_checkpoint(load_file(file), theirs.config)))
    x, context = torch.randn(2, 4, 8, 8), torch.randn(2, 77, CONTEXT)
    with torch.inference_mode():
        a, b = (
            net(x, torch.tensor([3, 700]), encoder_hidden_states=context).sample for net in (ours, theirs)
        )
    assert torch.equal(a, b)


def test_a_single_files_vae_is_that_of_diffusers_conversion(file: Path, checkpoint: Checkpoint) -> None:
    ours = network(checkpoint.vae.recipe)
    theirs = AutoencoderKL.from_config(VAE).eval()
    theirs.load_state_dict(float32(convert_ldm_vae_checkpoint(load_file(file), theirs.config)))
    with torch.inference_mode():
        x = torch.randn(1, 3, 32, 32)
        assert torch.equal(ours.encode(x).latent_dist.mean, theirs.encode(x).latent_dist.mean)
        z = torch.randn(1, 4, 4, 4)
        assert torch.equal(ours.decode(z).sample, theirs.decode(z).sample)


def test_a_vae_alone_is_read_in_either_layout(file: Path, tmp_path: Path) -> None:
    prefix, held = "first_stage_model.", load_file(file)
    alone = {key.removeprefix(prefix): value for key, value in held.items() if key.startswith(prefix)}
    renamed = convert_ldm_vae_checkpoint(held, VAE)
    x, means = torch.randn(1, 3, 16, 16), []
    for name, state in (("ldm", alone), ("diffusers", renamed)):
        save_file(state, tmp_path / f"{name}.safetensors")
        vae = families.vae(tmp_path / f"{name}.safetensors", name, Devices("cpu"))
        with torch.inference_mode():
            means.append(network(vae.recipe).encode(x).latent_dist.mean)
    assert torch.equal(*means)


def test_a_unet_alone_is_read_in_either_layout(file: Path, checkpoint: Checkpoint, tmp_path: Path) -> None:
    prefix, held = "model.diffusion_model.", load_file(file)
    alone = {key.removeprefix(prefix): value for key, value in held.items() if key.startswith(prefix)}
    renamed = convert_ldm_unet_checkpoint(
        held, {**UNET, "class_embed_type": None, "addition_embed_type": None}
    )
    whole = network(checkpoint.model.recipe).state_dict()
    for name, state in (("ldm", alone), ("diffusers", renamed)):
        save_file(state, tmp_path / f"{name}.safetensors")
        model = families.model(tmp_path / f"{name}.safetensors", name, Devices("cpu"))
        read = network(model.recipe).state_dict()
        assert read.keys() == whole.keys()
        assert all(torch.equal(read[key], whole[key]) for key in whole)


@pytest.mark.parametrize(
    ("part", "theirs"),
    [("unet", UNet2DConditionModel), ("vae", AutoencoderKL), ("text_encoder", CLIPTextModel)],
)
def test_a_folders_networks_are_those_of_from_pretrained(part: str, theirs: Any) -> None:
    parts = storybook()
    recipes = {
        "unet": parts.model.recipe,
        "vae": parts.vae.recipe,
        "text_encoder": parts.clip.towers[0].recipe,
    }
    ours = network(recipes[part]).state_dict()
    state = theirs.from_pretrained(
        FOLDER, subfolder=part, local_files_only=True, dtype=torch.float32
    ).state_dict()
    assert ours.keys() == state.keys()
    assert all(torch.equal(ours[key], state[key]) for key in state)


def test_a_folder_states_its_schedule_and_its_latent_scale(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "v", ignore=shutil.ignore_patterns("*.safetensors"))
    stated = tmp_path / "v" / "scheduler" / "scheduler_config.json"
    config = json.loads(stated.read_text())
    stated.write_text(
        json.dumps(config | {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True})
    )
    vae = tmp_path / "v" / "vae" / "config.json"
    vae.write_text(json.dumps(json.loads(vae.read_text()) | {"scaling_factor": 0.5}))
    model = families.checkpoint(tmp_path / "v", "v", Devices("cpu")).model
    assert model.sampling == ModelSampling("v_prediction", Discrete(zero_snr=True))
    assert model.latent.scale == 0.5
    stated.write_text(json.dumps(config | {"beta_schedule": "squaredcos_cap_v2"}))
    with pytest.raises(NodeFailure, match="squaredcos_cap_v2"):
        families.checkpoint(tmp_path / "v", "v", Devices("cpu"))


def test_old_names_of_a_vaes_attention_are_read(tmp_path: Path) -> None:
    shutil.copytree(FOLDER / "vae", tmp_path / "vae")
    path = tmp_path / "vae" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    held = load_file(path)
    for new, name in old.items():
        held = {key.replace(f"attentions.0.{new}.", f"attentions.0.{name}."): v for key, v in held.items()}
    save_file(held, path)
    read = network(families.vae(tmp_path / "vae", "old", Devices("cpu")).recipe).state_dict()
    assert all(
        torch.equal(read[key], value) for key, value in network(storybook().vae.recipe).state_dict().items()
    )


@pytest.mark.parametrize(
    ("key", "shape", "seen"),
    [
        ("model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", (320, 1024), "2.x"),
        (
            "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight",
            (640, 2048),
            "SDXL",
        ),
        ("model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight", (4, 4), "Stable Diffusion 3"),
        ("lora_unet_mid_block_attentions_0_proj_in.lora_up.weight", (4, 4), "LoRA"),
        ("first_stage_model.encoder.down.0.block.0.conv1.bias", (4,), "a VAE alone"),
        ("something.else", (1,), "something.else"),
    ],
)
def test_a_foreign_file_is_named_with_the_known_families(
    tmp_path: Path, key: str, shape: tuple[int, ...], seen: str
) -> None:
    save_file({key: torch.zeros(shape)}, tmp_path / "x.safetensors")
    with pytest.raises(NodeFailure, match="known: Stable Diffusion 1") as caught:
        families.checkpoint(tmp_path / "x.safetensors", "x", Devices("cpu"))
    assert seen in caught.value.message


def test_a_folder_of_another_pipeline_is_named(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(NodeFailure, match="FluxPipeline"):
        families.checkpoint(tmp_path, "x", Devices("cpu"))


def test_an_incomplete_file_says_what_is_missing(file: Path, tmp_path: Path) -> None:
    held = load_file(file)
    lost = "model.diffusion_model.middle_block.0.in_layers.2.weight"
    del held[lost]
    save_file(held, tmp_path / "x.safetensors")
    model = families.checkpoint(tmp_path / "x.safetensors", "x", Devices("cpu")).model
    with pytest.raises(NodeFailure, match=r"1 tensors are missing.*mid_block\.resnets\.0\.conv1\.weight"):
        network(model.recipe)
    held = {key: value for key, value in held.items() if "middle_block" not in key}
    save_file(held, tmp_path / "y.safetensors")
    model = families.checkpoint(tmp_path / "y.safetensors", "y", Devices("cpu")).model
    with pytest.raises(NodeFailure, match="mid_block"):
        network(model.recipe)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(file: Path, tmp_path: Path, bad: float) -> None:
    held = load_file(file)
    held["model.diffusion_model.middle_block.0.in_layers.2.weight"][0, 0, 0, 0] = bad
    save_file(held, tmp_path / "x.safetensors")
    found = families.checkpoint(tmp_path / "x.safetensors", "x", Devices("cpu"))
    with pytest.raises(NodeFailure, match=r"1 tensors of the unet hold NaN.*mid_block\.resnets\.0\.conv1"):
        network(found.model.recipe)
    network(found.vae.recipe)


def test_a_unet_with_unknown_inputs_is_named(file: Path, tmp_path: Path) -> None:
    held = load_file(file)
    held["model.diffusion_model.input_blocks.0.0.weight"] = torch.zeros(WIDTH, 5, 3, 3)
    save_file(held, tmp_path / "x.safetensors")
    with pytest.raises(NodeFailure, match="the UNet takes 5 channels"):
        families.checkpoint(tmp_path / "x.safetensors", "x", Devices("cpu"))


def test_a_damaged_folder_says_where(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "bad")
    clip, unet, vae = (tmp_path / "bad" / part / "config.json" for part in ("text_encoder", "unet", "vae"))
    unet.write_text(json.dumps(json.loads(unet.read_text()) | {"block_out_channels": [96]}))
    clip.write_text(clip.read_text()[:-20])
    weights = vae.parent / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    bad = families.checkpoint(tmp_path / "bad", "bad", Devices("cpu"))
    for recipe, said in (
        (bad.model.recipe, "bad/unet: no unet"),
        (bad.clip.towers[0].recipe, r"config\.json"),
        (bad.vae.recipe, "cannot read"),
    ):
        with pytest.raises(NodeFailure, match=said):
            network(recipe)
