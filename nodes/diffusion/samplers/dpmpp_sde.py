"""Multistep DPM-Solver++ on the reverse SDE, in λ = -ln σ, with noise of one Brownian path."""

from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Literal

from torch import Tensor

from engine.steps import Progress, Steps
from nodes.diffusion.noise import StepNoise, brownian, brownian_on_device
from nodes.diffusion.samplers.sampler import Denoise, sampler


@sampler("dpmpp_2m_sde", noise=brownian, rescales_flows=True)
def dpmpp_2m_sde(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    eta: float = 1.0,
    s_noise: float = 1.0,
    solver_type: Literal["midpoint", "heun"] = "midpoint",
) -> Steps[Tensor]:
    """SDE-DPM-Solver++(2M) (Lu et al. 2022, equation 18); η = 0 gives the ODE solver.

    Args:
        solver_type: How the slope of the estimate over λ is weighted.
    """
    before: Tensor | None = None
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        denoised = yield from denoise(x, sigma)
        yield Progress(i + 1, len(sigmas) - 1, preview=denoised)
        if lower == 0:
            x = denoised
            continue
        h = (sigma / lower).log()
        decay = h * (1 + eta)
        x = denoised + (x - denoised) * (-decay).exp()
        if before is not None:
            ratio = h / (sigmas[i - 1] / sigma).log()
            weight = -(-decay).expm1() / 2 if solver_type == "midpoint" else _phi_2(decay)
            x = x + (denoised - before) * (ratio * weight)
        x = x + noise(sigma, lower) * _spread(lower, h * eta, s_noise)
        before = denoised
    return x


dpmpp_2m_sde_gpu = replace(dpmpp_2m_sde, name="dpmpp_2m_sde_gpu", noise=brownian_on_device)
dpmpp_2m_sde_heun = replace(
    dpmpp_2m_sde, name="dpmpp_2m_sde_heun", run=partial(dpmpp_2m_sde.run, solver_type="heun")
)
dpmpp_2m_sde_heun_gpu = replace(dpmpp_2m_sde_heun, name="dpmpp_2m_sde_heun_gpu", noise=brownian_on_device)


@sampler("dpmpp_3m_sde", noise=brownian, rescales_flows=True)
def dpmpp_3m_sde(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: StepNoise, eta: float = 1.0, s_noise: float = 1.0
) -> Steps[Tensor]:
    """Third-order multistep SDE solver, by divided differences of the last three estimates (k-diffusion)."""
    before: list[tuple[Tensor, Tensor]] = []  # (estimate, length of the step after it in λ), newest first
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        denoised = yield from denoise(x, sigma)
        yield Progress(i + 1, len(sigmas) - 1, preview=denoised)
        if lower == 0:
            x = denoised
            continue
        h = (sigma / lower).log()
        decay = h * (1 + eta)
        x = denoised + (x - denoised) * (-decay).exp()
        if before:
            (last, h_1), *older = before
            slope = (denoised - last) * (h / h_1)
            curve = slope.new_zeros(())
            for second, h_2 in older:
                gap = slope - (last - second) * (h / h_2)
                curve = gap * (h / (h_1 + h_2))
                slope = slope + gap * (h_1 / (h_1 + h_2))
            x = x + slope * _phi_2(decay) - curve * (_phi_2(decay) / decay - 0.5)
        x = x + noise(sigma, lower) * _spread(lower, h * eta, s_noise)
        before = [(denoised, h), *before[:1]]
    return x


dpmpp_3m_sde_gpu = replace(dpmpp_3m_sde, name="dpmpp_3m_sde_gpu", noise=brownian_on_device)


def _phi_2(decay: Tensor) -> Tensor:
    return (-decay).expm1() / decay + 1


def _spread(lower: Tensor, decay: Tensor, s_noise: float) -> Tensor:
    """The standard deviation of the noise that a step to `lower` adds."""
    return lower * (-(-2 * decay).expm1()).sqrt() * s_noise
