"""Midpoint steps in the style of DPM-Solver-2 (Lu et al. 2022), as k-diffusion has them."""

from itertools import pairwise

from torch import Tensor

from engine.steps import Progress, Steps
from nodes.diffusion.noise import StepNoise, white
from nodes.diffusion.samplers.sampler import Denoise, renoising, sampler
from nodes.diffusion.sampling_space import ModelSampling


@sampler("dpm_2", discard_penultimate=True)
def dpm_2(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Steps[Tensor]:
    """Midpoint steps in ln σ, two estimates each (Karras et al. 2022, algorithm 2's inner step)."""
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        denoised = yield from denoise(x, sigma)
        yield Progress(i + 1, len(sigmas) - 1, preview=denoised)
        x = (yield from _midpoint(denoise, x, denoised, sigma, lower)) if lower > 0 else denoised
    return x


@sampler("dpm_2_ancestral", noise=white, discard_penultimate=True, sees_space=True)
def dpm_2_ancestral(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    space: ModelSampling,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Steps[Tensor]:
    """Midpoint steps down to σ_down, then fresh noise up to σ'."""
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        denoised = yield from denoise(x, sigma)
        yield Progress(i + 1, len(sigmas) - 1, preview=denoised)
        down, kept, up = renoising(space, sigma, lower, eta)
        x = (yield from _midpoint(denoise, x, denoised, sigma, down)) if down > 0 else denoised
        if lower > 0:
            x = x * kept + noise(sigma, lower) * (s_noise * up)
    return x


def _midpoint(denoise: Denoise, x: Tensor, denoised: Tensor, sigma: Tensor, lower: Tensor) -> Steps[Tensor]:
    middle = sigma.log().lerp(lower.log(), 0.5).exp()
    half = denoised + (x - denoised) * (middle / sigma)
    slope = (half - (yield from denoise(half, middle))) / middle
    return x + slope * (lower - sigma)
