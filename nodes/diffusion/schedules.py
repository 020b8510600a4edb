"""Noise schedules by name: how n steps are spread over the σ range of a model."""

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from scipy.special import betaincinv
from torch import Tensor

from nodes.diffusion.sampling_space import ModelSampling

Schedule: TypeAlias = Callable[[ModelSampling, int], Tensor]
"""(sampling, n >= 1) to σ [n + 1] float32 on the CPU, falling to 0; a few give more or fewer values."""

SCHEDULES: dict[str, Schedule] = {}
"""Every schedule by its name in workflows; the order is the combo's order."""


def schedule(name: str) -> Callable[[Schedule], Schedule]:
    """Register a schedule under its name in workflows."""

    def register(function: Schedule) -> Schedule:
        SCHEDULES[name] = function
        return function

    return register


@schedule("simple")
def simple(sampling: ModelSampling, n: int) -> Tensor:
    """Every (steps/n)-th value of the training table, from the top."""
    table, size = sampling.table, len(sampling.table)
    return _ended(table[[size - 1 - int(k * size / n) for k in range(n)]])


@schedule("sgm_uniform")
def sgm_uniform(sampling: ModelSampling, n: int) -> Tensor:
    """Equal steps of training time, ending one step above the smallest σ (Stability's generative-models)."""
    return _uniform(sampling, n, endpoint=False)


@schedule("karras")
def karras_of_model(sampling: ModelSampling, n: int) -> Tensor:
    """Karras' schedule over the model's whole range, ρ = 7."""
    return karras(n, float(sampling.sigma_min), float(sampling.sigma_max))


@schedule("exponential")
def exponential_of_model(sampling: ModelSampling, n: int) -> Tensor:
    """Equal steps of ln σ over the model's whole range."""
    return exponential(n, float(sampling.sigma_min), float(sampling.sigma_max))


@schedule("ddim_uniform")
def ddim_uniform(sampling: ModelSampling, n: int) -> Tensor:
    """Every ⌊steps/n⌋-th value of the training table from the second on (Song et al. 2020)."""
    stride = max(len(sampling.table) // n, 1)
    if float(sampling.table[1]) < 1e-5:
        stride = max(len(sampling.table) // (n + 1), 1)
        return sampling.table[1::stride].flip(0)
    return _ended(sampling.table[1::stride].flip(0))


@schedule("beta")
def beta_of_model(sampling: ModelSampling, n: int) -> Tensor:
    """The beta schedule with α = β = 0.6."""
    return beta(sampling, n)


@schedule("normal")
def normal(sampling: ModelSampling, n: int) -> Tensor:
    """Equal steps of training time from the largest σ to the smallest."""
    return _uniform(sampling, n, endpoint=True)


@schedule("linear_quadratic")
def linear_quadratic(sampling: ModelSampling, n: int, threshold: float = 0.025) -> Tensor:
    """Half the steps linear down to 1 - threshold of the largest σ, the rest quadratic (Movie Gen, 2024)."""
    if n == 1:
        return torch.tensor([1.0, 0.0]) * sampling.sigma_max
    m = n // 2
    q, excess = n - m, m - threshold * n
    curve = excess / (m * q**2)
    slope = threshold / m - 2 * excess / q**2
    line = [i * threshold / m for i in range(m)]
    arc = [curve * i**2 + slope * i + curve * m**2 for i in range(m, n)]
    return torch.tensor([1.0 - a for a in [*line, *arc, 1.0]]) * sampling.sigma_max


@schedule("kl_optimal")
def kl_optimal(sampling: ModelSampling, n: int) -> Tensor:
    """Equal steps of arctan σ, least Kullback-Leibler divergence (Sabour et al. 2024, "Align Your Steps")."""
    share = torch.linspace(0, 1, n)
    angle = share * sampling.sigma_min.atan() + (1 - share) * sampling.sigma_max.atan()
    return _ended(angle.tan())


def karras(n: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """Equal steps of σ^(1/ρ), then 0 (Karras et al. 2022, equation 5): [n + 1]."""
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return _ended((high + torch.linspace(0, 1, n) * (low - high)) ** rho)


def exponential(n: int, sigma_min: float, sigma_max: float) -> Tensor:
    """Equal steps of ln σ, then 0: [n + 1]."""
    return _ended(torch.linspace(math.log(sigma_max), math.log(sigma_min), n).exp())


def polyexponential(n: int, sigma_min: float, sigma_max: float, rho: float = 1.0) -> Tensor:
    """A polynomial of degree ρ in ln σ, then 0; degree 1 is the exponential schedule: [n + 1]."""
    ramp = torch.linspace(1, 0, n) ** rho
    low, high = math.log(sigma_min), math.log(sigma_max)
    return _ended((ramp * (high - low) + low).exp())


def variance_preserving(n: int, beta_d: float = 19.9, beta_min: float = 0.1, eps_s: float = 1e-3) -> Tensor:
    """The continuous VP schedule √(e^(β_d t²/2 + β_min t) - 1), t from 1 to ε, then 0 (Song et al. 2021)."""
    t = torch.linspace(1, eps_s, n)
    return _ended((beta_d * t**2 / 2 + beta_min * t).expm1().sqrt())


def laplace(n: int, sigma_min: float, sigma_max: float, mu: float = 0.0, beta: float = 0.5) -> Tensor:
    """Levels whose ln σ lie at quantiles of a Laplace distribution, kept in the range; no 0 at the end: [n].

    Hang et al. 2024 ("Improved noise schedule for diffusion training"), table 1.

    Args:
        mu: Its mean.
        beta: Its scale; higher spends more steps at both ends.
    """
    offset = 0.5 - torch.linspace(0, 1, n)
    quantile = mu - beta * offset.sign() * (1 - 2 * offset.abs() + 1e-5).log()
    return quantile.exp().clamp(sigma_min, sigma_max)


def shift_for(
    tokens: float, base: float, largest: float, *, base_tokens: int = 256, largest_tokens: int = 4096
) -> float:
    """The shift μ of a flow for a number of tokens: linear through `base` and `largest` at theirs."""
    slope = (largest - base) / (largest_tokens - base_tokens)
    return tokens * slope + (base - slope * base_tokens)


def token_shifted(n: int, mu: float, terminal: float | None = None) -> Tensor:
    """Equal steps of a flow's time, shifted as `levels.Flux` shifts: [n + 1].

    Args:
        terminal: Stretch the levels so that the last one above 0 is this, where there are several.
    """
    sigmas = torch.linspace(1.0, 0.0, n + 1)
    factor = math.exp(mu)
    sigmas = torch.where(sigmas > 0, factor / (factor + (1 / sigmas - 1)), sigmas)
    if terminal is not None and n > 1:
        left = 1.0 - sigmas[:-1]
        sigmas = _ended(1.0 - left / (left[-1] / (1.0 - terminal)))
    return sigmas


def beta(sampling: ModelSampling, n: int, alpha: float = 0.6, beta: float = 0.6) -> Tensor:
    """Training timesteps at quantiles of a beta distribution, repeats dropped, then 0 (Lee et al. 2024)."""
    share = 1.0 - torch.arange(n, dtype=torch.float64) / n
    quantile = torch.from_numpy(betaincinv(alpha, beta, share.numpy()))
    index = torch.unique_consecutive((quantile * (len(sampling.table) - 1)).round().long())
    return _ended(sampling.table[index])


def turbo(sampling: ModelSampling, n: int, denoise: float = 1.0) -> Tensor:
    """The n timesteps that turbo models are distilled for, of 999, 899 … 99, then 0 (Sauer et al. 2023)."""
    start = 10 - int(10 * denoise)
    timesteps = torch.arange(10, 0, -1)[start : start + n] * 100 - 1
    return _ended(sampling.sigma(timesteps))


def denoising_sigmas(
    name: str, sampling: ModelSampling, steps: int, denoise: float = 1.0, *, discard_penultimate: bool = False
) -> Tensor:
    """The σ of a run of `steps` steps that redoes the last `denoise` share of a schedule.

    Args:
        name: A key of `SCHEDULES`.
        denoise: 0..1; below 1 the schedule has int(steps / denoise) steps, of which the last are run.
        discard_penultimate: Leave out the smallest σ above 0, as second-order samplers want it.

    Returns:
        [steps + 1] float32, or [0] when denoise is 0.
    """
    if denoise <= 0.0:
        return torch.zeros(0)
    total = steps if denoise > 0.9999 else int(steps / denoise)
    if discard_penultimate:
        longer = SCHEDULES[name](sampling, total + 1)
        sigmas = torch.cat([longer[:-2], longer[-1:]])
    else:
        sigmas = SCHEDULES[name](sampling, total)
    return sigmas if total == steps and denoise > 0.9999 else sigmas[-(steps + 1) :]


def _uniform(sampling: ModelSampling, n: int, endpoint: bool) -> Tensor:
    first = float(sampling.timestep(sampling.sigma_max))
    last = float(sampling.timestep(sampling.sigma_min))
    if float(sampling.sigma(torch.tensor(last))) < 1e-5:
        return sampling.sigma(_spaced(first, last, n + 1, endpoint))
    return _ended(sampling.sigma(_spaced(first, last, n, endpoint)))


def _spaced(first: float, last: float, n: int, endpoint: bool) -> Tensor:
    return torch.linspace(first, last, n) if endpoint else torch.linspace(first, last, n + 1)[:-1]


def _ended(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])
