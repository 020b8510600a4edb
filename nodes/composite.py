"""Laying one batch of planes over another, as pictures and latents do."""

import torch
import torch.nn.functional as F
from torch import Tensor

from nodes.diffusion.resize import repeated_to, resized_mask


def composited(
    destination: Tensor, source: Tensor, x: int, y: int, mask: Tensor | None, resize_source: bool
) -> Tensor:
    """The destination [B, C, H, W] with the source [B', C, h, w] laid over it at column x and row y.

    Args:
        mask: [N, h', w'], how opaque the source is; stretched over the source. None is opaque.
        resize_source: Stretch the source over the whole destination first.
    """
    batch, _, height, width = destination.shape
    if resize_source:
        source = F.interpolate(source, size=(height, width), mode="bilinear")
    x, y = min(x, width), min(y, height)
    shown_height, shown_width = min(source.shape[2], height - y), min(source.shape[3], width - x)
    if mask is None:
        opacity = torch.ones(1, 1, *source.shape[2:])
    else:
        opacity = resized_mask(mask, source.shape[3], source.shape[2])
    opacity = repeated_to(opacity, batch)[..., :shown_height, :shown_width].to(destination)
    above = repeated_to(source, batch)[..., :shown_height, :shown_width].to(destination)
    result = destination.clone()
    below = result[..., y : y + shown_height, x : x + shown_width]
    result[..., y : y + shown_height, x : x + shown_width] = above * opacity + below * (1 - opacity)
    return result
