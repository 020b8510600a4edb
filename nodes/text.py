"""Prompts to conditionings, and arithmetic of conditionings."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.files import WEIGHT_SUFFIXES, Files
from engine.node import node
from engine.ports import Given, Hint, Range
from engine.steps import Steps
from nodes.diffusion.inversion import ROLE, inversion_file, inversion_vectors
from nodes.diffusion.prompt import inversions
from nodes.diffusion.text import Clip
from nodes.ports import Cond, Conditioning, Fraction, Mask

logger = logging.getLogger(__name__)

Strength = Annotated[float, Range(0.0, 10.0, step=0.01)]
Side = Annotated[int, Range(64, 16384, step=8)]
Offset = Annotated[int, Range(0, 16384, step=8)]
Share = Annotated[float, Range(0.0, 1.0, step=0.001)]


def inversions_digest(*, text: str | None = None, files: Files) -> str:
    """The content of the textual inversions that a prompt names; of all where the prompt comes by a link."""
    if text is None:
        return " ".join(f"{name}={files.digest(ROLE, name)}" for name in files.names(ROLE, WEIGHT_SUFFIXES))
    named = {
        name: inversion_file(files, name) for word in inversions(text) for name in (word, word.rstrip(","))
    }
    return " ".join(f"{name}={found and files.digest(ROLE, found)}" for name, found in sorted(named.items()))


@node(
    "CLIPTextEncode",
    category="conditioning",
    title="CLIP Text Encode (Prompt)",
    version=2,
    fingerprint=inversions_digest,
)
def clip_text_encode(
    *,
    text: Annotated[str, Hint("multiline"), Hint("dynamicPrompts")],
    clip: Clip,
    files: Annotated[Files, Given()],
) -> Steps[Conditioning]:
    """Encode a prompt.

    Args:
        text: What to paint: (words) weigh 1.1, (words:1.3) weigh 1.3, embedding:name is a textual inversion.
        clip: The text encoder of the checkpoint.

    Returns:
        One entry of [1, 77 n, C], n the number of 75-token chunks.
    """

    return (yield from clip.encoded(text, partial(inversion_vectors, files)))


@node("CLIPSetLastLayer", category="conditioning", title="CLIP Set Last Layer")
def clip_set_last_layer(
    *, clip: Clip, stop_at_clip_layer: Annotated[int, Range(-24, -1, step=1)] = -1
) -> Clip:
    """Take the text encoder's output from an earlier layer (clip skip).

    Args:
        clip: The text encoder.
        stop_at_clip_layer: -1 is the last layer, -2 the one before it.
    """
    return clip.ending_at(stop_at_clip_layer)


@node("ConditioningCombine", category="conditioning", title="Conditioning (Combine)")
def conditioning_combine(*, conditioning_1: Conditioning, conditioning_2: Conditioning) -> Conditioning:
    """Use two conditionings at once: their predictions are averaged.

    Args:
        conditioning_1: Its entries come first.
        conditioning_2: Its entries come after them.
    """
    return Conditioning((*conditioning_1.entries, *conditioning_2.entries))


@node("ConditioningConcat", category="conditioning", title="Conditioning (Concat)")
def conditioning_concat(*, conditioning_to: Conditioning, conditioning_from: Conditioning) -> Conditioning:
    """Append the tokens of one prompt to those of another.

    Args:
        conditioning_to: Keeps its options; each entry grows.
        conditioning_from: Its first entry is appended.
    """
    appended = _first(conditioning_from, "conditioning_from").embedding
    return _embedded(conditioning_to, lambda entry: torch.cat([entry.embedding, appended], dim=1))


@node("ConditioningAverage", category="conditioning", title="ConditioningAverage")
def conditioning_average(
    *,
    conditioning_to: Conditioning,
    conditioning_from: Conditioning,
    conditioning_to_strength: Fraction = 1.0,
) -> Conditioning:
    """Mix the embeddings of two prompts, token by token.

    Args:
        conditioning_to: Keeps its options and its length.
        conditioning_from: Its first entry is mixed in, cut or filled with zeros to that length.
        conditioning_to_strength: 1 keeps the first prompt, 0 takes the second.
    """
    other = _first(conditioning_from, "conditioning_from")
    w = conditioning_to_strength

    def mixed(entry: Cond) -> Cond:
        length = entry.embedding.shape[1]
        theirs = F.pad(other.embedding[:, :length], (0, 0, 0, max(0, length - other.embedding.shape[1])))
        pooled = entry.pooled if entry.pooled is not None else other.pooled
        if pooled is not None and other.pooled is not None:
            pooled = pooled * w + other.pooled * (1.0 - w)
        return Cond(entry.embedding * w + theirs * (1.0 - w), pooled, entry.options)

    return conditioning_to.mapped(mixed)


@node("ConditioningZeroOut", category="advanced/conditioning", title="ConditioningZeroOut")
def conditioning_zero_out(*, conditioning: Conditioning) -> Conditioning:
    """Replace the embeddings by zeros.

    Args:
        conditioning: Keeps its options.
    """

    def zeroed(entry: Cond) -> Cond:
        pooled = None if entry.pooled is None else torch.zeros_like(entry.pooled)
        return Cond(torch.zeros_like(entry.embedding), pooled, entry.options)

    return conditioning.mapped(zeroed)


@node("ConditioningSetArea", category="conditioning", title="Conditioning (Set Area)")
def conditioning_set_area(
    *,
    conditioning: Conditioning,
    width: Side = 64,
    height: Side = 64,
    x: Offset = 0,
    y: Offset = 0,
    strength: Strength = 1.0,
) -> Conditioning:
    """Let a prompt act in a rectangle only.

    Args:
        conditioning: Gets the area in place of the one that it has.
        width: In pixels, cut to a multiple of 8.
        height: In pixels, cut to a multiple of 8.
        x: Left edge in pixels, cut to a multiple of 8.
        y: Upper edge in pixels, cut to a multiple of 8.
        strength: Its weight where it meets other prompts.
    """
    area = (height // 8, width // 8, y // 8, x // 8)
    return _optioned(conditioning, area=area, strength=strength, set_area_to_bounds=False)


@node(
    "ConditioningSetAreaPercentage",
    category="conditioning",
    title="Conditioning (Set Area with Percentage)",
)
def conditioning_set_area_percentage(
    *,
    conditioning: Conditioning,
    width: Fraction = 1.0,
    height: Fraction = 1.0,
    x: Fraction = 0,
    y: Fraction = 0,
    strength: Strength = 1.0,
) -> Conditioning:
    """Let a prompt act in a rectangle only, given as shares of the picture.

    Args:
        conditioning: Gets the area in place of the one that it has.
        width: Share of the picture's width.
        height: Share of the picture's height.
        x: Left edge, as a share of the width.
        y: Upper edge, as a share of the height.
        strength: Its weight where it meets other prompts.
    """
    area = ("percentage", height, width, y, x)
    return _optioned(conditioning, area=area, strength=strength, set_area_to_bounds=False)


@node("ConditioningSetAreaStrength", category="conditioning", title="ConditioningSetAreaStrength")
def conditioning_set_area_strength(*, conditioning: Conditioning, strength: Strength = 1.0) -> Conditioning:
    """Set the weight of a prompt where it meets other prompts.

    Args:
        conditioning: Gets the weight in place of the one that it has.
        strength: 1 is the usual weight.
    """
    return _optioned(conditioning, strength=strength)


@node("ConditioningSetMask", category="conditioning", title="Conditioning (Set Mask)")
def conditioning_set_mask(
    *,
    conditioning: Conditioning,
    mask: Mask,
    strength: Strength = 1.0,
    set_cond_area: Literal["default", "mask bounds"],
) -> Conditioning:
    """Let a prompt act where a mask says, and as strongly.

    Args:
        conditioning: Gets the mask in place of the one that it has.
        mask: [B, H, W] or [H, W], stretched over the picture.
        strength: Factor on the mask.
        set_cond_area: "mask bounds" shows the model only the rectangle around the mask.
    """
    bounds = set_cond_area != "default"
    masks = mask if mask.ndim > 2 else mask[None]
    return _optioned(conditioning, mask=masks, mask_strength=strength, set_area_to_bounds=bounds)


@node("ConditioningSetTimestepRange", category="advanced/conditioning", title="ConditioningSetTimestepRange")
def conditioning_set_timestep_range(
    *, conditioning: Conditioning, start: Share = 0.0, end: Share = 1.0
) -> Conditioning:
    """Let a prompt act in a part of the sampling only.

    Args:
        conditioning: Gets the range in place of the one that it has.
        start: Share of the sampling after which it begins.
        end: Share of the sampling after which it ends.
    """
    return _optioned(conditioning, start_percent=start, end_percent=end)


def _optioned(conditioning: Conditioning, **options: object) -> Conditioning:
    return conditioning.mapped(lambda entry: entry.with_options(**options))


def _embedded(conditioning: Conditioning, embedding: Callable[[Cond], Tensor]) -> Conditioning:
    return conditioning.mapped(lambda entry: Cond(embedding(entry), entry.pooled, entry.options))


def _first(conditioning: Conditioning, port: str) -> Cond:
    if len(conditioning.entries) > 1:
        logger.warning("%s has %d entries; only the first is used", port, len(conditioning.entries))
    return conditioning.entries[0]
