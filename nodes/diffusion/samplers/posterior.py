"""Steps that draw from the posterior of the discrete diffusion: DDPM, and consistency models."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from engine.steps import Progress, Steps
from nodes.diffusion.noise import StepNoise, onward, white
from nodes.diffusion.resize import resized
from nodes.diffusion.samplers.sampler import Denoise, sampler
from nodes.diffusion.sampling_space import ModelSampling


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


@sampler("lcm", noise=white, sees_space=True)
def lcm(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: StepNoise, space: ModelSampling
) -> Steps[Tensor]:
    """Jump to the estimate and renoise it to σ' (Song et al. 2023, "Consistency models", algorithm 1)."""
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        x = yield from denoise(x, sigma)
        yield Progress(i + 1, len(sigmas) - 1, preview=x)
        if lower > 0:
            x = space.noised(x, noise(sigma, lower), lower)
    return x


@sampler("lcm_upscale", noise=onward, listed=False)
def lcm_upscale(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Callable[[Tensor], Tensor],
    scale_ratio: float = 1.0,
    scale_steps: int = -1,
    upscale_method: str = "bislerp",
) -> Steps[Tensor]:
    """As `lcm`, its estimates growing over the first steps.

    Args:
        scale_ratio: Size of the result, in sizes of x.
        scale_steps: Over how many steps it grows, at most all of them and one; below 0 over half of them.
        upscale_method: Of `resize.resized`.
    """
    count, (height, width) = len(sigmas), x.shape[-2:]
    grows = count // 2 if scale_steps < 0 else min(scale_steps, count)
    ratios = torch.linspace(1.0, scale_ratio, grows + 1, dtype=torch.float64)[1:].tolist()
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        x = yield from denoise(x, sigma)
        yield Progress(i + 1, count - 1, preview=x)
        if i < len(ratios):
            x = resized(x, round(width * ratios[i]), round(height * ratios[i]), upscale_method)
            if upscale_method == "bislerp":  # the order of memory in which noise is drawn
                x = x.contiguous(memory_format=torch.channels_last)
        if lower > 0:
            x = x + noise(x) * lower
    return x
