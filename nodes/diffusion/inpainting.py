"""Sampling that may change only a part of a latent: what a mask marks, or marks strongly enough by now."""

from collections.abc import Callable

import torch
from torch import Tensor

from engine.steps import Steps
from nodes.diffusion.samplers.sampler import DenoiseBoth
from nodes.diffusion.sampling_space import ModelSampling


def falling(
    mask: Tensor, sigmas: Tensor, space: ModelSampling, strength: float
) -> Callable[[Tensor], Tensor]:
    """A mask [B, 1, h, w] whose values are thresholds: what it marks weakly is freed late in the run.

    Differential diffusion (Levin & Fried 2023, algorithm 1), in shares of the timesteps that σ [n + 1] spans.

    Args:
        strength: 1 frees each place at once, 0 leaves the mask as it is.

    Returns:
        σ [] to the mask at that level.
    """
    ends = torch.stack([sigmas[0], sigmas[-1].maximum(space.sigma_min)])
    first, last = space.timestep(ends).tolist()

    def at(sigma: Tensor) -> Tensor:
        threshold = (float(space.timestep(sigma)) - last) / ((first - last) or 1)
        return torch.lerp(mask, (mask >= threshold).to(mask), strength)

    return at


def inpainted(
    denoise: DenoiseBoth,
    latent: Tensor,
    noise: Tensor,
    space: ModelSampling,
    mask_at: Callable[[Tensor], Tensor],
) -> DenoiseBoth:
    """The estimate where only what the mask marks may change; all [B, C, h, w] or broadcasting to it.

    Outside the mask the model sees the latent at its noise level, and its estimate is replaced by the latent.

    Args:
        noise: The noise that stands on the latent, the same at every level.
        mask_at: σ [] to the mask at that level: 1 = may change, 0..1 mixes.
    """

    def masked(x: Tensor, sigma: Tensor) -> Steps[tuple[Tensor, Tensor]]:
        mask = mask_at(sigma)
        seen = x * mask + space.noised(latent, noise, sigma) * (1.0 - mask)
        denoised, base = yield from denoise(seen, sigma)
        return denoised * mask + latent * (1.0 - mask), base

    return masked
