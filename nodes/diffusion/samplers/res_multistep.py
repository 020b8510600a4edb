"""Refined exponential solver (RES, Zhang et al. 2023), multistep: second order, one estimate a step."""

from torch import Tensor

from engine.steps import Progress, Steps
from nodes.diffusion.noise import StepNoise, white
from nodes.diffusion.samplers.sampler import Denoise, DenoiseBoth, ancestral_split, sampler


@sampler("res_multistep")
def res_multistep(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Steps[Tensor]:
    """The deterministic solver, in λ = -ln σ."""
    return (yield from _res(_doubled(denoise), x, sigmas, None, 0.0, 1.0))


@sampler("res_multistep_cfg_pp", sees_both=True)
def res_multistep_cfg_pp(denoise: DenoiseBoth, x: Tensor, sigmas: Tensor) -> Steps[Tensor]:
    """As `res_multistep`, renoising along the unconditional direction (CFG++, Chung et al. 2024)."""
    return (yield from _res(denoise, x, sigmas, None, 0.0, 1.0))


@sampler("res_multistep_ancestral", noise=white)
def res_multistep_ancestral(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: StepNoise, eta: float = 1.0, s_noise: float = 1.0
) -> Steps[Tensor]:
    """Steps down to σ_down, then fresh noise up to σ'."""
    return (yield from _res(_doubled(denoise), x, sigmas, noise, eta, s_noise))


@sampler("res_multistep_ancestral_cfg_pp", noise=white, sees_both=True)
def res_multistep_ancestral_cfg_pp(
    denoise: DenoiseBoth,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Steps[Tensor]:
    """As `res_multistep_ancestral`, along the unconditional direction (CFG++, Chung et al. 2024)."""
    return (yield from _res(denoise, x, sigmas, noise, eta, s_noise))


def _res(
    denoise: DenoiseBoth, x: Tensor, sigmas: Tensor, noise: StepNoise | None, eta: float, s_noise: float
) -> Steps[Tensor]:
    before: tuple[Tensor, Tensor] | None = (
        None  # the base's last estimate, and the σ that its step went down to
    )
    for i in range(len(sigmas) - 1):
        sigma, lower = sigmas[i], sigmas[i + 1]
        denoised, base = yield from denoise(x, sigma)
        yield Progress(i + 1, len(sigmas) - 1, preview=denoised)
        down, up = ancestral_split(sigma, lower, eta)
        if before is None or down == 0:
            x = denoised + (x - base) * (down / sigma)
        else:
            older, reached = before
            h = (sigma / down).log()
            c_2 = (reached / sigmas[i - 1]).log() / h
            phi_1 = (-h).expm1() / -h
            b_2 = ((phi_1 - 1) / -h / c_2).nan_to_num()
            x = (x + denoised - base) * (-h).exp() + base * (h * (phi_1 - b_2)) + older * (h * b_2)
        if noise is not None and lower > 0:
            x = x + noise(sigma, lower) * (up * s_noise)
        before = base, down
    return x


def _doubled(denoise: Denoise) -> DenoiseBoth:
    def both(x: Tensor, sigma: Tensor) -> Steps[tuple[Tensor, Tensor]]:
        denoised = yield from denoise(x, sigma)
        return denoised, denoised

    return both
