"""Filters and blends of pictures: blur, sharpen, quantize, morphology, noise."""

import math
from collections.abc import Callable
from typing import Annotated, Literal, TypeAlias

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.node import node
from engine.ports import Range
from engine.problems import NodeFailure
from nodes.image import scaled, with_channels
from nodes.image_files import pictures
from nodes.ports import Fraction, Image, Seed

Radius: TypeAlias = Annotated[int, Range(1, 31, step=1)]


def _soft_light(below: Tensor, above: Tensor) -> Tensor:
    """W3C compositing: darkens where `above` is below one half, lightens elsewhere."""
    lightened = torch.where(below <= 0.25, ((16 * below - 12) * below + 4) * below, below.clamp(min=0).sqrt())
    return torch.where(
        above <= 0.5,
        below - (1 - 2 * above) * below * (1 - below),
        below + (2 * above - 1) * (lightened - below),
    )


BLENDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "normal": lambda _, above: above,
    "multiply": lambda below, above: below * above,
    "screen": lambda below, above: 1 - (1 - below) * (1 - above),
    "overlay": lambda below, above: torch.where(
        below <= 0.5, 2 * below * above, 1 - 2 * (1 - below) * (1 - above)
    ),
    "soft_light": _soft_light,
    "difference": lambda below, above: below - above,
}
"""What a blend of two pictures shows at full strength, by name."""


@node("ImageBlend", category="image/postprocessing")
def image_blend(
    *,
    image1: Image,
    image2: Image,
    blend_factor: Fraction = 0.5,
    blend_mode: Literal["normal", "multiply", "screen", "overlay", "soft_light", "difference"],
) -> Image:
    """Blend two pictures; the result is cut to 0..1.

    Args:
        image1: The picture below, which sets the size and the channels.
        image2: The picture above; cut and scaled to the size of the first.
        blend_factor: 0 shows the first alone, 1 the full blend.
        blend_mode: How the two are combined.
    """
    image2 = with_channels(image2, image1.shape[-1])
    if image1.shape[1:] != image2.shape[1:]:
        image2 = scaled(image2, image1.shape[2], image1.shape[1], "bicubic", "center")
    blended = BLENDS[blend_mode](image1, image2)
    return (image1 * (1 - blend_factor) + blended * blend_factor).clamp(0, 1)


@node("ImageBlur", category="image/postprocessing")
def image_blur(
    *, image: Image, blur_radius: Radius = 1, sigma: Annotated[float, Range(0.1, 10.0, step=0.1)] = 1.0
) -> Image:
    """Blur pictures with a Gaussian kernel.

    Args:
        image: The pictures.
        blur_radius: Pixels from the kernel's middle to its edge.
        sigma: Standard deviation, in units of the radius.
    """
    return _filtered(image, _gaussian(blur_radius, sigma))


@node("ImageSharpen", category="image/postprocessing")
def image_sharpen(
    *,
    image: Image,
    sharpen_radius: Radius = 1,
    sigma: Annotated[float, Range(0.1, 10.0, step=0.01)] = 1.0,
    alpha: Annotated[float, Range(0.0, 5.0, step=0.01)] = 1.0,
) -> Image:
    """Sharpen pictures: add their difference from a blurred copy, ten times alpha.

    Args:
        image: The pictures.
        sharpen_radius: Pixels from the blur's middle to its edge.
        sigma: Standard deviation of the blur, in units of the radius.
        alpha: Strength; 0 changes nothing.
    """
    kernel = _gaussian(sharpen_radius, sigma) * (-10 * alpha)
    kernel[sharpen_radius, sharpen_radius] += 1 - kernel.sum()
    return _filtered(image, kernel).clamp(0, 1)


def _gaussian(radius: int, sigma: float) -> Tensor:
    """A kernel [2r + 1, 2r + 1] that sums to 1, on coordinates from -1 to 1."""
    x = torch.linspace(-1, 1, 2 * radius + 1)
    kernel = torch.exp(-(x[:, None] ** 2 + x**2) / (2 * sigma * sigma))
    return kernel / kernel.sum()


def _filtered(image: Tensor, kernel: Tensor) -> Tensor:
    """Each channel convolved with a square kernel, the borders mirrored."""
    radius, channels = kernel.shape[0] // 2, image.shape[-1]
    if radius >= min(image.shape[1:3]):
        raise NodeFailure(
            f"a radius of {radius} needs pictures of at least {radius + 1} pixels", "lower the radius"
        )
    padded = F.pad(image.movedim(-1, 1), (radius,) * 4, mode="reflect")
    kernels = kernel.to(image).expand(channels, 1, -1, -1)
    return F.conv2d(padded, kernels, groups=channels).movedim(1, -1)


@node("ImageQuantize", category="image/postprocessing")
def image_quantize(
    *,
    image: Image,
    colors: Annotated[int, Range(1, 256, step=1)] = 256,
    dither: Literal["none", "floyd-steinberg", "bayer-2", "bayer-4", "bayer-8", "bayer-16"],
) -> Image:
    """Reduce each picture to a palette of its own, found by median cut.

    Args:
        image: The pictures.
        colors: Size of the palette.
        dither: How colours outside the palette are imitated; "bayer-n" is an ordered pattern of n x n.
    """
    quantized = [_quantized(picture.convert("RGB"), colors, dither) for picture in pictures(image)]
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in quantized])).float() / 255


def _quantized(picture: PIL.Image.Image, colors: int, dither: str) -> PIL.Image.Image:
    palette = picture.quantize(colors)
    diffuse = PIL.Image.Dither.FLOYDSTEINBERG if dither == "floyd-steinberg" else PIL.Image.Dither.NONE
    if dither.startswith("bayer"):
        entries = palette.getpalette()
        assert entries is not None  # a quantized picture has a palette
        spread = 2 * 256 / (len(entries) // 3)
        pattern = spread * _bayer(int(dither.removeprefix("bayer-"))) + 0.5
        rows, columns = np.indices((picture.height, picture.width)) % len(pattern)
        shifted = np.asarray(picture, dtype=np.float32) + pattern[rows, columns, None]
        picture = PIL.Image.fromarray(shifted.clip(0, 255).astype(np.uint8))
    return picture.quantize(colors, palette=palette, dither=diffuse).convert("RGB")


def _bayer(order: int) -> np.ndarray:  # type: ignore[type-arg]
    """The threshold matrix [order, order] of ordered dithering (Bayer 1973), centred on 0 and within ±1/2."""
    matrix = np.zeros((1, 1), dtype=np.float32)
    for level in range(1, int(math.log2(order)) + 1):
        finer = matrix * 4**level
        matrix = np.block([[finer - 1.5, finer + 0.5], [finer + 1.5, finer - 0.5]]) / 4**level
    return matrix.astype(np.float32)


@node("Morphology", category="image/postprocessing", title="ImageMorphology", version=2)
def morphology(
    *,
    image: Image,
    operation: Literal["erode", "dilate", "open", "close", "gradient", "bottom_hat", "top_hat"],
    kernel_size: Annotated[int, Range(3, 999, step=1)] = 3,
) -> Image:
    """Grey morphology with a square: the least or greatest value around each pixel, and what is made of them.

    Args:
        image: The pictures.
        operation: "open" erodes and dilates, "close" the reverse; "gradient" is dilated less eroded,
            "bottom_hat" closed less the picture, "top_hat" the picture less opened.
        kernel_size: Side of the square, in pixels.
    """
    dilated, eroded = _dilated(image, kernel_size), _eroded(image, kernel_size)
    results: dict[str, Callable[[], Tensor]] = {
        "erode": lambda: eroded,
        "dilate": lambda: dilated,
        "open": lambda: _dilated(eroded, kernel_size),
        "close": lambda: _eroded(dilated, kernel_size),
        "gradient": lambda: dilated - eroded,
        "bottom_hat": lambda: _eroded(dilated, kernel_size) - image,
        "top_hat": lambda: image - _dilated(eroded, kernel_size),
    }
    return results[operation]()


def _dilated(image: Tensor, size: int) -> Tensor:
    return _greatest(image, (size - 1) // 2, size // 2)


def _eroded(image: Tensor, size: int) -> Tensor:
    return -_greatest(-image, size // 2, (size - 1) // 2)  # mirrored: opening by an even square moves nothing


def _greatest(image: Tensor, before: int, after: int) -> Tensor:
    """The greatest value of `before` pixels up and left of each pixel to `after` down and right."""
    planes = F.pad(image.movedim(-1, 1), (before, after, before, after), value=-torch.inf)
    size = before + 1 + after
    return F.max_pool2d(F.max_pool2d(planes, (1, size), stride=1), (size, 1), stride=1).movedim(1, -1)


@node("ImageAddNoise", category="image")
def image_add_noise(*, image: Image, seed: Seed = 0, strength: Fraction = 0.5) -> Image:
    """Add Gaussian noise to pictures; the result is cut to 0..1.

    Args:
        image: The pictures.
        seed: Of the noise.
        strength: Standard deviation of the noise.
    """
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed)).to(image)
    return (image + strength * noise).clamp(0, 1)
