"""Gradient estimation (Permenter & Yuan 2023): Euler steps whose slope is pushed on along its last change."""

from itertools import pairwise

from torch import Tensor

from engine.steps import Progress, Steps
from nodes.diffusion.samplers.sampler import Denoise, DenoiseBoth, sampler


@sampler("gradient_estimation")
def gradient_estimation(denoise: Denoise, x: Tensor, sigmas: Tensor, *, gamma: float = 2.0) -> Steps[Tensor]:
    """Second-order gradient estimation (algorithm 1).

    Args:
        gamma: How far the slope is pushed on; 1 is Euler's method.
    """
    before: Tensor | None = None
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        denoised = yield from denoise(x, sigma)
        yield Progress(i + 1, len(sigmas) - 1, preview=denoised)
        slope = (x - denoised) / sigma
        x = denoised + slope * lower
        if before is not None and lower > 0:
            x = x + (slope - before) * ((gamma - 1) * (lower - sigma))
        before = slope
    return x


@sampler("gradient_estimation_cfg_pp", sees_both=True)
def gradient_estimation_cfg_pp(
    denoise: DenoiseBoth, x: Tensor, sigmas: Tensor, *, gamma: float = 2.0
) -> Steps[Tensor]:
    """As `gradient_estimation`, along the unconditional direction (CFG++, Chung et al. 2024)."""
    before: Tensor | None = None
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        denoised, unconditional = yield from denoise(x, sigma)
        yield Progress(i + 1, len(sigmas) - 1, preview=denoised)
        slope = (x - unconditional) / sigma
        x = denoised + slope * lower
        if before is not None and lower > 0:
            x = x + (slope - before) * ((gamma - 1) * (lower - sigma))
        before = slope
    return x
