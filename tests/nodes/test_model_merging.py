"""Merges and scaled attention, by the weights that they give; the ratios are ComfyUI's, as measured."""

from collections.abc import Mapping
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from engine.devices import Devices
from engine.problems import NodeFailure
from nodes import model_merging as merging
from nodes.diffusion.families.ldm import unet_keys
from nodes.diffusion.merging import MergePatch, ScalePatch, Share
from nodes.diffusion.model import Model
from nodes.diffusion.text import Clip, Tower
from nodes.diffusion.weights import Part, Recipe
from tests.nodes.networks import Ready, tiny_model
from tests.nodes.storybook import FOLDER

DEVICES = Devices("cpu")
ONE = Recipe("storybook", "unet", "stable_diffusion", FOLDER)


def other(network: nn.Module, name: str = "other") -> Any:
    """A recipe for a network that is already there."""
    return cast(Any, Ready(name, network))


def randomised(network: nn.Module, seed: int = 1) -> nn.Module:
    """The same network with other weights."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in network.parameters():
            value.copy_(torch.randn(value.shape, generator=draw))
    return network


def pair() -> tuple[dict[str, Tensor], nn.Module]:
    """The weights of a tiny UNet, and the same UNet with other weights."""
    first = dict(tiny_model().recipe.module(DEVICES).named_parameters())
    return first, randomised(tiny_model().recipe.module(DEVICES))


def mixed(*shares: Share, weights: Mapping[str, Tensor], second: nn.Module, part: Part = "unet") -> Any:
    return MergePatch(other(second), shares, DEVICES).changed(part, weights)


def test_a_ratio_is_the_share_of_the_first() -> None:
    first, second = pair()
    theirs = dict(second.named_parameters())
    got = mixed(Share.of(0.3), weights=first, second=second)
    assert got.keys() == first.keys()
    for name, value in got.items():
        torch.testing.assert_close(value, 0.3 * first[name] + 0.7 * theirs[name])


def test_adding_a_difference_of_models_to_one_gives_the_other() -> None:
    first, second = pair()
    theirs = dict(second.named_parameters())
    difference = mixed(Share("", 1.0, -1.0), weights=theirs, second=tiny_model().recipe.module(DEVICES))
    network = tiny_model().recipe.module(DEVICES)
    network.load_state_dict(difference)
    total = mixed(Share("", 1.0, 1.0), weights=first, second=network)
    for name, value in total.items():
        torch.testing.assert_close(value, theirs[name])


def share_of(name: str, shares: list[Share]) -> float:
    return MergePatch(other(nn.Identity()), tuple(shares), DEVICES)._share(name).own


def test_the_longest_beginning_counts_and_the_first_where_none_fits() -> None:
    sd1 = [Share.of(i / 100, name) for i, name in enumerate(merging._SD)]
    assert share_of("input_blocks.1.0.in_layers.2.weight", sd1) == merging._SD.index("input_blocks.1.") / 100
    assert share_of("input_blocks.10.0.op.weight", sd1) == merging._SD.index("input_blocks.10.") / 100
    assert share_of("weird.weight", sd1) == 0.0
    nested = [Share.of(0.1), Share.of(0.3, "input_blocks.1."), Share.of(0.2, "input")]
    assert [share_of(name, nested) for name in ("input_blocks.1.x", "input_blocks.2.x", "out.x")] == [
        0.3,
        0.2,
        0.1,
    ]
    sdxl = [Share.of(i / 100, name) for i, name in enumerate(merging._SDXL)]
    assert share_of("output_blocks.8.0.x", sdxl) == merging._SDXL.index("output_blocks.8") / 100
    assert share_of("out.2.bias", sdxl) == merging._SDXL.index("out.") / 100


def blocks(model: Model) -> list[Share]:
    (patch,) = model.recipe.patches
    assert isinstance(patch, MergePatch)
    return list(patch.shares)


def test_blocks_are_those_of_single_files_whatever_the_network_calls_them() -> None:
    first, second = pair()
    theirs = dict(second.named_parameters())
    model1, model2 = Model(ONE, DEVICES), Model(other(second), DEVICES)
    shares = blocks(merging.model_merge_blocks(model1=model1, model2=model2, input=0.8, middle=0.5, out=0.2))
    got = mixed(*shares, weights=first, second=second)
    files = unet_keys(first)
    for name, value in got.items():
        kind = files[name].split("_")[0].split(".")[0]
        ratio = {"input": 0.8, "time": 0.8, "middle": 0.5, "output": 0.2, "out": 0.2}[kind]
        torch.testing.assert_close(value, ratio * first[name] + (1 - ratio) * theirs[name], msg=name)


def test_a_block_at_1_is_left_as_it_is() -> None:
    first, second = pair()
    model1, model2 = Model(ONE, DEVICES), Model(other(second), DEVICES)
    ratios: dict[str, float] = dict.fromkeys(merging._SD, 1.0)
    merged = merging.model_merge_sd1(model1=model1, model2=model2, **(ratios | {"middle_block.1.": 0.5}))
    got = mixed(*blocks(merged), weights=first, second=second)
    assert got
    assert all(unet_keys(first)[name].startswith("middle_block.1.") for name in got)


def test_a_weight_of_another_shape_only_loses_its_share(caplog: pytest.LogCaptureFixture) -> None:
    first, second = pair()
    inpainting = first | {"conv_in.weight": torch.randn(32, 9, 3, 3)}
    got = mixed(Share.of(0.3), weights=inpainting, second=second)
    torch.testing.assert_close(got["conv_in.weight"], 0.3 * inpainting["conv_in.weight"])
    assert "1 weights have another shape" in caplog.text


def test_models_without_a_common_weight_are_refused() -> None:
    _first, second = pair()
    with pytest.raises(NodeFailure, match="no weight in common"):
        mixed(Share.of(0.3), weights={"elsewhere": torch.ones(2)}, second=second)


def test_merges_are_equal_by_what_they_compute() -> None:
    second = nn.Identity()
    first = Model(ONE, DEVICES)

    def merged(ratio: float, name: str = "other") -> Model:
        return merging.model_merge_simple(
            model1=first, model2=Model(other(second, name), Devices("cpu")), ratio=ratio
        )

    assert merged(0.5) == merged(0.5)
    assert hash(merged(0.5).recipe) == hash(merged(0.5).recipe)
    assert merged(0.5) != merged(0.4)
    assert merged(0.5) != merged(0.5, "another")


def clip(*names: str, recipe: Any = None) -> Clip:
    towers = [
        Tower(recipe or Recipe(n, "text_encoder", "stable_diffusion", FOLDER), FOLDER, cast(Any, n))
        for n in names
    ]
    return Clip(tuple(towers), DEVICES)


def test_encoders_of_one_kind_are_merged_with_each_other() -> None:
    merged = merging.clip_merge_simple(clip1=clip("l", "g"), clip2=clip("g"), ratio=0.6)
    first, second = merged.towers
    assert first.recipe.patches == ()
    (patch,) = second.recipe.patches
    assert patch == MergePatch(clip("g").towers[0].recipe, (Share("", 0.6, 0.4),), DEVICES)


def test_scaled_attention_is_that_of_its_kind_only() -> None:
    weights = dict(tiny_model().recipe.module(DEVICES).named_parameters())
    model = merging.unet_self_attention_multiply(model=Model(ONE, DEVICES), q=2.0, k=3.0, v=1.0, out=0.5)
    got = model.recipe.patches[0].changed("unet", weights)
    factors = {".attn1.to_q.weight": 2.0, ".attn1.to_k.weight": 3.0, ".attn1.to_out.0.weight": 0.5}
    factors |= {".attn1.to_out.0.bias": 0.5}
    for name, value in weights.items():
        factor = next((f for ending, f in factors.items() if name.endswith(ending)), 1.0)
        torch.testing.assert_close(got.get(name, value), value * factor)
    assert got


def test_temporal_attention_is_not_that_of_the_picture() -> None:
    inner = "transformer_blocks.0.attn1.to_out.0.weight"
    weights = {name: torch.ones(1) for name in (f"a.{inner}", f"a.temporal_{inner}")}
    model = merging.unet_temporal_attention_multiply(
        model=Model(ONE, DEVICES),
        self_structural=2.0,
        self_temporal=3.0,
        cross_structural=4.0,
        cross_temporal=5.0,
    )
    assert [float(v) for v in model.recipe.patches[0].changed("unet", weights).values()] == [2.0, 3.0]


def test_a_text_encoder_is_scaled_weight_and_bias() -> None:
    scaled = merging.clip_attention_multiply(clip=clip("l"), q=2.0, k=1.0, v=1.0, out=1.0)
    layer = "encoder.layers.0.self_attn.q_proj"
    weights = {f"{layer}.weight": torch.ones(1), f"{layer}.bias": torch.ones(1), "x.weight": torch.ones(1)}
    got = scaled.towers[0].recipe.patches[0].changed("text_encoder", weights)
    assert {name: float(v) for name, v in got.items()} == {f"{layer}.weight": 2.0, f"{layer}.bias": 2.0}
    assert ScalePatch((("q_proj", 2.0),)) == ScalePatch((("q_proj", 2.0),))


def test_a_merge_of_recipes_evaluates() -> None:
    twice = ONE.patched(MergePatch(ONE, (Share("", 1.0, 1.0),), DEVICES))
    base, merged = (dict(recipe.module(DEVICES).named_parameters()) for recipe in (ONE, twice))
    assert all(torch.equal(merged[name], 2 * value) for name, value in base.items())
