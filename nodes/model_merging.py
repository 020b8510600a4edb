"""Merges of models and text encoders, and attention layers made stronger or weaker."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from engine.node import node
from engine.ports import Each, Range
from nodes.diffusion.merging import MergePatch, ScalePatch, Share
from nodes.diffusion.model import Model
from nodes.diffusion.text import Clip
from nodes.ports import Fraction

Multiplier = Annotated[float, Range(-10.0, 10.0, step=0.01)]
Factor = Annotated[float, Range(0.0, 10.0, step=0.01)]

_MERGING = "advanced/model_merging"
_SPECIFIC = "advanced/model_merging/model_specific"
_ATTENTION = "_for_testing/attention_experiments"
_ADD = Share("", 1.0, 1.0)


def _blocks(inputs: int, end: str) -> tuple[str, ...]:
    """The blocks of a UNet as its merge node names them."""
    return (
        *("time_embed.", "label_emb."),
        *(f"input_blocks.{i}{end}" for i in range(inputs)),
        *(f"middle_block.{i}{end}" for i in range(3)),
        *(f"output_blocks.{i}{end}" for i in range(inputs)),
        "out.",
    )


_SD = _blocks(12, ".")
_SDXL = _blocks(9, "")


def _merged(model1: Model, model2: Model, *shares: Share) -> Model:
    patch = MergePatch(model2.recipe, shares, model2.devices)
    return replace(model1, recipe=model1.recipe.patched(patch))


def _merged_clip(clip1: Clip, clip2: Clip, share: Share) -> Clip:
    """Each encoder of the first merged with that of the second of the same kind, where it has one."""
    others = {tower.name: tower.recipe for tower in clip2.towers}
    towers = [
        replace(
            tower,
            recipe=tower.recipe.patched(MergePatch(others[tower.name], (share,), clip2.devices))
            if tower.name in others
            else tower.recipe,
        )
        for tower in clip1.towers
    ]
    return replace(clip1, towers=tuple(towers))


@node("ModelMergeSimple", category=_MERGING)
def model_merge_simple(*, model1: Model, model2: Model, ratio: Fraction = 1.0) -> Model:
    """Mix the weights of two models of one family.

    Args:
        model1: Keeps what it has beside weights, such as its noise schedule.
        model2: The other model.
        ratio: Share of the first; 1 is the first alone, 0 the second.
    """
    return _merged(model1, model2, Share.of(ratio))


@node("ModelMergeBlocks", category=_MERGING)
def model_merge_blocks(
    *, model1: Model, model2: Model, input: Fraction = 1.0, middle: Fraction = 1.0, out: Fraction = 1.0
) -> Model:
    """Mix the weights of two models of one family, each third of the network at its own ratio.

    Args:
        model1: Keeps what it has beside weights, such as its noise schedule.
        model2: The other model.
        input: Share of the first in the encoding half, and in the embeddings of time and class.
        middle: Share of the first in the middle block.
        out: Share of the first in the decoding half.
    """
    ratios = {"input": input, "middle": middle, "out": out}
    return _merged(model1, model2, *(Share.of(ratio, name) for name, ratio in ratios.items()))


@node("ModelMergeAdd", category=_MERGING)
def model_merge_add(*, model1: Model, model2: Model) -> Model:
    """Add the weights of two models; of use where the second is a difference of models.

    Args:
        model1: Keeps what it has beside weights, such as its noise schedule.
        model2: What is added.
    """
    return _merged(model1, model2, _ADD)


@node("ModelMergeSubtract", category=_MERGING)
def model_merge_subtract(*, model1: Model, model2: Model, multiplier: Multiplier = 1.0) -> Model:
    """Take the difference of two models' weights.

    Args:
        model1: What is subtracted from.
        model2: What is subtracted.
        multiplier: Factor on the difference.
    """
    return _merged(model1, model2, Share("", multiplier, -multiplier))


@node("ModelMergeSD1", category=_SPECIFIC)
def model_merge_sd1(*, model1: Model, model2: Model, **blocks: Annotated[Fraction, Each(_SD, 1.0)]) -> Model:
    """Mix the weights of two Stable Diffusion 1.x models, each block at its own ratio.

    Args:
        model1: Keeps what it has beside weights, such as its noise schedule.
        model2: The other model.
        blocks: Share of the first in the block.
    """
    return _merged(model1, model2, *_shares(_SD, blocks))


@node("ModelMergeSD2", category=_SPECIFIC)
def model_merge_sd2(*, model1: Model, model2: Model, **blocks: Annotated[Fraction, Each(_SD, 1.0)]) -> Model:
    """Mix the weights of two Stable Diffusion 2.x models, each block at its own ratio.

    Args:
        model1: Keeps what it has beside weights, such as its noise schedule.
        model2: The other model.
        blocks: Share of the first in the block.
    """
    return _merged(model1, model2, *_shares(_SD, blocks))


@node("ModelMergeSDXL", category=_SPECIFIC)
def model_merge_sdxl(
    *, model1: Model, model2: Model, **blocks: Annotated[Fraction, Each(_SDXL, 1.0)]
) -> Model:
    """Mix the weights of two SDXL models, each block at its own ratio.

    Args:
        model1: Keeps what it has beside weights, such as its noise schedule.
        model2: The other model.
        blocks: Share of the first in the block.
    """
    return _merged(model1, model2, *_shares(_SDXL, blocks))


def _shares(names: Sequence[str], ratios: dict[str, float]) -> list[Share]:
    return [Share.of(ratios.get(name, 1.0), name) for name in names]


@node("CLIPMergeSimple", category=_MERGING)
def clip_merge_simple(*, clip1: Clip, clip2: Clip, ratio: Fraction = 1.0) -> Clip:
    """Mix the weights of two text encoders.

    Args:
        clip1: Keeps what it has beside weights, such as its clip skip.
        clip2: The other text encoder.
        ratio: Share of the first; 1 is the first alone, 0 the second.
    """
    return _merged_clip(clip1, clip2, Share.of(ratio))


@node("CLIPMergeAdd", category=_MERGING)
def clip_merge_add(*, clip1: Clip, clip2: Clip) -> Clip:
    """Add the weights of two text encoders; of use where the second is a difference of encoders.

    Args:
        clip1: Keeps what it has beside weights, such as its clip skip.
        clip2: What is added.
    """
    return _merged_clip(clip1, clip2, _ADD)


@node("CLIPMergeSubtract", category=_MERGING)
def clip_merge_subtract(*, clip1: Clip, clip2: Clip, multiplier: Multiplier = 1.0) -> Clip:
    """Take the difference of two text encoders' weights.

    Args:
        clip1: What is subtracted from.
        clip2: What is subtracted.
        multiplier: Factor on the difference.
    """
    return _merged_clip(clip1, clip2, Share("", multiplier, -multiplier))


@node("CLIPAttentionMultiply", category=_ATTENTION)
def clip_attention_multiply(
    *, clip: Clip, q: Factor = 1.0, k: Factor = 1.0, v: Factor = 1.0, out: Factor = 1.0
) -> Clip:
    """Scale the projections of a text encoder's attention.

    Args:
        clip: The text encoder.
        q: Factor on weights and biases of the queries.
        k: Likewise of the keys.
        v: Likewise of the values.
        out: Likewise of the outputs.
    """
    factors = {"q": q, "k": k, "v": v, "out": out}
    patch = ScalePatch(tuple((f"self_attn.{name}_proj", factor) for name, factor in factors.items()))
    return clip.recipes(lambda recipe: recipe.patched(patch))


@node("UNetSelfAttentionMultiply", category=_ATTENTION)
def unet_self_attention_multiply(
    *, model: Model, q: Factor = 1.0, k: Factor = 1.0, v: Factor = 1.0, out: Factor = 1.0
) -> Model:
    """Scale the projections of a model's attention to the picture itself.

    Args:
        model: The model.
        q: Factor on weights of the queries.
        k: Likewise of the keys.
        v: Likewise of the values.
        out: Factor on weights and biases of the outputs.
    """
    return _scaled(model, *_projections("attn1", q, k, v, out))


@node("UNetCrossAttentionMultiply", category=_ATTENTION)
def unet_cross_attention_multiply(
    *, model: Model, q: Factor = 1.0, k: Factor = 1.0, v: Factor = 1.0, out: Factor = 1.0
) -> Model:
    """Scale the projections of a model's attention to the prompt.

    Args:
        model: The model.
        q: Factor on weights of the queries.
        k: Likewise of the keys.
        v: Likewise of the values.
        out: Factor on weights and biases of the outputs.
    """
    return _scaled(model, *_projections("attn2", q, k, v, out))


@node("UNetTemporalAttentionMultiply", category=_ATTENTION)
def unet_temporal_attention_multiply(
    *,
    model: Model,
    self_structural: Factor = 1.0,
    self_temporal: Factor = 1.0,
    cross_structural: Factor = 1.0,
    cross_temporal: Factor = 1.0,
) -> Model:
    """Scale the outputs of a model's attention layers; models of still pictures have no temporal ones.

    Args:
        model: The model.
        self_structural: Factor on attention to the picture itself.
        self_temporal: Factor on attention to the same place at other times.
        cross_structural: Factor on attention to the prompt.
        cross_temporal: Factor on attention to the prompt across time.
    """
    factors = {"attn1": (self_structural, self_temporal), "attn2": (cross_structural, cross_temporal)}
    temporal = [(f"temporal_transformer_blocks.0.{a}.to_out.0", f) for a, (_, f) in factors.items()]
    return _scaled(model, *temporal, *((f"{a}.to_out.0", f) for a, (f, _) in factors.items()))


def _projections(attention: str, q: float, k: float, v: float, out: float) -> list[tuple[str, float]]:
    factors = {"to_q": q, "to_k": k, "to_v": v, "to_out.0": out}
    return [(f"{attention}.{name}", factor) for name, factor in factors.items()]


def _scaled(model: Model, *factors: tuple[str, float]) -> Model:
    return replace(model, recipe=model.recipe.patched(ScalePatch(factors)))
