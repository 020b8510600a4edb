"""LoRA files in every naming, against peft's own merge and against the formulas."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.devices import Devices
from engine.problems import NodeFailure
from nodes.diffusion.lora import LoraPatch, lora_parts
from nodes.diffusion.weights import Part, Recipe
from tests.nodes.storybook import FOLDER

ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
OUT = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0"
CONV = "up_blocks.1.resnets.0.conv1"
TEXT = "encoder.layers.0.self_attn.q_proj"
RANK = 3


@pytest.fixture
def devices() -> Devices:
    return Devices("cpu")


def recipe(part: Part = "unet") -> Recipe:
    return Recipe("storybook", part, "stable_diffusion", FOLDER)


def weight(module: nn.Module, name: str) -> Tensor:
    found = dict(module.named_parameters())
    return found[f"{name}.weight"] if f"{name}.weight" in found else found[f"text_model.{name}.weight"]


def pair(shape: torch.Size) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    out, into, *rest = shape
    return torch.randn(out, RANK, *[1] * len(rest), generator=draw), torch.randn(
        RANK, into, *rest, generator=draw
    )


def delta(up: Tensor, down: Tensor, shape: torch.Size) -> Tensor:
    return (up.flatten(1) @ down.flatten(1)).reshape(shape)


def patched(
    held: dict[str, Tensor], tmp_path: Path, devices: Devices, part: Part = "unet", by: float = 1.0
) -> Any:
    save_file({key: value.contiguous() for key, value in held.items()}, tmp_path / "lora.safetensors")
    patch = LoraPatch("lora", "lora.safetensors", by, tmp_path / "lora.safetensors")
    return recipe(part).patched(patch).module(devices)


def flat(name: str) -> str:
    return name.replace(".", "_")


def namings() -> Iterator[tuple[str, str, str, Part]]:
    """(up key, down key, module, network) as different programs write them."""
    a = f"unet.{ATTENTION}"
    yield f"lora_unet_{flat(CONV)}.lora_up.weight", f"lora_unet_{flat(CONV)}.lora_down.weight", CONV, "unet"
    yield f"{a}.lora_B.weight", f"{a}.lora_A.weight", ATTENTION, "unet"
    yield f"{a}.lora.up.weight", f"{a}.lora.down.weight", ATTENTION, "unet"
    yield f"{ATTENTION}.lora_B.default.weight", f"{ATTENTION}.lora_A.default.weight", ATTENTION, "unet"
    yield f"base_model.model.{CONV}.lora_B.weight", f"base_model.model.{CONV}.lora_A.weight", CONV, "unet"
    old = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.to_out_lora"
    yield f"{old}.up.weight", f"{old}.down.weight", OUT, "unet"
    ldm = "lora_unet_output_blocks_2_0_in_layers_2"  # up block 1, first of 2 resnets
    yield f"{ldm}.lora_up.weight", f"{ldm}.lora_down.weight", CONV, "unet"
    te = f"lora_te_text_model_{flat(TEXT)}"
    yield f"{te}.lora_up.weight", f"{te}.lora_down.weight", TEXT, "text_encoder"
    te = f"text_encoder.text_model.{TEXT}"
    yield f"{te}.lora_linear_layer.up.weight", f"{te}.lora_linear_layer.down.weight", TEXT, "text_encoder"


@pytest.mark.parametrize(("up_key", "down_key", "name", "part"), list(namings()))
def test_every_naming_changes_its_module(
    up_key: str, down_key: str, name: str, part: Part, tmp_path: Path, devices: Devices
) -> None:
    base = weight(recipe(part).module(devices), name)
    up, down = pair(base.shape)
    changed = weight(patched({up_key: up, down_key: down}, tmp_path, devices, part, by=0.5), name)
    torch.testing.assert_close(changed, base + 0.5 * delta(up, down, base.shape))
    assert lora_parts(tmp_path / "lora.safetensors") == {part}


@pytest.mark.parametrize("by", [1.0, -0.7])
def test_the_change_is_pefts_own_merge(by: float, tmp_path: Path, devices: Devices) -> None:
    net = UNet2DConditionModel.from_pretrained(
        FOLDER / "unet", local_files_only=True, torch_dtype=torch.float32
    )
    config = LoraConfig(
        r=RANK, lora_alpha=RANK * by, target_modules=["to_q", "to_v", "conv1"], init_lora_weights=False
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        learnt = get_peft_model(net, config)
    held = {key: value.clone() for key, value in get_peft_model_state_dict(learnt).items()}
    merged = dict(learnt.merge_and_unload().named_parameters())
    ours = dict(patched(held, tmp_path, devices, by=by).named_parameters())
    assert ours.keys() == merged.keys()
    for name, value in merged.items():
        torch.testing.assert_close(ours[name], value.detach(), rtol=1e-5, atol=1e-6)


def test_alpha_over_rank_scales_the_change(tmp_path: Path, devices: Devices) -> None:
    base = weight(recipe().module(devices), CONV)
    up, down = pair(base.shape)
    name = f"lora_unet_{flat(CONV)}"
    held = {
        f"{name}.lora_up.weight": up,
        f"{name}.lora_down.weight": down,
        f"{name}.alpha": torch.tensor(1.5),
    }
    changed = weight(patched(held, tmp_path, devices), CONV)
    torch.testing.assert_close(changed, base + 0.5 * delta(up, down, base.shape))


def test_a_core_between_two_1x1_convolutions_is_contracted(tmp_path: Path, devices: Devices) -> None:
    base = weight(recipe().module(devices), CONV)
    out, into, size, _ = base.shape
    up, mid, down = (
        torch.randn(out, RANK, 1, 1),
        torch.randn(RANK, RANK, size, size),
        torch.randn(RANK, into, 1, 1),
    )
    name = f"lora_unet_{flat(CONV)}"
    held = {f"{name}.lora_up.weight": up, f"{name}.lora_mid.weight": mid, f"{name}.lora_down.weight": down}
    changed = weight(patched(held, tmp_path, devices), CONV)
    x = torch.randn(1, into, 5, 5)
    conv = nn.functional.conv2d
    expected = conv(x, base) + conv(conv(conv(x, down), mid), up)
    torch.testing.assert_close(conv(x, changed), expected, rtol=1e-3, atol=1e-3)


def test_dora_keeps_the_magnitude_that_it_states(tmp_path: Path, devices: Devices) -> None:
    base = weight(recipe().module(devices), ATTENTION)
    up, down = pair(base.shape)
    magnitude = torch.rand(len(base), 1) + 1
    name = f"unet.{ATTENTION}"
    held = {f"{name}.lora_B.weight": up, f"{name}.lora_A.weight": down, f"{name}.dora_scale": magnitude}
    changed = weight(patched(held, tmp_path, devices), ATTENTION)
    torch.testing.assert_close(changed.norm(dim=1, keepdim=True), magnitude)
    direction = base + delta(up, down, base.shape)
    torch.testing.assert_close(changed, direction / direction.norm(dim=1, keepdim=True) * magnitude)


def test_whole_differences_of_weights_and_biases_are_added(tmp_path: Path, devices: Devices) -> None:
    base = recipe().module(devices)
    change = torch.randn(weight(base, CONV).shape)
    bias = dict(base.named_parameters())[f"{CONV}.bias"]
    held = {f"lora_unet_{flat(CONV)}.diff": change, f"lora_unet_{flat(CONV)}.diff_b": torch.ones(len(bias))}
    changed = patched(held, tmp_path, devices, by=0.5)
    torch.testing.assert_close(weight(changed, CONV), weight(base, CONV) + 0.5 * change)
    torch.testing.assert_close(dict(changed.named_parameters())[f"{CONV}.bias"], bias + 0.5)


def test_strangers_are_reported_and_the_rest_is_applied(
    tmp_path: Path, devices: Devices, caplog: pytest.LogCaptureFixture
) -> None:
    base = weight(recipe().module(devices), CONV)
    up, down = pair(base.shape)
    held = {f"lora_unet_{flat(CONV)}.lora_up.weight": up, f"lora_unet_{flat(CONV)}.lora_down.weight": down}
    held |= {
        "lora_unet_nowhere.lora_up.weight": up[:1].clone(),
        "lora_unet_nowhere.lora_down.weight": down[:1].clone(),
    }
    with caplog.at_level(logging.WARNING):
        changed = weight(patched(held, tmp_path, devices), CONV)
    assert not torch.equal(changed, base)
    assert "1 of 2 modules" in caplog.text
    assert "lora_unet_nowhere" in caplog.text


@pytest.mark.parametrize(
    "held",
    [
        {
            "lora_unet_nowhere.lora_up.weight": torch.ones(4, 2),
            "lora_unet_nowhere.lora_down.weight": torch.ones(2, 4),
        },
        {f"{ATTENTION}.lora_B.weight": torch.ones(7, 2), f"{ATTENTION}.lora_A.weight": torch.ones(2, 9)},
        {f"{ATTENTION}.lora_B.weight": torch.ones(128, 2)},
    ],
)
def test_a_lora_of_another_model_is_a_failure(
    held: dict[str, Tensor], tmp_path: Path, devices: Devices
) -> None:
    with pytest.raises(NodeFailure, match=r"the LoRA 'lora\.safetensors'") as caught:
        patched(held, tmp_path, devices)
    assert "another model family" in caught.value.hint


def test_a_file_without_pairs_is_no_lora(tmp_path: Path) -> None:
    save_file({"model.weight": torch.ones(2)}, tmp_path / "x.safetensors")
    with pytest.raises(NodeFailure, match="no LoRA"):
        lora_parts(tmp_path / "x.safetensors")


def test_changing_and_changing_back_leaves_the_base_as_it_was(tmp_path: Path, devices: Devices) -> None:
    base = recipe().module(devices)
    before = {name: p.clone() for name, p in base.named_parameters()}
    up, down = pair(weight(base, CONV).shape)
    held = {f"{CONV}.lora_B.weight": up, f"{CONV}.lora_A.weight": down}
    for i in range(1, 6):
        patched(held, tmp_path, devices, by=float(i))
    assert recipe().module(devices) is base
    assert all(torch.equal(p, before[name]) for name, p in base.named_parameters())
