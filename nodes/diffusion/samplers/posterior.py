"""Steps that draw from the posterior of the discrete diffusion: DDPM, and consistency models."""

from itertools import pairwise

from torch import Tensor

from engine.steps import Progress, Steps
from nodes.diffusion.noise import StepNoise, white
from nodes.diffusion.samplers.sampler import Denoise, sampler


@sampler("ddpm", noise=white)
def ddpm(denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: StepNoise) -> Steps[Tensor]:
    """Mean and variance of the DDPM posterior (Ho et al. 2020, equations 6 and 7), in VP space."""
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        denoised = yield from denoise(x, sigma)
        yield Progress(i + 1, len(sigmas) - 1, preview=denoised)
        alpha_bar, alpha_bar_next = 1 / (sigma**2 + 1), 1 / (lower**2 + 1)
        alpha = alpha_bar / alpha_bar_next
        eps = (x - denoised) / sigma
        scaled = x * alpha_bar.sqrt()
        scaled = (scaled - eps * ((1 - alpha) / (1 - alpha_bar).sqrt())) / alpha.sqrt()
        if lower > 0:
            variance = (1 - alpha) * (1 - alpha_bar_next) / (1 - alpha_bar)
            scaled = scaled + noise(sigma, lower) * variance.sqrt()
        x = scaled / alpha_bar_next.sqrt()
    return x


@sampler("lcm", noise=white)
def lcm(denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: StepNoise) -> Steps[Tensor]:
    """Jump to the estimate and renoise it to σ' (Song et al. 2023, "Consistency models", algorithm 1)."""
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        x = yield from denoise(x, sigma)
        yield Progress(i + 1, len(sigmas) - 1, preview=x)
        if lower > 0:
            x = x + noise(sigma, lower) * lower
    return x
