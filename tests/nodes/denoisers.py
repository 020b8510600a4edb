"""Denoisers whose answers are known in closed form, and k-diffusion's samplers to compare with."""

import importlib
import importlib.util
import sys
import types
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.devices import Devices
from engine.steps import Steps
from nodes.diffusion.added import NOTHING, Added
from nodes.diffusion.guiding import GuidanceStep
from nodes.diffusion.latent_format import LatentFormat
from nodes.diffusion.model import Query
from nodes.diffusion.sampling_space import ModelSampling
from nodes.diffusion.weights import Structure
from nodes.ports import Cond, Conditioning

SPREAD = 0.7  # the standard deviation of the data


def gaussian(x: Tensor, sigma: Tensor) -> Tensor:
    """E[x0 | x] of data N(0, SPREAD²)."""
    return x * SPREAD**2 / (sigma**2 + SPREAD**2)


def gaussian_path(x: Tensor, sigma: Tensor, lower: Tensor) -> Tensor:
    """Where the probability-flow ODE leads from x at σ."""
    return x * ((lower**2 + SPREAD**2) / (sigma**2 + SPREAD**2)).sqrt()


def two_points(x: Tensor, sigma: Tensor) -> Tensor:
    """E[x0 | x] of data N(±1, 0.25²), half each: not linear in x."""
    variance = sigma**2 + 0.25**2
    mean = torch.tanh(x / variance)
    return mean + (x - mean) * (0.25**2 / variance)


def asked(function: Any) -> Any:
    """A plain denoiser as a generator that asks nobody."""

    def denoise(x: Tensor, sigma: Tensor) -> Steps[Tensor]:
        yield from ()
        return function(x, sigma)

    return denoise


def asked_both(function: Any) -> Any:
    """As `asked`, its estimate being the unconditional one too."""

    def denoise(x: Tensor, sigma: Tensor) -> Steps[tuple[Tensor, Tensor]]:
        yield from ()
        return function(x, sigma), function(x, sigma)

    return denoise


@dataclass(eq=False)
class ToyModel:
    """Answers with the mean of each row's context, plus `slope` times x; remembers the batches."""

    sampling: ModelSampling = field(default_factory=ModelSampling)
    devices: Devices = field(default_factory=lambda: Devices("cpu"))
    latent: LatentFormat = field(default_factory=lambda: LatentFormat(scale=0.5))
    added: Added = NOTHING
    guidance: tuple[GuidanceStep, ...] = ()
    differential: float | None = None
    slope: float = 0.0
    batches: list[list[Query]] = field(default_factory=list)

    def fitted(self, samples: Tensor) -> Tensor:
        return samples

    def at(self, sigma: float) -> "ToyModel":
        return self

    def patched(self, *structures: Structure) -> "ToyModel":
        return replace(self, slope=self.slope + len(structures))

    def batch_key(self, query: Query) -> Hashable:
        return query.x.shape, query.context.shape, len(query.control)

    def answer(self, queries: Sequence[Query]) -> list[Tensor]:
        self.batches.append(list(queries))
        return [self.slope * q.x + q.context.mean() for q in queries]


def says(value: float, tokens: int = 3, **options: Any) -> Conditioning:
    """A conditioning of one entry whose context is one number."""
    return Conditioning((Cond(torch.full((1, tokens, 2), value)).with_options(**options),))


def k_diffusion_sampling() -> Any:
    """The module k_diffusion.sampling, without the package's own imports (CLIP, wandb and others)."""
    if "k_diffusion" not in sys.modules:
        spec = importlib.util.find_spec("k_diffusion")
        if spec is None or spec.submodule_search_locations is None:
            pytest.skip("k-diffusion is not installed")
        package = types.ModuleType("k_diffusion")
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules["k_diffusion"] = package
    return importlib.import_module("k_diffusion.sampling")
