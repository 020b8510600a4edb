"""Resizing of pictures and latents by the methods that workflows name."""

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from torch import Tensor

Crop: TypeAlias = Literal["disabled", "center"]


def resized(samples: Tensor, width: int, height: int, method: str, crop: str = "disabled") -> Tensor:
    """The samples [B, C, H, W] at another size, [B, C, height, width].

    Args:
        method: "nearest-exact", "bilinear", "area" and "bicubic" (torch's, without antialiasing), "lanczos"
            (antialiased, through 8 bits: for pictures in 0..1) or "bislerp" (for latents).
        crop: "center" first cuts the samples to the wanted aspect ratio, so that nothing is stretched.
    """
    if crop == "center":
        samples = _centered(samples, width, height)
    return _METHODS[method](samples, width, height)


def repeated_to(batch: Tensor, count: int) -> Tensor:
    """The items of a batch [B, ...] repeated in order, or cut, until there are `count`."""
    repeats = -(-count // batch.shape[0])
    return batch.repeat(repeats, *[1] * (batch.ndim - 1))[:count]


def resized_mask(mask: Tensor, width: int, height: int) -> Tensor:
    """A mask [B, H, W] (or [H, W], or with a channel axis) stretched bilinearly to [B, 1, height, width]."""
    return F.interpolate(mask.reshape(-1, 1, *mask.shape[-2:]), size=(height, width), mode="bilinear")


def _centered(samples: Tensor, width: int, height: int) -> Tensor:
    old_height, old_width = samples.shape[-2:]
    old_aspect, aspect = old_width / old_height, width / height
    x = round((old_width - old_width * (aspect / old_aspect)) / 2) if old_aspect > aspect else 0
    y = round((old_height - old_height * (old_aspect / aspect)) / 2) if old_aspect < aspect else 0
    x, y = min(x, (old_width - 1) // 2), min(y, (old_height - 1) // 2)  # at least one cell stays
    return samples[..., y : old_height - y, x : old_width - x]


def _interpolated(mode: str) -> Callable[[Tensor, int, int], Tensor]:
    return lambda samples, width, height: F.interpolate(samples, size=(height, width), mode=mode)


def _lanczos(samples: Tensor, width: int, height: int) -> Tensor:
    pixels = (samples * 255).clamp(0, 255).movedim(1, -1).to("cpu", torch.uint8).numpy()
    scaled = [_lanczos_8bit(image, width, height) for image in pixels]
    return torch.from_numpy(np.stack(scaled)).movedim(-1, 1).to(samples) / 255


def _lanczos_8bit(image: np.ndarray, width: int, height: int) -> np.ndarray:  # type: ignore[type-arg]
    """One picture [H, W, C]; three and four channels together (alpha weighs colours), others one by one."""
    parts = [image] if image.shape[-1] in (3, 4) else list(image.transpose(2, 0, 1))
    lanczos = PIL.Image.Resampling.LANCZOS
    scaled = [np.asarray(PIL.Image.fromarray(part).resize((width, height), lanczos)) for part in parts]
    return scaled[0] if scaled[0].ndim == 3 else np.stack(scaled, axis=-1)


def _bislerp(samples: Tensor, width: int, height: int) -> Tensor:
    """Along the width, then along the height: vectors of channels turn from one sample to the next."""
    across = _slerped_last_axis(samples.float(), width)
    return _slerped_last_axis(across.transpose(-1, -2), height).transpose(-1, -2).to(samples.dtype)


def _slerped_last_axis(samples: Tensor, length: int) -> Tensor:
    old = samples.shape[-1]
    position = (torch.arange(length, dtype=torch.float64) + 0.5) * (old / length) - 0.5
    position = position.clamp(0, old - 1).to(samples.device)
    before = position.long()
    after = (before + 1).clamp(max=old - 1)
    ratio = (position - before).to(samples.dtype)
    return slerp(samples[..., before], samples[..., after], ratio, dim=1)


def slerp(start: Tensor, end: Tensor, ratio: Tensor | float, dim: int) -> Tensor:
    """Spherical interpolation (Shoemake 1985) of the vectors along `dim`; their lengths interpolate linearly.

    Vectors of nearly the same direction give `start`; of nearly opposite direction, which have no shortest
    way between them, the straight line.

    Args:
        ratio: 0 gives `start`, 1 gives `end`; broadcasts against the vectors.
    """
    start_norm, end_norm = start.norm(dim=dim, keepdim=True), end.norm(dim=dim, keepdim=True)
    start_unit = torch.where(start_norm == 0, 0.0, start / start_norm)
    end_unit = torch.where(end_norm == 0, 0.0, end / end_norm)
    dot = (start_unit * end_unit).sum(dim=dim, keepdim=True)
    omega = dot.clamp(-1, 1).acos()
    turned = ((1 - ratio) * omega).sin() * start_unit + (ratio * omega).sin() * end_unit
    turned = turned / omega.sin() * (start_norm * (1 - ratio) + end_norm * ratio)
    straight = start * (1 - ratio) + end * ratio
    return torch.where(dot > 1 - 1e-5, start, torch.where(dot < 1e-5 - 1, straight, turned))


_METHODS: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    **{mode: _interpolated(mode) for mode in ("nearest-exact", "bilinear", "area", "bicubic")},
    "lanczos": _lanczos,
    "bislerp": _bislerp,
}
