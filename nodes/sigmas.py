"""Nodes that make and change lists of noise levels."""

from typing import Annotated, TypeAlias

from engine.node import node
from engine.ports import Range
from nodes.diffusion import schedules
from nodes.diffusion.model import Model
from nodes.ports import Fraction, Sigmas
from nodes.sampling import SchedulerName, StepCount, StepIndex

SigmaBound: TypeAlias = Annotated[float, Range(0.0, 5000.0, step=0.01, round=False)]
SCHEDULERS_CATEGORY = "sampling/custom_sampling/schedulers"
SIGMAS_CATEGORY = "sampling/custom_sampling/sigmas"


@node("BasicScheduler", category=SCHEDULERS_CATEGORY)
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
    return model.sigmas(scheduler, steps, denoise)


@node("KarrasScheduler", category=SCHEDULERS_CATEGORY)
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
    return schedules.karras(steps, sigma_min, sigma_max, rho)


@node("ExponentialScheduler", category=SCHEDULERS_CATEGORY)
def exponential_scheduler(
    *, steps: StepCount = 20, sigma_max: SigmaBound = 14.614642, sigma_min: SigmaBound = 0.0291675
) -> Sigmas:
    """Noise levels that fall by the same factor at each step.

    Args:
        steps: How many steps.
        sigma_max: The first noise level.
        sigma_min: The last before 0.
    """
    return schedules.exponential(steps, sigma_min, sigma_max)


@node("PolyexponentialScheduler", category=SCHEDULERS_CATEGORY)
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
    return schedules.polyexponential(steps, sigma_min, sigma_max, rho)


@node("VPScheduler", category=SCHEDULERS_CATEGORY)
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


@node("SDTurboScheduler", category=SCHEDULERS_CATEGORY)
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


@node("BetaSamplingScheduler", category=SCHEDULERS_CATEGORY)
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
    return schedules.beta(model.sampling, steps, alpha, beta)


@node("SplitSigmas", category=SIGMAS_CATEGORY, outputs=("high_sigmas", "low_sigmas"))
def split_sigmas(*, sigmas: Sigmas, step: StepIndex = 0) -> tuple[Sigmas, Sigmas]:
    """Split noise levels at a step, for two samplers in a row.

    Args:
        sigmas: The noise levels.
        step: The first step of the second part.
    """
    return sigmas[: step + 1], sigmas[step:]


@node("SplitSigmasDenoise", category=SIGMAS_CATEGORY, outputs=("high_sigmas", "low_sigmas"))
def split_sigmas_denoise(*, sigmas: Sigmas, denoise: Fraction = 1.0) -> tuple[Sigmas, Sigmas]:
    """Split noise levels so that the second part has a share of the steps.

    Args:
        sigmas: The noise levels.
        denoise: The share of the second part.
    """
    steps = max(len(sigmas) - 1, 0)
    first = steps - round(steps * denoise)
    return sigmas[: first + 1], sigmas[first:]


@node("FlipSigmas", category=SIGMAS_CATEGORY)
def flip_sigmas(*, sigmas: Sigmas) -> Sigmas:
    """Reverse noise levels, from a picture to noise; a first level of 0 becomes 0.0001.

    Args:
        sigmas: The noise levels.
    """
    flipped = sigmas.flip(0)
    if len(flipped) and flipped[0] == 0:
        flipped[0] = 1e-4
    return flipped


@node("SetFirstSigma", category=SIGMAS_CATEGORY)
def set_first_sigma(
    *, sigmas: Sigmas, sigma: Annotated[float, Range(0.0, 20000.0, step=0.001, round=False)] = 136.0
) -> Sigmas:
    """Start at another noise level.

    Args:
        sigmas: The noise levels.
        sigma: Takes the place of the first.
    """
    changed = sigmas.clone()
    changed[:1] = sigma
    return changed


@node("SamplingPercentToSigma", category=SIGMAS_CATEGORY, outputs=("sigma_value",))
def sampling_percent_to_sigma(
    *,
    model: Model,
    sampling_percent: Annotated[float, Range(0.0, 1.0, step=0.0001)] = 0.0,
    return_actual_sigma: bool = False,
) -> float:
    """The noise level at a share of the sampling.

    Args:
        model: The model whose noise levels these are.
        sampling_percent: The share, 0..1.
        return_actual_sigma: At 0 and 1, give the model's largest and smallest level instead of none and 0.
    """
    space = model.sampling
    if return_actual_sigma and sampling_percent in (0.0, 1.0):
        return float(space.sigma_max if sampling_percent == 0.0 else space.sigma_min)
    return space.percent_to_sigma(sampling_percent)
