"""Numbers that ComfyUI 0.3.64 gave on analytic denoisers, and those denoisers: of a diffusion, of a flow."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.steps import Steps, run_alone
from nodes.diffusion.levels import Flow
from nodes.diffusion.samplers import SAMPLERS
from nodes.diffusion.sampling_space import ModelSampling
from tests.nodes.denoisers import two_points

NUMBERS: dict[str, Any] = json.loads(Path(__file__).with_name("sampling_goldens.json").read_text())
SPACES = {"ve": ModelSampling(), "flow": ModelSampling("flow", Flow(3.0))}
NOISE, LATENT = torch.randn(2, 3, 2, 4, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def estimates(kind: str, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """E[x0 | x] of two points blurred by 0.25, and an unconditional estimate that differs from it."""
    signal = 1 - sigma if kind == "flow" else torch.ones_like(sigma)
    if kind == "ve":
        conditional = two_points(x, sigma)
    else:
        variance = sigma**2 + signal**2 / 16
        mean = torch.tanh(x * signal / variance)
        conditional = mean + (x - signal * mean) * (signal / 16 / variance)
    return conditional, x * signal * 0.49 / (sigma**2 + 0.49 * signal**2) + 0.1


def run(name: str, kind: str, sigmas: Tensor, seed: int, **options: Any) -> Tensor:
    """What a sampler makes of `LATENT` and `NOISE`, from the first σ to the last."""
    sampler, space = SAMPLERS[name], SPACES[kind]

    def denoise(x: Tensor, sigma: Tensor) -> Steps[Any]:
        yield from ()
        both = estimates(kind, x, sigma.to(x))
        return both if sampler.sees_both else both[0]

    full = space.starts_at_full_noise(sigmas[0])
    x = space.noised(LATENT.to(sigmas), NOISE.to(sigmas), sigmas[0], full=full)
    result = run_alone(sampler(denoise, x, sigmas, seed=seed, space=space, **options))
    return space.kept(result, sigmas[-1])
