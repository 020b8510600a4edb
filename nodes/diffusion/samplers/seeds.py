"""SEEDS (Gonzalez et al. 2023): exponential SDE solvers whose stages share their noise."""

from itertools import pairwise

from torch import Tensor

from engine.steps import Progress, Steps
from nodes.diffusion.noise import StepNoise, white
from nodes.diffusion.samplers.sampler import Denoise, sampler


@sampler("seeds_2", noise=white, rescales_flows=True)
def seeds_2(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    eta: float = 1.0,
    s_noise: float = 1.0,
    r: float = 0.5,
) -> Steps[Tensor]:
    """SEEDS-2: two stages a step.

    Args:
        r: Where in λ the second stage lies.
    """
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        denoised = yield from denoise(x, sigma)
        yield Progress(i + 1, len(sigmas) - 1, preview=denoised)
        if lower == 0:
            x = denoised
            continue
        h = (sigma / lower).log()
        drift, full = h * eta, h * (1 + eta)
        middle = sigma * (-r * h).exp()
        first = noise(sigma, middle) * _spread(r * drift)
        second = first * ((r - 1) * drift).exp() + noise(middle, lower) * _spread((1 - r) * drift)
        half = denoised + (x - denoised) * (-r * full).exp() + first * (middle * s_noise)
        mixed = denoised.lerp((yield from denoise(half, middle)), 1 / (2 * r))
        x = mixed + (x - mixed) * (-full).exp() + second * (lower * s_noise)
    return x


@sampler("seeds_3", noise=white, rescales_flows=True)
def seeds_3(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    eta: float = 1.0,
    s_noise: float = 1.0,
    r_1: float = 1 / 3,
    r_2: float = 2 / 3,
) -> Steps[Tensor]:
    """SEEDS-3: three stages a step.

    Args:
        r_1: Where in λ the second stage lies.
        r_2: Where the third stage lies.
    """
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        denoised = yield from denoise(x, sigma)
        yield Progress(i + 1, len(sigmas) - 1, preview=denoised)
        if lower == 0:
            x = denoised
            continue
        h = (sigma / lower).log()
        drift, full = h * eta, h * (1 + eta)
        middle, late = sigma * (-r_1 * h).exp(), sigma * (-r_2 * h).exp()
        first = noise(sigma, middle) * _spread(r_1 * drift)
        second = first * ((r_1 - r_2) * drift).exp() + noise(middle, late) * _spread((r_2 - r_1) * drift)
        third = second * ((r_2 - 1) * drift).exp() + noise(late, lower) * _spread((1 - r_2) * drift)
        u = denoised + (x - denoised) * (-r_1 * full).exp() + first * (middle * s_noise)
        change = (yield from denoise(u, middle)) - denoised
        u = denoised + (x - denoised) * (-r_2 * full).exp() + second * (late * s_noise)
        u = u - change * (r_2 / r_1 * _psi(-r_2 * full))
        change = (yield from denoise(u, late)) - denoised
        x = denoised + (x - denoised) * (-full).exp() - change * (_psi(-full) / r_2)
        x = x + third * (lower * s_noise)
    return x


def _spread(decay: Tensor) -> Tensor:
    """The standard deviation √(1 - e^(-2 decay)) of the noise that an interval adds."""
    return (-(-2 * decay).expm1()).sqrt()


def _psi(z: Tensor) -> Tensor:
    return (z.expm1() - z) / z
