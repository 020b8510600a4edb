"""Multistep steps with weights of their own: iPNDM on equal and unequal steps, and DEIS."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from engine.steps import Steps
from nodes.diffusion.samplers.adams import basis
from nodes.diffusion.samplers.lms import multistep
from nodes.diffusion.samplers.sampler import Denoise, sampler


@sampler("ipndm")
def ipndm(denoise: Denoise, x: Tensor, sigmas: Tensor, *, max_order: int = 4) -> Steps[Tensor]:
    """Adams-Bashforth with the weights of equal steps (Liu et al. 2022, PNDM; Zhang & Chen 2023, table 4)."""
    return (yield from multistep(denoise, x, sigmas, max_order, _of_equal_steps))


@sampler("ipndm_v")
def ipndm_v(denoise: Denoise, x: Tensor, sigmas: Tensor, *, max_order: int = 4) -> Steps[Tensor]:
    """The variable-step form of `ipndm`, with the weights of its authors' program (zju-pi/diff-sampler)."""
    return (yield from multistep(denoise, x, sigmas, max_order, _of_unequal_steps))


@sampler("deis")
def deis(denoise: Denoise, x: Tensor, sigmas: Tensor, *, max_order: int = 3) -> Steps[Tensor]:
    """DEIS, tAB (Zhang & Chen 2023): slopes interpolated over the time of a variance-preserving diffusion."""
    return (yield from multistep(denoise, x, sigmas, max_order, _over_time))


_EQUAL = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def _of_equal_steps(known: Sequence[float], lower: float) -> list[float]:
    return [w * (lower - known[0]) for w in _EQUAL[len(known) - 1]]


def _of_unequal_steps(known: Sequence[float], lower: float) -> list[float]:
    """Newton's form: slope, and its divided differences times what they integrate to.

    The factors are those of the published program, and so of the ecosystem's pictures: on equal steps they
    are Adams-Bashforth's. On unequal ones its second difference is not quite so, and the oldest slope has a
    ratio of newer steps (h_1/h_2 for h_2/h_3), which is harmless where steps shrink by about the same factor.
    """
    h = lower - known[0]
    steps = [a - b for a, b in pairwise(known)]
    weights = np.eye(len(known))[0]
    if len(known) > 1:
        weights += h / steps[0] / 2 * _difference(known, 1)
    if len(known) > 2:
        second = (1 - h**2 / (3 * steps[0] * (steps[0] + steps[1]))) / 2
        weights += second * _difference(known, 2)
    if len(known) > 3:
        h_1, h_2, h_3 = h + steps[0], steps[0] + steps[1], steps[0] + steps[1] + steps[2]
        third = (1 - h / (3 * h_1)) / 2 + (1 - h / (2 * h_1)) * h / (6 * (h_1 + steps[1]))
        third *= h * h_1 * (h_1 + steps[1]) / (steps[0] * h_2 * h_3)
        weights += third * _difference(known, 3)
        weights[3] *= steps[0] * steps[2] / steps[1] ** 2
    return [float(w) * h for w in weights]


def _difference(known: Sequence[float], degree: int) -> NDArray[np.float64]:
    """The weights of a divided difference, times the product of the distances from the newest σ."""
    weights = np.zeros(len(known))
    for j in range(degree + 1):
        others = [known[j] - known[k] for k in range(degree + 1) if k != j]
        weights[j] = np.prod([known[0] - known[k] for k in range(1, degree + 1)]) / np.prod(others)
    return weights


_DEIS_RANGE = (0.002, 80.0, 1e-3)  # σ at the time ε and at time 1, and ε
_DEIS_POINTS = 10_000  # that its integrals are averaged over, both ends among them, as its authors do


def _over_time(known: Sequence[float], lower: float) -> list[float]:
    low, high, start = _DEIS_RANGE
    beta_d = 2 * (np.log(low**2 + 1) / start - np.log(high**2 + 1)) / (start - 1)
    beta_min = np.log(high**2 + 1) - beta_d / 2

    def time(sigma: float) -> float:
        return float((np.sqrt(beta_min**2 + 2 * beta_d * np.log(sigma**2 + 1)) - beta_min) / beta_d)

    def sigma_per_time(t: NDArray[np.float64]) -> NDArray[np.float64]:
        growth = beta_d * t**2 / 2 + beta_min * t
        slope: NDArray[np.float64] = (
            (beta_d * t + beta_min) * np.exp(growth) / (2 * np.sqrt(np.expm1(growth)))
        )
        return slope

    if len(known) == 1:
        return [lower - known[0]]
    begin, end = time(known[0]), time(lower)
    t = np.linspace(begin, end, _DEIS_POINTS)
    curve = sigma_per_time(t)
    bases = [basis([time(s) for s in known], j, t) for j in range(len(known))]
    return [float((curve * b).mean()) * (end - begin) for b in bases]
