"""Scaling of batches of pictures and latents, [B, C, H, W]."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate


def common_upscale(samples: Tensor, width: int, height: int, upscale_method: str, crop: str) -> Tensor:
    """Scale to a size; with `crop="center"` what does not fit its shape is cut off first."""
    if crop == "center":
        samples = _cut(samples, width / height)
    if upscale_method == "lanczos":
        return lanczos(samples, width, height)
    if upscale_method == "bislerp":
        return bislerp(samples, width, height)
    return interpolate(samples, size=(height, width), mode=upscale_method)


def _cut(samples: Tensor, shape: float) -> Tensor:
    """The middle part with this ratio of width to height."""
    height, width = samples.shape[-2:]
    across = round((width - width * shape / (width / height)) / 2) if width / height > shape else 0
    down = round((height - height * (width / height) / shape) / 2) if width / height < shape else 0
    return samples[..., down : height - down, across : width - across]


def lanczos(samples: Tensor, width: int, height: int) -> Tensor:
    """Scale by Pillow's Lanczos filter; one, three or four channels."""
    made = []
    for picture in samples:
        pixels = (picture.clamp(0, 1).movedim(0, -1).cpu().float().numpy() * 255).round().astype(np.uint8)
        scaled = Image.fromarray(pixels.squeeze()).resize((width, height), Image.Resampling.LANCZOS)
        array = np.asarray(scaled, dtype=np.float32) / 255
        made.append(torch.from_numpy(array).reshape(height, width, -1).movedim(-1, 0))
    return torch.stack(made).to(samples)


def bislerp(samples: Tensor, width: int, height: int) -> Tensor:
    """Scale bilinearly by direction and length of each pixel's vector apart, which keeps latents vivid."""
    length = samples.float().norm(dim=1, keepdim=True)
    way = interpolate(samples.float() / length.clamp(min=1e-12), size=(height, width), mode="bilinear")
    way = way / way.norm(dim=1, keepdim=True).clamp(min=1e-12)
    length = interpolate(length, size=(height, width), mode="bilinear")
    scaled: Tensor = (way * length).to(samples)
    return scaled


def tiled_scale(
    samples: Tensor, function: Callable[[Tensor], Tensor], tile_x: int = 64, tile_y: int = 64,
    overlap: int = 8, upscale_amount: float = 4, out_channels: int = 3, output_device: str = "cpu",
    pbar: Any = None,
) -> Tensor:  # fmt: skip
    """Apply a function that scales to overlapping tiles and blend them."""
    return tiled_scale_multidim(
        samples, function, (tile_y, tile_x), overlap, upscale_amount, out_channels, output_device, pbar=pbar
    )


def tiled_scale_multidim(
    samples: Tensor, function: Callable[[Tensor], Tensor], tile: Sequence[int] = (64, 64),
    overlap: int = 8, upscale_amount: float = 4, out_channels: int = 3, output_device: str = "cpu",
    downscale: bool = False, index_formulas: Any = None, pbar: Any = None,
) -> Tensor:  # fmt: skip
    """The same in two dimensions; `downscale` divides sizes by `upscale_amount`."""
    del index_formulas
    factor = 1 / upscale_amount if downscale else upscale_amount
    height, width = samples.shape[-2:]
    shape = (samples.shape[0], out_channels, round(height * factor), round(width * factor))
    total, weights = torch.zeros(shape, device=output_device), torch.zeros(shape, device=output_device)
    for top in _starts(height, tile[0], overlap):
        for left in _starts(width, tile[1], overlap):
            part = samples[..., top : top + tile[0], left : left + tile[1]]
            made = function(part).to(output_device)
            y, x = round(top * factor), round(left * factor)
            h, w = min(made.shape[-2], shape[2] - y), min(made.shape[-1], shape[3] - x)
            mask = _feathered(h, round(overlap * factor)).reshape(-1, 1)
            mask = (mask * _feathered(w, round(overlap * factor)).reshape(1, -1)).to(output_device)
            total[..., y : y + h, x : x + w] += made[..., :h, :w] * mask
            weights[..., y : y + h, x : x + w] += mask
            if pbar is not None:
                pbar.update(1)
    return total / weights


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin, so that they cover a side; the last ends with it."""
    if length <= tile:
        return [0]
    return [*range(0, length - tile, max(tile - overlap, 1)), length - tile]


def _feathered(length: int, ramp: int) -> Tensor:
    """Weights along a side that fall off towards both ends, and never to nothing."""
    at = torch.arange(length, dtype=torch.float32)
    return (torch.minimum(at, length - 1 - at) + 1).clamp(max=max(ramp, 1)) / max(ramp, 1)


def get_tiled_scale_steps(width: int, height: int, tile_x: int, tile_y: int, overlap: int) -> int:
    """How many tiles `tiled_scale` makes."""
    return len(_starts(height, tile_y, overlap)) * len(_starts(width, tile_x, overlap))
