"""Operations on latents that nodes pass on: applied to a latent once, or to guidance at every step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.linalg import vector_norm

from engine.ports import Port


@Port("LATENT_OPERATION")
@dataclass(frozen=True)
class LatentOperation:
    """A change of latents [B, C, h, w], of any scale.

    Args:
        kind: What it does, by the name of the function.
        settings: The function's arguments.
    """

    kind: str
    settings: tuple[float, ...]

    def __call__(self, latent: Tensor) -> Tensor:
        """The changed latent."""
        return _KINDS[self.kind](latent, *self.settings)


def sharpened(latent: Tensor, radius: float, sigma: float, alpha: float) -> Tensor:
    """Unsharp masking of the direction of each place's vector, whose length stays.

    Args:
        radius: Cells that the blur reaches to each side.
        sigma: Its standard deviation, as a share of the radius.
        alpha: How much of the blurred latent is taken away, in tenths.
    """
    reach = int(radius)
    length: Tensor = vector_norm(latent, dim=1, keepdim=True) + 1e-6
    line = torch.exp(-(torch.linspace(-1, 1, 2 * reach + 1).to(latent) ** 2) / (2 * sigma**2))
    line = line / line.sum()
    kernel = line[:, None] * line[None] * (-10 * alpha)
    kernel[reach, reach] += 1 - kernel.sum()
    channels = latent.shape[1]
    padded = F.pad(latent / length, (reach,) * 4, mode="reflect")
    return F.conv2d(padded, kernel.expand(channels, 1, *kernel.shape), groups=channels) * length


def tonemapped(latent: Tensor, multiplier: float) -> Tensor:
    """Reinhard's curve on the lengths of each place's vector (Reinhard et al. 2002, equation 3).

    Args:
        multiplier: Of the white point, five standard deviations above the mean of a picture's lengths.
    """
    length: Tensor = vector_norm(latent, dim=1, keepdim=True) + 1e-10
    every = (1, 2, 3)
    white = (length.std(dim=every, keepdim=True) * 5 + length.mean(dim=every, keepdim=True)) * multiplier
    scaled = length / white
    mapped: Tensor = latent / length * (scaled / (scaled + 1) * white)
    return mapped


_KINDS: Mapping[str, Callable[..., Tensor]] = {"sharpened": sharpened, "tonemapped": tonemapped}
