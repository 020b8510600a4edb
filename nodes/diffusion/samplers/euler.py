"""First-order steps: Euler on the probability-flow ODE, and Euler with part of the noise drawn anew."""

from itertools import pairwise

from torch import Tensor

from engine.steps import Progress, Steps
from nodes.diffusion.noise import StepNoise, white
from nodes.diffusion.samplers.sampler import Denoise, DenoiseBoth, ancestral_split, renoising, sampler
from nodes.diffusion.sampling_space import ModelSampling


@sampler("euler")
def euler(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Steps[Tensor]:
    """Euler steps of the probability-flow ODE (Karras et al. 2022, algorithm 1 without its correction)."""
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        denoised = yield from denoise(x, sigma)
        yield Progress(i + 1, len(sigmas) - 1, preview=denoised)
        x = denoised + (x - denoised) * (lower / sigma)
    return x


@sampler("euler_cfg_pp", sees_both=True, sees_space=True)
def euler_cfg_pp(denoise: DenoiseBoth, x: Tensor, sigmas: Tensor, *, space: ModelSampling) -> Steps[Tensor]:
    """Euler steps that renoise along the unconditional direction (CFG++, Chung et al. 2024, algorithm 2)."""
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        denoised, unconditional = yield from denoise(x, sigma)
        yield Progress(i + 1, len(sigmas) - 1, preview=denoised)
        slope = (x - unconditional * space.signal(sigma)) / sigma
        x = denoised * space.signal(lower) + slope * lower
    return x


@sampler("euler_cfg_pp_alternative", sees_both=True, listed=False)
def euler_cfg_pp_alternative(denoise: DenoiseBoth, x: Tensor, sigmas: Tensor) -> Steps[Tensor]:
    """Euler steps that are pushed away from the unconditional estimate instead: towards 2 D - D_u."""
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        denoised, unconditional = yield from denoise(x, sigma)
        yield Progress(i + 1, len(sigmas) - 1, preview=denoised)
        pushed = 2 * denoised - unconditional
        x = pushed + (x - pushed) * (lower / sigma)
    return x


@sampler("euler_ancestral", noise=white, sees_space=True)
def euler_ancestral(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    space: ModelSampling,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Steps[Tensor]:
    """Euler steps down to σ_down, then fresh noise up to σ' (k-diffusion's ancestral sampling)."""
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        denoised = yield from denoise(x, sigma)
        yield Progress(i + 1, len(sigmas) - 1, preview=denoised)
        down, kept, up = renoising(space, sigma, lower, eta)
        x = denoised + (x - denoised) * (down / sigma)
        if lower > 0:
            x = x * kept + noise(sigma, lower) * (s_noise * up)
    return x


@sampler("euler_ancestral_cfg_pp", noise=white, sees_both=True, sees_space=True)
def euler_ancestral_cfg_pp(
    denoise: DenoiseBoth,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    space: ModelSampling,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Steps[Tensor]:
    """Ancestral Euler steps that renoise along the unconditional direction (Chung et al. 2024).

    A flow's step is split where it is variance-exploding, x/(1 - σ) at σ/(1 - σ).
    """
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        denoised, unconditional = yield from denoise(x, sigma)
        yield Progress(i + 1, len(sigmas) - 1, preview=denoised)
        signal = space.signal(lower)
        down, up = ancestral_split(sigma / space.signal(sigma), lower / signal, eta)
        slope = (x - unconditional * space.signal(sigma)) / sigma
        x = (denoised + slope * down) * signal
        if lower > 0:
            x = x + noise(sigma, lower) * (s_noise * up * signal)
    return x
