"""Latent formats: the denoiser's space beside that of its VAE, and how a latent is previewed."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from nodes.diffusion.preview import SD1_RGB, SDXL_RGB


@dataclass(frozen=True)
class LatentFormat:
    """From the VAE's latents to those that a denoiser was trained on: (z - mean) * scale / std.

    Args:
        channels: C.
        scale: Factor.
        mean: Of each channel; none is 0.
        std: Of each channel; none is 1.
        rgb: What previews look like, [C + 1, 3]; see `preview.SD1_RGB`.
    """

    channels: int = 4
    scale: float = 0.18215
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    rgb: tuple[tuple[float, ...], ...] = field(default=SD1_RGB, compare=False, repr=False)

    def scaled(self, samples: Tensor) -> Tensor:
        """The VAE's latents [B, C, h, w] in the denoiser's space."""
        if not self.mean:
            return samples * self.scale
        return (samples - _columns(self.mean, samples)) * self.scale / _columns(self.std, samples)

    def entered(self, samples: Tensor) -> Tensor:
        """What a run starts from, [B, C, h, w]: scaled, but empty latents (all zeros) stay so."""
        return self.scaled(samples) if bool(samples.any()) else samples

    def unscaled(self, samples: Tensor) -> Tensor:
        """The denoiser's latents [B, C, h, w] in the VAE's space."""
        if not self.mean:
            return samples / self.scale
        return samples * _columns(self.std, samples) / self.scale + _columns(self.mean, samples)


SD1 = LatentFormat()
"""Stable Diffusion 1.x and 2.x (Rombach et al. 2022, appendix G)."""

SDXL = LatentFormat(scale=0.13025, rgb=SDXL_RGB)
"""SDXL (Podell et al. 2023)."""

PLAYGROUND = LatentFormat(
    scale=0.5,
    mean=(-1.6574, 1.886, -1.383, 2.5155),
    std=(8.4927, 5.9022, 6.5498, 5.2299),
    rgb=SDXL_RGB,
)
"""Playground v2.5 (Li et al. 2024), which was trained on normalised latents of SDXL's VAE."""


def _columns(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values).to(like).reshape(1, -1, *[1] * (like.ndim - 2))
