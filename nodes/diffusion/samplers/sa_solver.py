"""SA-Solver (Xue et al. 2023): stochastic Adams predictor and corrector of the x0 estimate in λ = -ln σ."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from torch import Tensor

from engine.steps import Progress, Steps
from nodes.diffusion.noise import StepNoise, white
from nodes.diffusion.samplers.adams import integrals
from nodes.diffusion.samplers.sampler import Denoise, sampler
from nodes.diffusion.sampling_space import ModelSampling, share


@sampler("sa_solver", noise=white, sees_space=True, rescales_flows=True)
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
    first: float | None = None,
    last: float | None = None,
    simple_order_2: bool = False,
) -> Steps[Tensor]:
    """Algorithm 1: predict, evaluate, correct; the orders fall towards a last step to 0.

    A run that ends above 0 gives x at its last level but one, as the ecosystem has it.

    Args:
        eta: τ of the paper from the σ `first` down to `last`, where not given those at 20 and 80 percent of
            the sampling; 0 elsewhere.
        corrector_order: 0 leaves out the correction.
        pece: Evaluate again after the correction.
        simple_order_2: Weigh steps of second order as the authors do where steps are few.
    """
    n = len(sigmas) - 1
    tau = _interval(space, eta, first, last)
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
        if i == 0 or corrector_order == 0 or (sigmas[i + 1] == 0 and not pece):
            x = predicted
        else:
            known = sigmas[i + 1 - correcting : i + 1]
            x = _moved(x, sigmas[i - 1], sigmas[i], known, estimates, last_tau, simple_order_2) + added
            if pece:
                denoised = yield from denoise(x, sigmas[i])
                estimates[-1] = denoised
        if sigmas[i + 1] == 0:
            return denoised
        last_tau = tau(sigmas[i + 1])
        known = sigmas[i + 1 - predicting : i + 1]
        predicted = _moved(x, sigmas[i], sigmas[i + 1], known, estimates, last_tau, simple_order_2)
        added = 0.0
        if last_tau > 0:
            spread = (-(-2 * last_tau**2 * (sigmas[i] / sigmas[i + 1]).log()).expm1()).sqrt()
            added = noise(sigmas[i], sigmas[i + 1]) * (sigmas[i + 1] * spread * s_noise)
        predicted = predicted + added
    return x * ((1 + sigmas[-1]) / (1 + sigmas[-2])) if space.is_flow else x


sa_solver_pece = replace(sa_solver, name="sa_solver_pece", run=partial(sa_solver.run, pece=True))


def _interval(
    space: ModelSampling, eta: float, first: float | None, last: float | None
) -> Callable[[Tensor], float]:
    first = space.percent_to_sigma(0.2) if first is None else first
    last = space.percent_to_sigma(0.8) if last is None else last

    def tau(level: Tensor) -> float:
        sigma = share(level).float() if space.is_flow else level
        return eta if last <= sigma <= first else 0.0

    return tau


def _moved(
    x: Tensor,
    sigma: Tensor,
    lower: Tensor,
    known: Tensor,
    estimates: list[Tensor],
    tau: float,
    simple_order_2: bool,
) -> Tensor:
    """The mean at `lower` of the step from x at σ, through the newest estimates, which lie at the known σ."""
    lambdas = -known.double().log()
    here, there = -sigma.double().log(), -lower.double().log()
    rate = 1 + tau**2
    weights = integrals(
        (lambdas - there).tolist(), float(here - there), 0.0, lambda u: rate * np.exp(rate * u)
    )
    if simple_order_2 and len(weights) == 2:
        h = rate * float(there - here)
        weights = _simple(
            h, float((lambdas[1] - lambdas[0]) / (there - here)), corrects=bool(lower == known[-1])
        )
    moved = x * (lower / sigma * (-(tau**2) * (sigma / lower).log()).exp())
    for weight, estimate in zip(weights, estimates[-len(weights) :], strict=True):
        moved = moved + estimate * weight
    return moved


def _simple(h: float, ratio: float, *, corrects: bool) -> list[float]:
    """Second-order weights, oldest first, whose slope term is taken at the lowest order in h.

    Args:
        h: (1 + τ²) times the length of the step in λ.
        ratio: Between the estimates' distance in λ and the step's length.
    """
    whole, half = -math.expm1(-h), h / 2
    return [whole - half, half] if corrects else [-half / ratio, whole + half / ratio]
