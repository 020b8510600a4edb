"""Order of convergence of each deterministic sampler on a denoiser in closed form, beside that of theory."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.steps import Steps, run_alone
from nodes.diffusion.samplers import SAMPLERS

HIGH, LOW = 2.0, 0.2
WEIGHTS, MEANS, SPREADS = torch.tensor([[0.5, 0.3, 0.2], [-1.0, 0.6, 1.4], [0.5, 0.4, 0.6]]).double()
START = HIGH * torch.linspace(-1.7, 1.7, 8, dtype=torch.float64).reshape(1, 1, 2, 4)
COUNTS = (24, 48, 96)


@dataclass(frozen=True)
class Case:
    """A sampler with options that make it a solver of the probability-flow ODE, and its order by theory.

    Args:
        order: Of a whole run on steps equal in ln σ.
        gentle: Of one whose first steps are much shorter, where it differs; 0 where it is not measured.
        why: What sets the order.
    """

    name: str
    order: int
    why: str
    gentle: int = 0
    options: dict[str, Any] = field(default_factory=dict)


QUIET: dict[str, Any] = {"eta": 0.0}
ODE: dict[str, Any] = {"solver_type": "ODE"}
FIRST, HEUN, STARTS = "Euler steps", "two stages of second order", "second order, the first step of first"
CASES = (
    Case("euler", 1, FIRST),
    Case("ddim", 1, FIRST),
    Case("euler_cfg_pp", 1, FIRST),
    Case("euler_ancestral", 1, FIRST, 0, QUIET),
    Case("euler_ancestral_cfg_pp", 1, FIRST, 0, QUIET),
    Case("heun", 2, HEUN),
    Case("heunpp2", 1, "slopes weighted by σ, not by Heun's ½"),
    Case("dpm_2", 2, HEUN),
    Case("dpm_2_ancestral", 2, HEUN, 0, QUIET),
    Case("dpmpp_2s_ancestral", 2, HEUN, 0, QUIET),
    Case("dpmpp_sde", 2, HEUN, 0, QUIET),
    Case("seeds_2", 2, HEUN, 0, QUIET),
    Case("seeds_3", 3, "three stages of third order", 0, QUIET),
    Case("dpm_fast", 2, "third order, the last steps of second and first"),
    Case("lms", 2, "Adams-Bashforth 4, the first step of first order", 4),
    Case("lms", 2, "Adams-Bashforth 3, the first step of first order", 3, {"order": 3}),
    Case("ipndm", 2, "Adams-Bashforth 4 with the weights of equal steps"),
    Case("ipndm_v", 2, "its second difference is not exact on unequal steps"),
    Case("deis", 2, "third order in time, the first step of first", 3),
    Case("gradient_estimation", 1, "the change of slope counts twice what second order wants"),
    Case("gradient_estimation", 2, "γ = 3/2 is Adams-Bashforth 2", 0, {"gamma": 1.5}),
    Case("gradient_estimation_cfg_pp", 1, "as gradient_estimation"),
    Case("dpmpp_2m", 2, STARTS, 2),
    Case("dpmpp_2m_cfg_pp", 2, STARTS, 2),
    Case("dpmpp_2m_sde", 2, STARTS, 2, QUIET),
    Case("dpmpp_2m_sde_heun", 2, STARTS, 2, QUIET),
    Case("dpmpp_3m_sde", 2, "the curvature counts half of what third order wants", 2, QUIET),
    Case("res_multistep", 2, STARTS, 2),
    Case("res_multistep_cfg_pp", 2, STARTS, 2),
    Case("res_multistep_ancestral", 2, STARTS, 2, QUIET),
    Case("uni_pc", 2, "order 3 corrected, the last step of first order"),
    Case("uni_pc_bh2", 2, "order 3 corrected, the last step of first order"),
    Case("er_sde", 1, "one stage", 0, {**ODE, "max_stage": 1}),
    Case("er_sde", 2, "second order, until its sums over 200 points show", 0, {**ODE, "max_stage": 2}),
    Case("er_sde", 2, "the first step of first order; likewise", 0, {**ODE, "max_stage": 3}),
    Case("sa_solver", 3, "corrected, the first step of second order", 0, QUIET),
    Case("sa_solver_pece", 3, "corrected, the first step of second order", 0, QUIET),
    Case("dpm_adaptive", 3, "steps by tolerance: error over evaluations"),
    Case("dpm_adaptive", 2, "steps by tolerance: error over evaluations", 0, {"order": 2}),
)
"""All samplers but ddpm and lcm, which always draw noise, dpmpp_2s_ancestral_cfg_pp, which does not converge
to the ODE's solution (as the ecosystem has it), and those that differ in their noise's device alone."""


def denoised(x: Tensor, sigma: Tensor) -> Tensor:
    """E[x0 | x] of a mixture of three Gaussians at noise level σ, in closed form."""
    variance = SPREADS**2 + sigma**2
    away = x[..., None] - MEANS
    share = (WEIGHTS.log() - variance.log() / 2 - away**2 / variance / 2).softmax(-1)
    return (share * (MEANS + away * (SPREADS**2 / variance))).sum(-1)


def exact(steps: int = 1500) -> Tensor:
    """Where the probability-flow ODE leads from `START`, by fine Runge-Kutta steps of order 4 in ln σ."""
    h, level, x = math.log(HIGH / LOW) / steps, math.log(HIGH), START

    def slope(level: float, x: Tensor) -> Tensor:
        return denoised(x, torch.tensor(math.exp(level), dtype=torch.float64)) - x

    for _ in range(steps):
        a = slope(level, x)
        b = slope(level - h / 2, x + a * (h / 2))
        c = slope(level - h / 2, x + b * (h / 2))
        d = slope(level - h, x + c * h)
        x, level = x + (a + 2 * b + 2 * c + d) * (h / 6), level - h
    return x


def levels(count: int, gentle: bool = False) -> Tensor:
    """σ equally spaced in ln σ; gentle, with first steps of h³, h² … that leave the start no error to add."""
    logs = torch.linspace(math.log(HIGH), math.log(LOW), count + 1, dtype=torch.float64)
    if gentle:
        h = float(logs[0] - logs[1])
        first = logs[0] - 0.3 * torch.tensor([h**p for p in (3, 2, 1.5, 1.2, 1.1)]).double().cumsum(0)
        logs = torch.cat([logs[:1], first[first > logs[1] + 0.1 * h], logs[1:]])
    return logs.exp()


def measured(case: Case, truth: Tensor, *, gentle: bool = False) -> tuple[float, float]:
    """The exponent fitted through errors over numbers of steps by least squares, and the last error."""
    if case.name == "dpm_adaptive":
        runs = [_run(case, levels(2), rtol=10.0**-p, atol=10.0 ** -(p + 1)) for p in (4, 5, 6)]
    else:
        runs = [_run(case, levels(n, gentle)) for n in COUNTS]
    errors = [float((result - truth).abs().max()) for result, _ in runs]
    counts = [asked for _, asked in runs] if case.name == "dpm_adaptive" else COUNTS
    return -float(np.polyfit(np.log(counts), np.log(errors), 1)[0]), errors[-1]


def _run(case: Case, sigmas: Tensor, **options: Any) -> tuple[Tensor, int]:
    """The result, and how often the denoiser was asked."""
    sampler, asked = SAMPLERS[case.name], 0
    if case.name.startswith("sa_solver"):  # above 0 it ends a level early
        sigmas = torch.cat([sigmas, sigmas[-1:] * 0.9])

    def denoise(x: Tensor, sigma: Tensor) -> Steps[Any]:
        nonlocal asked
        yield from ()
        asked += 1
        estimate = denoised(x, sigma)
        return (estimate, estimate) if sampler.sees_both else estimate

    return run_alone(sampler(denoise, START, sigmas, **case.options, **options)), asked


def main() -> None:
    """Print the table."""
    from machine import described, table

    truth = exact()
    rows = []
    for case in CASES:
        fitted, error = measured(case, truth)
        options = ", ".join(f"{k} {v}" for k, v in case.options.items())
        gentle = ["", ""]
        if case.gentle:
            gentle = [str(case.gentle), f"{measured(case, truth, gentle=True)[0]:.2f}"]
        rows.append([case.name, options, str(case.order), f"{fitted:.2f}", f"{error:.1e}", *gentle, case.why])
    print(described("torch", "numpy"))
    print(
        f"\nσ from {HIGH} to {LOW} in {COUNTS} steps equal in ln σ, float64, a mixture of three Gaussians\n"
    )
    heads = ["sampler", "options", "theory", "fitted", "last error", "gentle: theory", "fitted", "why"]
    print(table(heads, rows))


if __name__ == "__main__":
    main()
