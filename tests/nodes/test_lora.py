"""LoRA files in every naming, against peft's own merge and against the formulas."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.devices import Devices
from engine.problems import NodeFailure
from nodes.diffusion.lora import LoraPatch, LoraWeights
from nodes.diffusion.weights import Part, Recipe
from tests.nodes.ldm_files import save_sd1
from tests.nodes.storybook import FOLDER

ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
OUT = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0"
CONV = "up_blocks.1.resnets.0.conv1"
TEXT = "encoder.layers.0.self_attn.q_proj"
RANK = 3


@pytest.fixture(scope="module")
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


def saved(held: dict[str, Tensor], tmp_path: Path, by: float = 1.0) -> LoraPatch:
    save_file({key: value.contiguous() for key, value in held.items()}, tmp_path / "lora.safetensors")
    return LoraPatch(str(tmp_path), "lora.safetensors", by, tmp_path / "lora.safetensors")


def patched(
    held: dict[str, Tensor], tmp_path: Path, devices: Devices, part: Part = "unet", by: float = 1.0
) -> Any:
    return recipe(part).patched(saved(held, tmp_path, by)).module(devices)


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
    other: Part = "unet" if part == "text_encoder" else "text_encoder"
    patch = saved({up_key: up, down_key: down}, tmp_path)
    assert [patch.concerns(p) for p in (part, other, "text_encoder_2", "vae")] == [True, False, False, False]


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
        LoraPatch("x", "x.safetensors", 1.0, tmp_path / "x.safetensors").on(recipe())


def test_what_does_not_fit_is_named_with_its_shapes(tmp_path: Path, devices: Devices) -> None:
    held = {f"{ATTENTION}.lora_B.weight": torch.ones(7, 2), f"{ATTENTION}.lora_A.weight": torch.ones(2, 9)}
    shape = list(weight(recipe().module(devices), ATTENTION).shape)
    with pytest.raises(NodeFailure) as caught:
        patched(held, tmp_path, devices)
    assert f"does not fit {ATTENTION}, of shape {shape}" in caught.value.message
    assert f"down [2, 9], up [7, 2] under {ATTENTION}" in caught.value.message


def test_norms_and_biases_are_changed_where_the_network_has_them(tmp_path: Path, devices: Devices) -> None:
    name = "down_blocks.1.attentions.0.norm"
    before = dict(recipe().module(devices).named_parameters())
    ones = torch.ones(len(before[f"{name}.weight"]))
    held = {f"unet.{name}.w_norm": ones, f"unet.{name}.b_norm": 2 * ones}
    held |= {f"unet.{ATTENTION}.diff_b": torch.ones(4)}  # has no bias: left out, as any stranger
    after = dict(patched(held, tmp_path, devices, by=0.5).named_parameters())
    torch.testing.assert_close(after[f"{name}.weight"], before[f"{name}.weight"] + 0.5)
    torch.testing.assert_close(after[f"{name}.bias"], before[f"{name}.bias"] + 1.0)


LAYER = "encoder.layers.0.mlp.fc1"
FLAT = "text_model_encoder_layers_0_mlp_fc1"


@pytest.mark.parametrize(
    ("module", "first", "second", "alone"),
    [
        (f"lora_te_{FLAT}", True, False, True),
        (f"lora_te1_{FLAT}", True, False, True),
        (f"lora_te2_{FLAT}", False, True, True),
        (f"text_encoder.text_model.{LAYER}", True, False, True),
        (f"text_encoder_2.text_model.{LAYER}", False, True, True),
        (f"text_encoders.clip_l.transformer.text_model.{LAYER}", True, False, True),
        (f"text_encoders.clip_h.transformer.text_model.{LAYER}", True, False, True),
        (f"text_encoders.clip_g.transformer.text_model.{LAYER}", False, True, True),
        ("lora_te2_text_projection", False, True, True),
        (f"lora_te3_{FLAT}", False, False, False),
        (f"text_encoders.t5xxl.{LAYER}", False, False, False),
    ],
)
def test_each_text_encoder_is_changed_by_its_own_names(
    module: str, first: bool, second: bool, alone: bool
) -> None:
    target = "text_projection" if module.endswith("projection") else LAYER
    up, down = torch.ones(4, 1), torch.ones(1, 4)
    held = {f"{module}.lora_up.weight": up, f"{module}.lora_down.weight": down}
    weights = {f"text_model.{LAYER}.weight": torch.zeros(4, 4), "text_projection.weight": torch.zeros(4, 4)}
    networks: list[tuple[Part, bool, bool]] = [
        ("text_encoder", False, first),
        ("text_encoder_2", False, second),
        ("text_encoder_2", True, alone),
        ("unet", False, False),
    ]
    for part, only, expected in networks:
        patch = LoraPatch("d", "x", 1.0, held, only)
        assert patch.concerns(part) == expected
        changed = patch.changed(part, weights) if expected else {}
        assert [name for name in changed if target in name] == list(changed)
        assert bool(changed) == expected


def test_only_a_second_encoder_depends_on_being_the_only_one() -> None:
    module = f"lora_te_{FLAT}"
    held = {f"{module}.lora_up.weight": torch.ones(4, 1), f"{module}.lora_down.weight": torch.ones(1, 4)}
    patch = LoraPatch("d", "x", 1.0, held, alone=True)
    assert patch.on(recipe("text_encoder")) == replace(patch, alone=False).on(recipe("text_encoder"))
    second = recipe("text_encoder_2")
    assert patch.on(second).patches == (patch,)
    assert replace(patch, alone=False).on(second) == second


def test_keys_of_no_known_kind_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    held = {f"{ATTENTION}.diff": torch.ones(1), f"{ATTENTION}.magic": torch.ones(1)}
    held |= {"bundle_emb.cat.string_to_param.*": torch.ones(1, 4)}
    assert LoraPatch("d", "x", 1.0, held).concerns("unet")
    assert f"1 keys are of no known kind, first {ATTENTION}.magic" in caplog.text


def test_patches_are_equal_by_content_strength_and_meaning() -> None:
    held = {"a.lora_up.weight": torch.ones(2, 1), "a.lora_down.weight": torch.ones(1, 2)}
    patch = LoraPatch("digest", "a", 1.0, held)
    assert patch == LoraPatch("digest", "another name", 1.0, Path("elsewhere"))
    assert hash(patch) == hash(LoraPatch("digest", "another name", 1.0, Path("elsewhere")))
    assert len({patch, LoraPatch("other", "a", 1.0, held), LoraPatch("digest", "a", 0.5, held)}) == 3


def test_a_lora_in_memory_is_known_by_its_content() -> None:
    held = {"a.alpha": torch.tensor(1.0), "a.diff": torch.ones(2, 3, dtype=torch.bfloat16).T}
    lora = LoraWeights.from_plain(held)
    assert lora == LoraWeights.from_plain(dict(reversed(held.items())))
    assert lora != LoraWeights.from_plain(held | {"a.diff": torch.ones(2, 3, dtype=torch.bfloat16)})
    assert lora != LoraWeights.from_plain(held | {"a.alpha": torch.tensor(2.0)})
    assert torch.equal(lora.as_plain()["a.diff"], held["a.diff"])
    for wrong in ([], {"a": 1}, "lora"):
        with pytest.raises(NodeFailure, match="dict of tensors"):
            LoraWeights.from_plain(wrong)


def test_200_loras_one_after_another_leave_memory_flat_and_the_base_as_it_was(tmp_path: Path) -> None:
    save_sd1(tmp_path / "base.safetensors")
    budget = 60_000_000  # the base and a few variants
    devices = Devices("cpu", budget)
    base = Recipe("base", "text_encoder", "stable_diffusion", tmp_path / "base.safetensors")
    before = {name: p.clone() for name, p in base.module(devices).named_parameters()}
    changing = {name: p for name, p in before.items() if p.ndim == 2}
    size = sum(p.nbytes for p in changing.values())
    process, draw = psutil.Process(), torch.Generator().manual_seed(0)
    held = {}
    for name, p in changing.items():
        module = f"text_encoder.{name.removesuffix('.weight')}"
        held[f"{module}.lora_B.weight"] = torch.randn(p.shape[0], 2, generator=draw)
        held[f"{module}.lora_A.weight"] = torch.randn(2, p.shape[1], generator=draw)
    taken = []
    for i in range(200):
        variant = base.patched(LoraPatch(f"lora {i}", f"lora {i}", 1.0 + 1e-3 * i, held)).module(devices)
        taken.append(process.memory_info().rss)
    left = dict(variant.named_parameters())
    assert all(not torch.equal(left[name], before[name]) for name in changing)
    assert 200 * size > 20 * budget  # so that keeping them all would show
    assert max(taken[100:]) - max(taken[20:100]) < budget
    assert all(torch.equal(p, before[name]) for name, p in base.module(devices).named_parameters())
    del variant, left
    assert devices.free() <= budget + size
