"""SA-Solver (Xue et al. 2023): stochastic Adams predictor and corrector of the x0 estimate in λ = -ln σ."""

from dataclasses import replace
from functools import partial

import numpy as np
from torch import Tensor

from engine.steps import Progress, Steps
from nodes.diffusion.noise import StepNoise, white
from nodes.diffusion.samplers.adams import integrals
from nodes.diffusion.samplers.sampler import Denoise, sampler
from nodes.diffusion.sampling_space import ModelSampling

STOCHASTIC = (0.2, 0.8)  # the share of sampling between which noise is added


@sampler("sa_solver", noise=white, sees_space=True)
def sa_solver(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    space: ModelSampling,
    eta: float = 1.0,
    s_noise: float = 1.0,
    predictor_order: int = 3,
    corrector_order: int = 4,
    pece: bool = False,
) -> Steps[Tensor]:
    """Algorithm 1: predict, evaluate, correct; the orders fall towards a last step to 0.

    Args:
        eta: τ of the paper in the middle of sampling; 0 elsewhere.
        pece: Evaluate again after the correction.
    """
    n = len(sigmas) - 1
    begin, end = (space.percent_to_sigma(p) for p in STOCHASTIC)
    estimates: list[Tensor] = []  # oldest first
    predicted, last_tau = x, 0.0
    added: Tensor | float = 0.0
    for i in range(n):
        denoised = yield from denoise(predicted, sigmas[i])
        yield Progress(i + 1, n, preview=denoised)
        estimates = [*estimates, denoised][-max(predictor_order, corrector_order) :]
        predicting, correcting = min(predictor_order, len(estimates)), min(corrector_order, len(estimates))
        if sigmas[-1] == 0:
            predicting, correcting = min(predicting, n - 1 - i), min(correcting, n - i)
        if i == 0 or (sigmas[i + 1] == 0 and not pece):
            x = predicted
        else:
            known = sigmas[i + 1 - correcting : i + 1]
            x = _moved(x, sigmas[i - 1], sigmas[i], known, estimates, last_tau) + added
            if pece:
                denoised = yield from denoise(x, sigmas[i])
                estimates[-1] = denoised
        if sigmas[i + 1] == 0:
            return denoised
        last_tau = eta if end <= sigmas[i + 1] <= begin else 0.0
        known = sigmas[i + 1 - predicting : i + 1]
        predicted = _moved(x, sigmas[i], sigmas[i + 1], known, estimates, last_tau)
        added = 0.0
        if last_tau > 0:
            spread = (-(-2 * last_tau**2 * (sigmas[i] / sigmas[i + 1]).log()).expm1()).sqrt()
            added = noise(sigmas[i], sigmas[i + 1]) * (sigmas[i + 1] * spread * s_noise)
        predicted = predicted + added
    return predicted


sa_solver_pece = replace(sa_solver, name="sa_solver_pece", run=partial(sa_solver.run, pece=True))


def _moved(
    x: Tensor, sigma: Tensor, lower: Tensor, known: Tensor, estimates: list[Tensor], tau: float
) -> Tensor:
    """The mean at `lower` of the step from x at σ, through the newest estimates, which lie at the known σ."""
    lambdas = -known.double().log()
    here, there = -sigma.double().log(), -lower.double().log()
    rate = 1 + tau**2
    weights = integrals(
        (lambdas - there).tolist(), float(here - there), 0.0, lambda u: rate * np.exp(rate * u)
    )
    moved = x * (lower / sigma * (-(tau**2) * (sigma / lower).log()).exp())
    for weight, estimate in zip(weights, estimates[-len(weights) :], strict=True):
        moved = moved + estimate * weight
    return moved
