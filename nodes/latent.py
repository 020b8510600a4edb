"""Making, scaling, combining and composing latents; sides at ports are in pixels, eight to a latent cell."""

from typing import Annotated, Literal, TypeAlias

import torch
from torch import Tensor

from engine.node import node
from engine.ports import Range
from nodes.composite import composited
from nodes.diffusion.resize import Crop, repeated_to, resized, slerp
from nodes.ports import Fraction, Latent, Mask

Method: TypeAlias = Literal["nearest-exact", "bilinear", "area", "bicubic", "bislerp"]
Offset: TypeAlias = Annotated[int, Range(0, 16384, step=8)]
Pixels: TypeAlias = Annotated[int, Range(16, 16384, step=8)]


@node("EmptyLatentImage", category="latent", title="Empty Latent Image")
def empty_latent_image(
    *, width: Pixels = 512, height: Pixels = 512, batch_size: Annotated[int, Range(1, 4096)] = 1
) -> Latent:
    """Make latents of zeros, to be filled with noise by a sampler.

    Args:
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        batch_size: How many pictures.
    """
    return Latent(torch.zeros(batch_size, 4, height // 8, width // 8))


@node("EmptySD3LatentImage", category="latent/sd3")
def empty_sd3_latent_image(
    *,
    width: Annotated[int, Range(16, 16384, step=16)] = 1024,
    height: Annotated[int, Range(16, 16384, step=16)] = 1024,
    batch_size: Annotated[int, Range(1, 4096)] = 1,
) -> Latent:
    """Make latents of zeros with 16 channels, as Stable Diffusion 3 and Flux have them.

    Args:
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        batch_size: How many pictures.
    """
    return Latent(torch.zeros(batch_size, 16, height // 8, width // 8))


@node("SetLatentNoiseMask", category="latent/inpaint", title="Set Latent Noise Mask")
def set_latent_noise_mask(*, samples: Latent, mask: Mask) -> Latent:
    """Let a sampler change only what is masked.

    Args:
        samples: The latents.
        mask: 1 = may change; of any size, it is stretched over the latent.
    """
    return Latent(samples.samples, mask.reshape(-1, 1, *mask.shape[-2:]), samples.batch_index)


@node("LatentUpscale", category="latent", title="Upscale Latent")
def latent_upscale(
    *, samples: Latent, upscale_method: Method, width: Offset = 512, height: Offset = 512, crop: Crop
) -> Latent:
    """Scale latents to a size.

    Args:
        samples: The latents.
        upscale_method: How cells are made; bislerp turns from one cell's vector to the next.
        width: Of the picture, in pixels, at least 64; 0 keeps the aspect ratio. Both 0 change nothing.
        height: Of the picture, likewise.
        crop: "center" cuts to the new aspect ratio first, "disabled" stretches.
    """
    if width == 0 and height == 0:
        return samples
    rows, columns = samples.samples.shape[-2:]
    wide, high = max(64, width), max(64, height)
    if width == 0:
        wide = max(64, round(columns * high / rows))
    elif height == 0:
        high = max(64, round(rows * wide / columns))
    return samples.with_samples(resized(samples.samples, wide // 8, high // 8, upscale_method, crop))


@node("LatentUpscaleBy", category="latent", title="Upscale Latent By")
def latent_upscale_by(
    *, samples: Latent, upscale_method: Method, scale_by: Annotated[float, Range(0.01, 8.0, step=0.01)] = 1.5
) -> Latent:
    """Scale latents by a factor.

    Args:
        samples: The latents.
        upscale_method: How cells are made.
        scale_by: New sides over old sides.
    """
    rows, columns = samples.samples.shape[-2:]
    size = round(columns * scale_by), round(rows * scale_by)
    return samples.with_samples(resized(samples.samples, *size, upscale_method))


@node("LatentBlend", category="_for_testing", title="Latent Blend")
def latent_blend(*, samples1: Latent, samples2: Latent, blend_factor: Fraction = 0.5) -> Latent:
    """Mix two latents linearly.

    Args:
        samples1: The first.
        samples2: The second; cut and scaled (bicubic) to the size of the first.
        blend_factor: Share of the first.
    """
    first = samples1.samples
    second = samples2.samples.to(first.device)
    if first.shape != second.shape:
        second = resized(second, first.shape[3], first.shape[2], "bicubic", "center")
    return samples1.with_samples(first * blend_factor + second * (1 - blend_factor))


def scaled_to(target: Tensor, samples: Tensor) -> Tensor:
    """The samples cut and scaled (bilinear) to the size of `target`, where that lies."""
    samples = samples.to(target.device)
    if samples.shape[1:] == target.shape[1:]:
        return samples
    return resized(samples, target.shape[3], target.shape[2], "bilinear", "center")


def _matched(target: Tensor, samples: Tensor) -> Tensor:
    """The samples in the size of `target` and repeated to its batch."""
    return repeated_to(scaled_to(target, samples), len(target))


@node("LatentInterpolate", category="latent/advanced")
def latent_interpolate(*, samples1: Latent, samples2: Latent, ratio: Fraction = 1.0) -> Latent:
    """Mix two latents: each cell's direction and its length are interpolated linearly, apart from each other.

    Args:
        samples1: The first.
        samples2: The second; scaled to the size of the first.
        ratio: Share of the first.
    """
    first = samples1.samples
    second = _matched(first, samples2.samples)
    first_norm, second_norm = first.norm(dim=1, keepdim=True), second.norm(dim=1, keepdim=True)
    mixed = (first / first_norm).nan_to_num() * ratio + (second / second_norm).nan_to_num() * (1 - ratio)
    unit = (mixed / mixed.norm(dim=1, keepdim=True)).nan_to_num()
    return samples1.with_samples(unit * (first_norm * ratio + second_norm * (1 - ratio)))


@node("LatentSlerp", category="latentgraph/latent", title="Spherical Latent Interpolation")
def latent_slerp(*, samples1: Latent, samples2: Latent, ratio: Fraction = 0.5) -> Latent:
    """Go from one latent to another on the sphere, each picture as one vector (Shoemake 1985).

    Noise stays noise on the way, which the straight line between two noises does not; so pictures made from
    the latents in between are as good as those from the ends.

    Args:
        samples1: The start.
        samples2: The end; scaled to the size of the start.
        ratio: 0 gives the start, 1 the end.
    """
    first = samples1.samples
    second = _matched(first, samples2.samples)
    turned = slerp(first.flatten(1), second.flatten(1), ratio, dim=1)
    return samples1.with_samples(turned.view_as(first))


@node("LatentAdd", category="latent/advanced")
def latent_add(*, samples1: Latent, samples2: Latent) -> Latent:
    """Add two latents.

    Args:
        samples1: The first.
        samples2: The second; scaled to the size of the first.
    """
    return samples1.with_samples(samples1.samples + _matched(samples1.samples, samples2.samples))


@node("LatentSubtract", category="latent/advanced")
def latent_subtract(*, samples1: Latent, samples2: Latent) -> Latent:
    """Subtract the second latent from the first.

    Args:
        samples1: The first.
        samples2: The second; scaled to the size of the first.
    """
    return samples1.with_samples(samples1.samples - _matched(samples1.samples, samples2.samples))


@node("LatentMultiply", category="latent/advanced")
def latent_multiply(
    *, samples: Latent, multiplier: Annotated[float, Range(-10.0, 10.0, step=0.01)] = 1.0
) -> Latent:
    """Multiply a latent by a number.

    Args:
        samples: The latents.
        multiplier: The number.
    """
    return samples.with_samples(samples.samples * multiplier)


@node("LatentComposite", category="latent", title="Latent Composite")
def latent_composite(
    *, samples_to: Latent, samples_from: Latent, x: Offset = 0, y: Offset = 0, feather: Offset = 0
) -> Latent:
    """Lay one latent over another.

    Args:
        samples_to: The latent below, which sets the size.
        samples_from: The latent laid over it; what reaches beyond the edge is cut.
        x: Its left edge, in pixels of the picture.
        y: Its upper edge.
        feather: Pixels over which it fades in from those of its edges that lie inside.
    """
    below = samples_to.samples
    above = samples_from.samples.to(below.device)
    rows, columns = below.shape[-2:]
    x, y, feather = x // 8, y // 8, feather // 8
    above = above[..., : max(0, rows - y), : max(0, columns - x)]
    height, width = above.shape[-2:]
    opacity = _faded(width, feather, x > 0, x + width < columns)
    opacity = (opacity * _faded(height, feather, y > 0, y + height < rows)[:, None]).to(below)
    result = below.clone()
    part = result[..., y : y + height, x : x + width]
    result[..., y : y + height, x : x + width] = above * opacity + part * (1 - opacity)
    return samples_to.with_samples(result)


def _faded(length: int, feather: int, at_start: bool, at_end: bool) -> Tensor:
    """Opacity along one side: 1/feather, 2/feather … 1 from the ends that fade."""
    ramp = ((torch.arange(length) + 1) / max(feather, 1)).clamp(max=1)
    return (ramp if at_start else torch.ones(length)) * (ramp.flip(0) if at_end else 1)


@node("LatentCompositeMasked", category="latent")
def latent_composite_masked(
    *,
    destination: Latent,
    source: Latent,
    x: Offset = 0,
    y: Offset = 0,
    resize_source: bool = False,
    mask: Mask | None = None,
) -> Latent:
    """Lay one latent over another through a mask.

    Args:
        destination: The latent below, which sets the size.
        source: The latent laid over it; what reaches beyond the edge is cut.
        x: Its left edge, in pixels of the picture.
        y: Its upper edge.
        resize_source: Stretch the source over the whole destination first.
        mask: How opaque the source is; stretched over it. Without one, it is opaque.
    """
    result = composited(destination.samples, source.samples, x // 8, y // 8, mask, resize_source)
    return destination.with_samples(result)
