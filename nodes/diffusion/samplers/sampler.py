"""What a sampler is: a generator that asks for denoised estimates, and the facts its caller must know."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from engine.steps import Steps
from nodes.diffusion.noise import NoiseSource, StepNoise
from nodes.diffusion.sampling_space import ModelSampling, odds, share

Denoise: TypeAlias = Callable[[Tensor, Tensor], Steps[Tensor]]
"""(x [B, C, h, w], σ []) to the estimate of x0 under guidance, by asking the model."""

DenoiseBoth: TypeAlias = Callable[[Tensor, Tensor], Steps[tuple[Tensor, Tensor]]]
"""As `Denoise`, with the estimate of the last conditioning alone (the unconditional one) beside it."""

Run: TypeAlias = Callable[..., Steps[Tensor]]
"""(denoise, x [B, C, h, w] at σ_0, σ [n + 1], keyword options) to the sample at σ_n, in n steps."""


_NEAR_FULL = 1e-4  # the share of sampling where a rescaled flow starts; at 0 its level is infinite


@dataclass(frozen=True)
class Sampler:
    """A sampler by its name in workflows.

    Args:
        run: The generator; where `noise` is given it takes `noise: StepNoise` too.
        noise: The source of its step noise; None for a deterministic one.
        discard_penultimate: Whether its schedule leaves out the smallest σ above 0.
        redraws_inpaint_noise: Whether what is kept of a masked latent gets noise of its own, seed + 1.
        sees_both: Whether `run` takes a `DenoiseBoth`.
        sees_space: Whether `run` takes the model's noise levels, `space: ModelSampling`.
        rescales_flows: Whether a flow is run where it is variance-exploding: as x/(1 - σ) at level σ/(1 - σ).
        listed: Whether nodes offer it by name; others reach it through a node of its own.
    """

    name: str
    run: Run
    noise: NoiseSource | None = None
    discard_penultimate: bool = False
    redraws_inpaint_noise: bool = False
    sees_both: bool = False
    sees_space: bool = False
    rescales_flows: bool = False
    listed: bool = True

    def __call__(
        self,
        denoise: Denoise | DenoiseBoth,
        x: Tensor,
        sigmas: Tensor,
        *,
        seed: int = 0,
        space: ModelSampling | None = None,
        **options: Any,
    ) -> Steps[Tensor]:
        """Start one run: x [B, C, h, w] at σ_0 to the sample at the last of σ [n + 1].

        Args:
            seed: Of the step noise.
            space: The model's noise levels; Stable Diffusion's where none are given.
        """
        space = space or ModelSampling()
        if len(sigmas) < 2:
            return _unchanged(x)
        if self.sees_space:
            options["space"] = space
        if self.noise:
            options["noise"] = self.noise(x, sigmas, seed)
        rescaled = self.rescales_flows and space.is_flow
        if rescaled and sigmas[0] >= 1:
            sigmas = torch.cat([sigmas.new_tensor([space.percent_to_sigma(_NEAR_FULL)]), sigmas[1:]])
        if rescaled:
            return _rescaled(self.run, denoise, x, sigmas, options)
        return self.run(denoise, x, sigmas, **options)


def sampler(
    name: str,
    *,
    noise: NoiseSource | None = None,
    discard_penultimate: bool = False,
    redraws_inpaint_noise: bool = False,
    sees_both: bool = False,
    sees_space: bool = False,
    rescales_flows: bool = False,
    listed: bool = True,
) -> Callable[[Run], Sampler]:
    """Turn a generator function into a `Sampler`; its module is listed in `samplers/__init__.py`."""
    return lambda run: Sampler(
        name,
        run,
        noise,
        discard_penultimate,
        redraws_inpaint_noise,
        sees_both,
        sees_space,
        rescales_flows,
        listed,
    )


def ancestral_split(sigma: Tensor, lower: Tensor, eta: float = 1.0) -> tuple[Tensor, Tensor]:
    """The part of a step to go down and the noise to add after it: (σ_down, σ_up), σ_down² + σ_up² = σ'².

    η scales the noise: at 0 the step is deterministic, at 1 it has the variance of the DDPM posterior
    (Ho et al. 2020). From an infinite σ, any η above 0 draws all of it anew.
    """
    if eta == 0:  # on the way up too, where there is no posterior
        return lower, torch.zeros_like(lower)
    if sigma.isinf():
        return torch.zeros_like(lower), lower
    up = (eta * lower * (1 - (lower / sigma) ** 2).sqrt()).minimum(lower)
    return (lower**2 - up**2).sqrt(), up


def renoising(
    space: ModelSampling, sigma: Tensor, lower: Tensor, eta: float
) -> tuple[Tensor, Tensor, Tensor]:
    """As `ancestral_split`, for flows too: (σ_down, a, σ_up); after the step down, x becomes a x + σ_up n.

    On a flow, η moves σ_down in proportion, and a brings the share of the picture to 1 - σ'.
    """
    if not space.is_flow:
        down, up = ancestral_split(sigma, lower, eta)
        return down, torch.ones_like(up), up
    down = lower * (1 + (lower / sigma - 1) * eta)
    kept = (1 - lower) / (1 - down)
    return down, kept, (lower**2 - (down * kept) ** 2).clamp(min=0).sqrt()


def _rescaled(
    run: Run, denoise: Denoise | DenoiseBoth, x: Tensor, sigmas: Tensor, options: dict[str, Any]
) -> Steps[Tensor]:
    """A run on a flow as on a variance-exploding diffusion; levels are float64, to come back as they were."""
    levels = odds(sigmas.double())

    def asked(y: Tensor, level: Tensor) -> Steps[Any]:
        return denoise(y / (1 + level), share(level).to(sigmas))

    if "noise" in options:
        source: StepNoise = options["noise"]
        options["noise"] = lambda level, lower: source(share(level).to(sigmas), share(lower).to(sigmas))
    y = yield from run(asked, x * (1 + levels[0]), levels, **options)
    return y / (1 + levels[-1])


def _unchanged(x: Tensor) -> Steps[Tensor]:
    yield from ()
    return x
