"""DPM-Solver++ (Lu et al. 2022, "DPM-Solver++"): exponential integrators of the x0 estimate in λ = -ln σ."""

from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from engine.steps import Progress, Steps
from nodes.diffusion.noise import StepNoise, brownian, brownian_on_device, white
from nodes.diffusion.samplers.sampler import Denoise, DenoiseBoth, ancestral_split, renoising, sampler
from nodes.diffusion.sampling_space import ModelSampling, odds, share


@sampler("dpmpp_2s_ancestral", noise=white, sees_space=True)
def dpmpp_2s_ancestral(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    space: ModelSampling,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Steps[Tensor]:
    """Single-step second order (algorithm 1, r = ½) down to σ_down, then fresh noise up to σ'."""
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        denoised = yield from denoise(x, sigma)
        yield Progress(i + 1, len(sigmas) - 1, preview=denoised)
        down, kept, up = renoising(space, sigma, lower, eta)
        if down > 0:
            middle = _middle(space, sigma, down)
            half = _toward(denoised, x, middle / sigma)
            x = _toward((yield from denoise(half, middle)), x, down / sigma)
        else:
            x = denoised
        if lower > 0:
            x = x * kept + noise(sigma, lower) * (s_noise * up)
    return x


@sampler("dpmpp_2s_ancestral_cfg_pp", noise=white, sees_both=True)
def dpmpp_2s_ancestral_cfg_pp(
    denoise: DenoiseBoth,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Steps[Tensor]:
    """As `dpmpp_2s_ancestral`, renoising along the unconditional direction (CFG++, Chung et al. 2024).

    The second stage compares the first guided estimate with its own unconditional one, as the ecosystem does.
    """
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        denoised, unconditional = yield from denoise(x, sigma)
        yield Progress(i + 1, len(sigmas) - 1, preview=denoised)
        down, up = ancestral_split(sigma, lower, eta)
        if down > 0:
            middle = (sigma * down).sqrt()
            half = _toward(denoised, x + denoised - unconditional, middle / sigma)
            estimate, unconditional = yield from denoise(half, middle)
            x = _toward(estimate, x + denoised - unconditional, down / sigma)
        else:
            x = denoised
        if lower > 0:
            x = x + noise(sigma, lower) * (s_noise * up)
    return x


@sampler("dpmpp_sde", noise=brownian, rescales_flows=True)
def dpmpp_sde(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    eta: float = 1.0,
    s_noise: float = 1.0,
    r: float = 0.5,
) -> Steps[Tensor]:
    """Single-step second order on the reverse SDE, both stages with noise of one Brownian path.

    Args:
        r: Where in λ the middle stage lies, above 0, at most 1.
    """
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        denoised = yield from denoise(x, sigma)
        yield Progress(i + 1, len(sigmas) - 1, preview=denoised)
        if lower == 0:
            x = denoised
            continue
        middle = (sigma.log() + r * (lower.log() - sigma.log())).exp()
        down, up = ancestral_split(sigma, middle, eta)
        half = _toward(denoised, x, down / sigma) + noise(sigma, middle) * (s_noise * up)
        estimate = yield from denoise(half, middle)
        down, up = ancestral_split(sigma, lower, eta)
        mixed = denoised.lerp(estimate, 1 / (2 * r))
        x = _toward(mixed, x, down / sigma) + noise(sigma, lower) * (s_noise * up)
    return x


dpmpp_sde_gpu = replace(dpmpp_sde, name="dpmpp_sde_gpu", noise=brownian_on_device)


@sampler("dpmpp_2m")
def dpmpp_2m(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Steps[Tensor]:
    """Multistep second order (algorithm 2): one estimate a step, extrapolated from the one before."""
    before: Tensor | None = None
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        denoised = yield from denoise(x, sigma)
        yield Progress(i + 1, len(sigmas) - 1, preview=denoised)
        ahead = denoised
        if before is not None and lower > 0:
            ratio = (sigma / lower).log() / (sigmas[i - 1] / sigma).log()
            ahead = denoised + (denoised - before) * (ratio / 2)
        x = _toward(ahead, x, lower / sigma)
        before = denoised
    return x


@sampler("dpmpp_2m_cfg_pp", sees_both=True)
def dpmpp_2m_cfg_pp(denoise: DenoiseBoth, x: Tensor, sigmas: Tensor) -> Steps[Tensor]:
    """As `dpmpp_2m`, renoising along the unconditional direction (CFG++, Chung et al. 2024)."""
    before: Tensor | None = None
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        denoised, unconditional = yield from denoise(x, sigma)
        yield Progress(i + 1, len(sigmas) - 1, preview=denoised)
        kept = lower / sigma
        extrapolated = (x - unconditional) * kept
        if before is not None and lower > 0:
            ratio = (sigma / lower).log() / (sigmas[i - 1] / sigma).log()
            extrapolated = extrapolated + (denoised - before) * (ratio / 2 * (1 - kept))
        x = denoised + extrapolated
        before = unconditional
    return x


def _middle(space: ModelSampling, sigma: Tensor, lower: Tensor) -> Tensor:
    """The σ halfway in λ, the logarithm of the odds of a flow."""
    if not space.is_flow:
        return (sigma * lower).sqrt()
    if sigma == 1:
        return torch.full_like(sigma, 0.9999)
    return share((odds(sigma) * odds(lower)).sqrt())


def _toward(estimate: Tensor, x: Tensor, kept: Tensor) -> Tensor:
    """The x after a step with `kept` = e^-h of its distance to the estimate left."""
    return estimate + (x - estimate) * kept
