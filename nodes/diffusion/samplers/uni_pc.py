"""UniPC (Zhao et al. 2023): a predictor and corrector of the same form over the last estimates of x0.

In σ space (x/α of the paper's variance-preserving x) the scale α drops out of every equation.
"""

import math
from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from engine.steps import Progress, Steps
from nodes.diffusion.samplers.sampler import Denoise, sampler
from nodes.diffusion.sampling_space import ModelSampling

LAST_SIGMA = 0.001  # stands for a final σ of 0, whose λ = -ln σ has no value


@sampler("uni_pc", discard_penultimate=True, sees_space=True)
def uni_pc(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    space: ModelSampling,
    variant: Literal["bh1", "bh2"] = "bh1",
) -> Steps[Tensor]:
    """Multistep UniPC of order up to 3, predicting x0 (algorithm 8), lower at both ends; two steps or more.

    Args:
        variant: B(h) of section 3.1: h ("bh1") or e^h - 1 ("bh2").
    """
    n = len(sigmas) - 1
    ended = bool(sigmas[-1] == 0)
    sigmas = torch.cat([sigmas[:-1], sigmas[-1:].clamp(min=LAST_SIGMA)])
    highest = max(1, min(3, n - 1))
    history = [(yield from denoise(x, sigmas[0]))]  # newest first
    yield Progress(1, n, preview=history[0])
    if n == 1:  # the reference takes no step of order 0: its x changes scale only
        return x * ((1 + sigmas[1] ** 2) / (1 + sigmas[0] ** 2)).sqrt()
    for i in range(1, n + 1):
        order = min(highest, i, n + 1 - i)
        known = sigmas[i - order : i].flip(0)
        step = _Step(known, sigmas[i], variant)
        ahead = step.predicted(x, history)
        if i == n:
            return space.kept(ahead, sigmas[-1]) if ended else ahead
        denoised = yield from denoise(ahead, sigmas[i])
        x = step.corrected(x, history, denoised)
        history = [denoised, *history[: highest - 1]]
        yield Progress(i + 1, n, preview=denoised)
    return x


uni_pc_bh2 = replace(uni_pc, name="uni_pc_bh2", run=partial(uni_pc.run, variant="bh2"))


class _Step:
    """One step from the newest of the known σ (newest first, as many as the order) to `lower`."""

    def __init__(self, known: Tensor, lower: Tensor, variant: str) -> None:
        order = len(known)
        lambdas = -known.double().log()
        h = -lower.double().log() - lambdas[0]
        self.kept = lower / known[0]
        self.ratios = [*((lambdas[1:] - lambdas[0]) / h).tolist(), 1.0]
        self.b_h = float(-h if variant == "bh1" else (-h).expm1())
        self.matrix = torch.tensor([[r**i for r in self.ratios] for i in range(order)], dtype=torch.float64)
        self.target = torch.tensor(_phis(float(-h), order), dtype=torch.float64) / self.b_h

    def predicted(self, x: Tensor, history: list[Tensor]) -> Tensor:
        """UniP: from the estimates known so far; two of them are weighted by ½ (the paper's choice)."""
        order = len(self.ratios)
        if order <= 2:
            weights = [0.5] * (order - 1)
        else:
            weights = torch.linalg.solve(self.matrix[:-1, :-1], self.target[:-1]).tolist()
        return self._moved(x, history, weights, self._slopes(history))

    def corrected(self, x: Tensor, history: list[Tensor], denoised: Tensor) -> Tensor:
        """UniC: the same step, with the estimate at its end."""
        order = len(self.ratios)
        weights = [0.5] if order == 1 else torch.linalg.solve(self.matrix, self.target).tolist()
        return self._moved(x, history, weights, [*self._slopes(history), denoised - history[0]])

    def _slopes(self, history: list[Tensor]) -> list[Tensor]:
        return [(older - history[0]) / r for older, r in zip(history[1:], self.ratios[:-1], strict=False)]

    def _moved(self, x: Tensor, history: list[Tensor], weights: list[float], slopes: list[Tensor]) -> Tensor:
        moved = history[0] + (x - history[0]) * self.kept
        for weight, slope in zip(weights, slopes, strict=True):
            moved = moved - slope * (weight * self.b_h)
        return moved


def _phis(z: float, order: int) -> list[float]:
    """The numbers z i! φ_{i+1}(z) for i = 1..order, with φ_1 = (e^z - 1)/z and φ_{i+1} = (φ_i - 1/i!)/z."""
    phi, found = math.expm1(z) / z, []
    for i in range(1, order + 1):
        rest = phi - 1 / math.factorial(i)
        found.append(rest * math.factorial(i))
        phi = rest / z
    return found
