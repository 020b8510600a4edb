"""Nodes that change how a model's network computes, its weights staying as they are."""

from dataclasses import replace
from typing import Annotated, Literal, TypeAlias

from engine.node import node
from engine.ports import Range
from nodes.diffusion.model import Gated, Model
from nodes.diffusion.token_merging import Merged, Tiled
from nodes.diffusion.unet_patches import FreeU, Shrunk
from nodes.ports import Fraction

Factor: TypeAlias = Annotated[float, Range(0.0, 10.0, step=0.01)]
Percent: TypeAlias = Annotated[float, Range(0.0, 1.0, step=0.001)]
Resizing: TypeAlias = Literal["bicubic", "nearest-exact", "bilinear", "area", "bislerp"]
CATEGORY = "model_patches/unet"


@node("FreeU", category=CATEGORY)
def free_u(*, model: Model, b1: Factor = 1.1, b2: Factor = 1.2, s1: Factor = 0.9, s2: Factor = 0.2) -> Model:
    """Trust the decoder's backbone more and its skip connections less (Si et al. 2023).

    Args:
        model: The model.
        b1: Factor on half of the backbone's channels where it is widest.
        b2: The same where it has half as many channels.
        s1: Factor on the lowest frequencies of the skip connections that join the widest.
        s2: The same of those that join half as many channels.
    """
    return model.patched(FreeU((b1, b2), (s1, s2)))


@node("FreeU_V2", category=CATEGORY)
def free_u_v2(
    *, model: Model, b1: Factor = 1.3, b2: Factor = 1.4, s1: Factor = 0.9, s2: Factor = 0.2
) -> Model:
    """FreeU with backbone factors that follow the picture's structure (Si et al. 2023).

    Args:
        model: The model.
        b1: Largest factor on half of the backbone's channels where it is widest.
        b2: The same where it has half as many channels.
        s1: Factor on the lowest frequencies of the skip connections that join the widest.
        s2: The same of those that join half as many channels.
    """
    return model.patched(FreeU((b1, b2), (s1, s2), adaptive=True))


@node("HyperTile", category=CATEGORY)
def hyper_tile(
    *,
    model: Model,
    tile_size: Annotated[int, Range(1, 2048)] = 256,
    swap_size: Annotated[int, Range(1, 128)] = 2,
    max_depth: Annotated[int, Range(0, 10)] = 0,
    scale_depth: bool = False,
) -> Model:
    """Compute self-attention tile by tile: faster on large pictures, lossy (tfernd 2023).

    Args:
        model: The model.
        tile_size: Least side of a tile in pixels, 256 or more.
        swap_size: Among how many of the finest divisions one is drawn for each layer.
        max_depth: Tile layers that work at up to so many halvings of the size, too.
        scale_depth: Let tiles there span as many cells rather than as much of the picture.
    """
    return model.patched(Tiled(max(32, tile_size) // 8, swap_size, max_depth, scale_depth))


@node("TomePatchModel", category=CATEGORY)
def tome_patch_model(*, model: Model, ratio: Fraction = 0.3) -> Model:
    """Merge similar tokens in self-attention: faster on large pictures, lossy (Bolya & Hoffman 2023).

    Args:
        model: The model.
        ratio: Share of the tokens to merge.
    """
    return model.patched(Merged(ratio))


@node("PatchModelAddDownscale", category=CATEGORY, title="PatchModelAddDownscale (Kohya Deep Shrink)")
def patch_model_add_downscale(
    *,
    model: Model,
    block_number: Annotated[int, Range(1, 32, step=1)] = 3,
    downscale_factor: Annotated[float, Range(0.1, 9.0, step=0.001)] = 2.0,
    start_percent: Percent = 0.0,
    end_percent: Percent = 0.35,
    downscale_after_skip: bool = True,
    downscale_method: Resizing,
    upscale_method: Resizing,
) -> Model:
    """Let the deep layers work at another size while the picture's composition is laid out.

    Args:
        model: The model.
        block_number: The input block after which the size changes.
        downscale_factor: How many times smaller.
        start_percent: Share of the sampling at which this begins.
        end_percent: Share at which it ends.
        downscale_after_skip: Whether the block's skip connection keeps its size.
        downscale_method: How to make smaller.
        upscale_method: How to make larger again.
    """
    shrunk = Shrunk(block_number, downscale_factor, downscale_after_skip, downscale_method, upscale_method)
    space = model.sampling
    gated = Gated(shrunk, space.percent_to_sigma(start_percent), space.percent_to_sigma(end_percent))
    return replace(model, gated=(*model.gated, gated))
