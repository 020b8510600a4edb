"""Trapezoidal steps: Heun's method on the probability-flow ODE, and a three-point variant."""

from itertools import pairwise

from torch import Tensor

from engine.steps import Progress, Steps
from nodes.diffusion.samplers.sampler import Denoise, sampler


@sampler("heun")
def heun(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Steps[Tensor]:
    """Heun's second-order steps, Euler for the last one to 0 (Karras et al. 2022, algorithm 1)."""
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        denoised = yield from denoise(x, sigma)
        yield Progress(i + 1, len(sigmas) - 1, preview=denoised)
        if lower == 0:
            x = denoised
            continue
        slope = (x - denoised) / sigma
        ahead = x + slope * (lower - sigma)
        slope_ahead = (ahead - (yield from denoise(ahead, lower))) / lower
        x = x + (slope + slope_ahead) / 2 * (lower - sigma)
    return x


@sampler("heunpp2")
def heunpp2(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Steps[Tensor]:
    """Heun++: slopes at up to three levels, weighted by their share of the first σ."""
    n = len(sigmas) - 1
    for i in range(n):
        denoised = yield from denoise(x, sigmas[i])
        yield Progress(i + 1, n, preview=denoised)
        levels = sigmas[i + 1 : min(i + 3, n)]
        step = sigmas[i + 1] - sigmas[i]
        slope = (x - denoised) / sigmas[i]
        weights = levels / ((len(levels) + 1) * sigmas[0])
        total = slope * (1 - weights.sum())
        ahead, here = x, sigmas[i]
        for level, weight in zip(levels, weights, strict=True):
            ahead = ahead + slope * (level - here)
            slope, here = (ahead - (yield from denoise(ahead, level))) / level, level
            total = total + slope * weight
        x = x + total * step
    return x
