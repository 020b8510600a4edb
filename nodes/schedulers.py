"""Nodes that make lists of noise levels: schedules, by formula and by table."""

import math
from typing import Annotated, Literal, TypeAlias

from engine.node import node
from engine.ports import Range
from engine.problems import NodeFailure
from nodes.diffusion import schedules, tabled
from nodes.diffusion.gits import PERCENTS
from nodes.diffusion.model import Model
from nodes.ports import Fraction, Latent, Sigmas
from nodes.sampling import SchedulerName, StepCount

SigmaBound: TypeAlias = Annotated[float, Range(0.0, 5000.0, step=0.01, round=False)]
Shift: TypeAlias = Annotated[float, Range(0.0, 100.0, step=0.01)]
CATEGORY = "sampling/custom_sampling/schedulers"


@node("BasicScheduler", category=CATEGORY, version=2)
def basic_scheduler(
    *, model: Model, scheduler: SchedulerName, steps: StepCount = 20, denoise: Fraction = 1.0
) -> Sigmas:
    """The noise levels of a schedule, for a model.

    Args:
        model: The model whose noise levels these are.
        scheduler: How to spread them over the steps.
        steps: How many steps.
        denoise: Share of the schedule to run, its end.
    """
    return model.sigmas(scheduler, steps, denoise)[-(steps + 1) :]


@node("KarrasScheduler", category=CATEGORY)
def karras_scheduler(
    *,
    steps: StepCount = 20,
    sigma_max: SigmaBound = 14.614642,
    sigma_min: SigmaBound = 0.0291675,
    rho: Annotated[float, Range(0.0, 100.0, step=0.01, round=False)] = 7.0,
) -> Sigmas:
    """Noise levels by Karras et al. 2022, equation 5.

    Args:
        steps: How many steps.
        sigma_max: The first noise level.
        sigma_min: The last before 0.
        rho: Higher spends more steps at low noise.
    """
    if rho == 0.0:
        raise NodeFailure("rho is 0, and its inverse is a power", "set rho above 0; 7 is usual")
    return schedules.karras(steps, sigma_min, sigma_max, rho)


@node("ExponentialScheduler", category=CATEGORY)
def exponential_scheduler(
    *, steps: StepCount = 20, sigma_max: SigmaBound = 14.614642, sigma_min: SigmaBound = 0.0291675
) -> Sigmas:
    """Noise levels that fall by the same factor at each step.

    Args:
        steps: How many steps.
        sigma_max: The first noise level.
        sigma_min: The last before 0.
    """
    _check_logarithms(sigma_min, sigma_max)
    return schedules.exponential(steps, sigma_min, sigma_max)


@node("PolyexponentialScheduler", category=CATEGORY)
def polyexponential_scheduler(
    *,
    steps: StepCount = 20,
    sigma_max: SigmaBound = 14.614642,
    sigma_min: SigmaBound = 0.0291675,
    rho: Annotated[float, Range(0.0, 100.0, step=0.01, round=False)] = 1.0,
) -> Sigmas:
    """Noise levels whose logarithm falls along a power of the step.

    Args:
        steps: How many steps.
        sigma_max: The first noise level.
        sigma_min: The last before 0.
        rho: The power; 1 is the exponential schedule.
    """
    _check_logarithms(sigma_min, sigma_max)
    return schedules.polyexponential(steps, sigma_min, sigma_max, rho)


@node("VPScheduler", category=CATEGORY)
def vp_scheduler(
    *,
    steps: StepCount = 20,
    beta_d: Annotated[float, Range(0.0, 5000.0, step=0.01, round=False)] = 19.9,
    beta_min: Annotated[float, Range(0.0, 5000.0, step=0.01, round=False)] = 0.1,
    eps_s: Annotated[float, Range(0.0, 1.0, step=0.0001, round=False)] = 0.001,
) -> Sigmas:
    """Noise levels of the continuous variance-preserving diffusion (Song et al. 2021).

    Args:
        steps: How many steps.
        beta_d: How far β rises over time.
        beta_min: β at time 0.
        eps_s: The time of the last level before 0.
    """
    return schedules.variance_preserving(steps, beta_d, beta_min, eps_s)


@node("SDTurboScheduler", category=CATEGORY)
def sd_turbo_scheduler(
    *, model: Model, steps: Annotated[int, Range(1, 10)] = 1, denoise: Fraction = 1.0
) -> Sigmas:
    """The few noise levels that a distilled turbo model was trained for.

    Args:
        model: The model whose noise levels these are.
        steps: How many steps.
        denoise: Below 1 starts at a lower level.
    """
    return schedules.turbo(model.sampling, steps, denoise)


@node("BetaSamplingScheduler", category=CATEGORY)
def beta_sampling_scheduler(
    *,
    model: Model,
    steps: StepCount = 20,
    alpha: Annotated[float, Range(0.0, 50.0, step=0.01, round=False)] = 0.6,
    beta: Annotated[float, Range(0.0, 50.0, step=0.01, round=False)] = 0.6,
) -> Sigmas:
    """Noise levels at quantiles of a beta distribution over training time (Lee et al. 2024).

    Args:
        model: The model whose noise levels these are.
        steps: How many steps.
        alpha: Lower spends more steps at low noise.
        beta: Lower spends more steps at high noise.
    """
    if alpha == 0.0 or beta == 0.0:
        raise NodeFailure("a beta distribution needs alpha and beta above 0", "0.6 and 0.6 are usual")
    return schedules.beta(model.sampling, steps, alpha, beta)


@node("LaplaceScheduler", category=CATEGORY)
def laplace_scheduler(
    *,
    steps: StepCount = 20,
    sigma_max: SigmaBound = 14.614642,
    sigma_min: SigmaBound = 0.0291675,
    mu: Annotated[float, Range(-10.0, 10.0, step=0.1, round=False)] = 0.0,
    beta: Annotated[float, Range(0.0, 10.0, step=0.1, round=False)] = 0.5,
) -> Sigmas:
    """Noise levels whose logarithm has a Laplace distribution (Hang et al. 2024); they do not end at 0.

    Args:
        steps: How many noise levels.
        sigma_max: The largest noise level.
        sigma_min: The smallest.
        mu: The logarithm of the level around which they crowd.
        beta: Higher spreads them more.
    """
    return schedules.laplace(steps, sigma_min, sigma_max, mu, beta)


@node("AlignYourStepsScheduler", category=CATEGORY)
def align_your_steps_scheduler(
    *,
    model_type: Literal["SD1", "SDXL", "SVD"],
    steps: Annotated[int, Range(1, 10_000)] = 10,
    denoise: Fraction = 1.0,
) -> Sigmas:
    """Noise levels found for one kind of model at ten steps (Sabour et al. 2024).

    Args:
        model_type: The kind of model.
        steps: How many steps; other numbers than ten are interpolated.
        denoise: Share of the schedule to run, its end.
    """
    return tabled.tabled(tabled.ALIGN_YOUR_STEPS[model_type], steps, denoise)


@node("GITSScheduler", category=CATEGORY)
def gits_scheduler(
    *,
    coeff: Annotated[float, Range(0.8, 1.5, step=0.05)] = 1.2,
    steps: Annotated[int, Range(2, 1000)] = 10,
    denoise: Fraction = 1.0,
) -> Sigmas:
    """Noise levels found for Stable Diffusion 1.5 by the curvature of its paths (Chen et al. 2024).

    Args:
        coeff: Weight of the curvature, in steps of 0.05; higher spends more steps at low noise.
        steps: How many steps; more than 20 are interpolated.
        denoise: Share of the schedule to run, its end.
    """
    coefficient = round(coeff, 2)
    if coefficient not in PERCENTS:
        raise NodeFailure(f"there is no table for coeff {coeff}", "choose 0.80, 0.85, 0.90 … 1.50")
    return tabled.gits(coefficient, steps, denoise)


@node("OptimalStepsScheduler", category=CATEGORY)
def optimal_steps_scheduler(
    *,
    model_type: Literal["FLUX", "Wan", "Chroma"],
    steps: Annotated[int, Range(3, 1000)] = 20,
    denoise: Fraction = 1.0,
) -> Sigmas:
    """Noise levels found for one kind of model by following its fine paths (Pei et al. 2025).

    Args:
        model_type: The kind of model.
        steps: How many steps; other numbers than the table's are interpolated.
        denoise: Share of the schedule to run, its end.
    """
    return tabled.tabled(tabled.OPTIMAL_STEPS[model_type], steps, denoise)


@node("LTXVScheduler", category=CATEGORY)
def ltxv_scheduler(
    *,
    steps: StepCount = 20,
    max_shift: Shift = 2.05,
    base_shift: Shift = 0.95,
    stretch: bool = True,
    terminal: Annotated[float, Range(0.0, 0.99, step=0.01)] = 0.1,
    latent: Latent | None = None,
) -> Sigmas:
    """Noise levels of a flow, shifted to more noise the more tokens a latent has.

    Args:
        steps: How many steps.
        max_shift: The shift at 4096 tokens.
        base_shift: The shift at 1024 tokens.
        stretch: Whether the last level above 0 is set.
        terminal: That level.
        latent: Whose tokens are counted; without one there are 4096.
    """
    tokens = 4096 if latent is None else math.prod(latent.samples.shape[2:])
    mu = schedules.shift_for(tokens, base_shift, max_shift, base_tokens=1024)
    return schedules.token_shifted(steps, mu, terminal if stretch else None)


def _check_logarithms(sigma_min: float, sigma_max: float) -> None:
    if sigma_min <= 0.0 or sigma_max <= 0.0:
        raise NodeFailure(
            "a noise level of 0 has no logarithm",
            "set sigma_min and sigma_max above 0; 0.03 and 14.6 are usual",
        )
