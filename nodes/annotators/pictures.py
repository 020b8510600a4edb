"""Pictures as detectors see them: 8-bit arrays, scaled to a resolution and padded to multiples of 64."""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.steps import Progress, Steps

Pixels: TypeAlias = npt.NDArray[Any]  # [H, W, C], uint8
Draw: TypeAlias = Callable[[Pixels], Pixels]

PAD = 64


def pictures(image: Tensor) -> Iterator[Pixels]:
    """The items of a batch [B, H, W, C] in 0..1 as bytes; fractions are cut off, as the ecosystem does."""
    for picture in image:
        yield (picture.float().cpu() * 255.0).clamp(0, 255).numpy().astype(np.uint8)


def as_image(pixels: Pixels) -> Tensor:
    """Bytes [H, W, C], or floats in 0..1, as a picture [H, W, C] in 0..1."""
    whole = 255.0 if pixels.dtype == np.uint8 else 1.0
    return torch.from_numpy(pixels.astype(np.float32) / whole)


def drawn(image: Tensor, draw: Draw) -> Tensor:
    """Every item of a batch drawn anew; results have one size, as the items have."""
    return torch.stack([as_image(draw(picture)) for picture in pictures(image)])


def drawn_in_steps(image: Tensor, draw: Draw) -> Steps[Tensor]:
    """As `drawn`, with progress after each item."""
    results: list[Tensor] = []
    for done, picture in enumerate(pictures(image), 1):
        results.append(as_image(draw(picture)))
        yield Progress(done, len(image))
    return torch.stack(results)


def rgb(pixels: Pixels) -> Pixels:
    """Bytes [H, W] or [H, W, 1, 3 or 4] with three channels; what is transparent becomes white."""
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    if pixels.shape[2] == 4:
        alpha = pixels[:, :, 3:].astype(np.float32) / 255.0
        blended: Pixels = pixels[:, :, :3].astype(np.float32) * alpha + 255.0 * (1.0 - alpha)
        pixels = blended.clip(0, 255).astype(np.uint8)
    return pixels[:, :, :3]


def scaled(pixels: Pixels, resolution: int, enlarge: str = "INTER_CUBIC") -> Pixels:
    """A picture whose shorter side is `resolution`, by area averages where it shrinks.

    Args:
        enlarge: How it grows, as OpenCV names it.
    """
    import cv2

    pixels = rgb(pixels)
    height, width = pixels.shape[:2]
    factor = resolution / min(height, width)
    size = round(width * factor), round(height * factor)
    how: int = getattr(cv2, enlarge) if factor > 1 else cv2.INTER_AREA
    found: Pixels = cv2.resize(pixels, size, interpolation=how)
    return found


def at_resolution(resolution: int, draw: Draw, enlarge: str = "INTER_CUBIC") -> Draw:
    """`draw` applied to a picture scaled to `resolution` and padded by its edges to multiples of 64.

    The result has three channels and the size of the scaled picture, without the padding.
    """

    def whole(picture: Pixels) -> Pixels:
        small = scaled(picture, resolution, enlarge)
        height, width = small.shape[:2]
        padded = np.pad(small, ((0, -height % PAD), (0, -width % PAD), (0, 0)), mode="edge")
        return rgb(draw(padded)[:height, :width])

    return whole
