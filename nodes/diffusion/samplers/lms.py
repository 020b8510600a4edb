"""Linear multistep steps: Adams-Bashforth on the probability-flow ODE, dx/dσ = (x - D)/σ."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from engine.steps import Progress, Steps
from nodes.diffusion.samplers.adams import integrals
from nodes.diffusion.samplers.sampler import Denoise, sampler

Weights = Callable[[Sequence[float], float], Sequence[float]]
"""(the σ of the known slopes, newest first; the σ' of the step) to a weight for each; they sum to σ' - σ."""


@sampler("lms")
def lms(denoise: Denoise, x: Tensor, sigmas: Tensor, *, order: int = 4) -> Steps[Tensor]:
    """Adams-Bashforth, its weights integrated over the σ at hand (k-diffusion's lms)."""
    return (yield from multistep(denoise, x, sigmas, order, _over_sigma))


def multistep(denoise: Denoise, x: Tensor, sigmas: Tensor, order: int, weights: Weights) -> Steps[Tensor]:
    """Steps along a weighted sum of the last `order` slopes (x - D)/σ; the step to 0 takes D."""
    slopes: list[Tensor] = []  # newest first
    for i in range(len(sigmas) - 1):
        denoised = yield from denoise(x, sigmas[i])
        yield Progress(i + 1, len(sigmas) - 1, preview=denoised)
        slopes = [(x - denoised) / sigmas[i], *slopes[: order - 1]]
        if sigmas[i + 1] == 0:
            x = denoised
        else:
            known = sigmas[i + 1 - len(slopes) : i + 1].flip(0).tolist()
            step = weights(known, float(sigmas[i + 1]))
            x = x + torch.stack([s * w for w, s in zip(step, slopes, strict=True)]).sum(0)
    return x


def _over_sigma(known: Sequence[float], lower: float) -> list[float]:
    return integrals(known, known[0], lower)
