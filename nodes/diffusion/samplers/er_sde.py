"""Extended reverse-time SDE solver (Cui et al. 2023, "Elucidating the solution space of extended SDEs")."""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from engine.steps import Progress, Steps
from nodes.diffusion.noise import StepNoise, white
from nodes.diffusion.samplers.sampler import Denoise, sampler

POINTS = 200  # of the sums that stand for the solver's integrals


@sampler("er_sde", noise=white, rescales_flows=True)
def er_sde(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    s_noise: float = 1.0,
    max_stage: int = 3,
    solver_type: Literal["ER-SDE", "Reverse-time SDE", "ODE"] = "ER-SDE",
    eta: float = 1.0,
) -> Steps[Tensor]:
    """ER-SDE-Solver-3 for the variance-exploding space (algorithm 3), with its noise scale φ(σ).

    Args:
        max_stage: The order, 1 to 3.
        solver_type: φ: the authors' choice, σ^(1 + η) of the reverse-time SDE, or σ, which draws no noise.
        eta: Of the reverse-time SDE.
    """
    scale = _SCALES[solver_type](eta)
    last: Tensor | None = None
    last_slope: Tensor | None = None
    for i, (sigma, lower) in enumerate(pairwise(sigmas)):
        denoised = yield from denoise(x, sigma)
        yield Progress(i + 1, len(sigmas) - 1, preview=denoised)
        if lower == 0:
            x = denoised
            continue
        kept = scale(lower) / scale(sigma)
        x = denoised + (x - denoised) * kept
        if last is not None and max_stage >= 2:
            step = lower - sigma
            width = -step / POINTS
            levels = lower + torch.arange(POINTS, dtype=sigmas.dtype) * width
            slope = (denoised - last) / (sigma - sigmas[i - 1])
            x = x + slope * (step + (1 / scale(levels)).sum() * width * scale(lower))
            if last_slope is not None and max_stage >= 3:
                curve = (slope - last_slope) / ((sigma - sigmas[i - 2]) / 2)
                integral = ((levels - sigma) / scale(levels)).sum() * width
                x = x + curve * (step**2 / 2 + integral * scale(lower))
            last_slope = slope
        spread = (lower**2 - (sigma * kept) ** 2).clamp(min=0).sqrt()
        x = x + noise(sigma, lower) * (spread * s_noise)
        last = denoised
    return x


def _authors(sigma: Tensor) -> Tensor:
    return sigma * ((sigma**0.3).exp() + 10)


_SCALES: dict[str, Callable[[float], Callable[[Tensor], Tensor]]] = {
    "ER-SDE": lambda _: _authors,
    "Reverse-time SDE": lambda eta: lambda sigma: sigma ** (1 + eta),
    "ODE": lambda _: lambda sigma: sigma,
}
