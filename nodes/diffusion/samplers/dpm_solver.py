"""DPM-Solver (Lu et al. 2022): exponential integrators of the noise estimate in λ = -ln σ, orders 1 to 3.

Both samplers choose their own noise levels between the first σ and the last above 0, where they end.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.steps import Progress, Steps
from nodes.diffusion.noise import StepNoise, white
from nodes.diffusion.samplers.sampler import Denoise, ancestral_split, sampler


@sampler("dpm_fast")
def dpm_fast(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Steps[Tensor]:
    """DPM-Solver-fast: an estimate for each σ given, in third-order steps equal in λ (section 3.4)."""
    nfe = len(sigmas) - 1
    count = nfe // 3 + 1
    orders = [3] * (count - 1) + [nfe % 3] if nfe % 3 else [3] * (count - 2) + [2, 1]
    first, last = (-s.log() for s in _ends(sigmas))
    times = torch.linspace(float(first), float(last), len(orders) + 1, dtype=sigmas.dtype)
    for i, order in enumerate(orders):
        sigma = (-times[i]).exp()
        denoised = yield from denoise(x, sigma)
        yield Progress(i + 1, len(orders), preview=denoised)
        x = (yield from _solutions(denoise, x, (x - denoised) / sigma, times[i], times[i + 1], order))[-1]
    return x


@sampler("dpm_adaptive", noise=white)
def dpm_adaptive(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    order: int = 3,
    rtol: float = 0.05,
    atol: float = 0.0078,
    h_init: float = 0.05,
    pcoeff: float = 0.0,
    icoeff: float = 1.0,
    dcoeff: float = 0.0,
    accept_safety: float = 0.81,
    eta: float = 0.0,
    s_noise: float = 1.0,
) -> Steps[Tensor]:
    """DPM-Solver of order 2 or 3, its steps sized by the error against the order below (appendix C).

    Args:
        rtol: Allowed error relative to x.
        atol: Allowed error where x is small.
        h_init: The first step in λ.
        pcoeff: Proportional, `icoeff` integral and `dcoeff` differential gain of the step size's controller.
        accept_safety: A step is taken when the controller would shrink it by no more than this factor.
    """
    first, last = (-s.log() for s in _ends(sigmas))
    controller = _StepSize(h_init, (pcoeff, icoeff, dcoeff), 1.5 if eta else float(order), accept_safety)
    here, before = first, x
    while here < last - 1e-5:
        there = last.minimum(here + controller.h)
        sigma, lower = (-here).exp(), (-there).exp()
        end, spread = there, torch.zeros(())
        if eta:
            down, _ = ancestral_split(sigma, lower, eta)
            end = last.minimum(-down.log())
            spread = (lower**2 - (-end).exp() ** 2).clamp(min=0).sqrt() * s_noise
        denoised = yield from denoise(x, sigma)
        *_, low, high = yield from _solutions(denoise, x, (x - denoised) / sigma, here, end, order)
        allowed = (rtol * low.abs().maximum(before.abs())).clamp(min=atol)
        error = float(((low - high) / allowed).square().mean().sqrt())
        if controller.accepts(error):
            before, here = low, there
            x = high + noise(sigma, lower) * spread if eta else high
            share = int(100 * (here - first) / (last - first))
            yield Progress(max(1, share), 100, preview=denoised)
    return x


class _StepSize:
    """A PID controller of the step size; it remembers three errors."""

    def __init__(self, h: float, gains: tuple[float, float, float], order: float, safety: float) -> None:
        p, i, d = gains
        self.h, self._safety = h, safety
        self._powers = ((p + i + d) / order, -(p + 2 * d) / order, d / order)
        self._inverse: list[float] = []

    def accepts(self, error: float) -> bool:
        """Whether a step with this error is good enough; sizes the next."""
        inverse = 1 / (error + 1e-8)
        self._inverse = [inverse, *(self._inverse[1:] or [inverse, inverse])]
        factor = 1.0
        for e, power in zip(self._inverse, self._powers, strict=True):
            factor *= e**power
        factor = 1 + float(torch.tensor(factor - 1, dtype=torch.float64).atan())
        accepted = factor >= self._safety
        if accepted:
            self._inverse = [self._inverse[0], self._inverse[0], self._inverse[1]]
        self.h *= factor
        return accepted


def _ends(sigmas: Tensor) -> tuple[Tensor, Tensor]:
    return sigmas[0], sigmas[-1] if sigmas[-1] > 0 else sigmas[-2]


def _solutions(
    denoise: Denoise, x: Tensor, eps: Tensor, here: Tensor, there: Tensor, order: int
) -> Steps[Sequence[Tensor]]:
    """The step from one λ to the next by solvers of order 1 up to `order`, which share their estimates."""
    h = there - here
    lower = (-there).exp()
    first = x - lower * h.expm1() * eps
    if order == 1:
        return [first]
    r = 1 / 2 if order == 2 else 1 / 3
    middle = (-(here + r * h)).exp()
    change = (yield from _eps(denoise, x - middle * (r * h).expm1() * eps, middle)) - eps
    second = first - lower / (2 * r) * h.expm1() * change
    if order == 2:
        return [first, second]
    late, part = (-(here + 2 * r * h)).exp(), 2 * r * h
    u = x - late * part.expm1() * eps - late * 2 * (part.expm1() / part - 1) * change
    change = (yield from _eps(denoise, u, late)) - eps
    return [first, second, first - lower / (2 * r) * (h.expm1() / h - 1) * change]


def _eps(denoise: Denoise, x: Tensor, sigma: Tensor) -> Steps[Tensor]:
    return (x - (yield from denoise(x, sigma))) / sigma
