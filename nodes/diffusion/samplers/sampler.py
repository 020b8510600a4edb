"""What a sampler is: a generator that asks for denoised estimates, and the facts its caller must know."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor

from engine.steps import Steps
from nodes.diffusion.noise import NoiseSource
from nodes.diffusion.sampling_space import ModelSampling

Denoise: TypeAlias = Callable[[Tensor, Tensor], Steps[Tensor]]
"""(x [B, C, h, w], σ []) to the estimate of x0 under guidance, by asking the model."""

DenoiseBoth: TypeAlias = Callable[[Tensor, Tensor], Steps[tuple[Tensor, Tensor]]]
"""As `Denoise`, with the estimate of the last conditioning alone (the unconditional one) beside it."""

Run: TypeAlias = Callable[..., Steps[Tensor]]
"""(denoise, x [B, C, h, w] at σ_0, σ [n + 1], keyword options) to the sample at σ_n, in n steps."""


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
    """

    name: str
    run: Run
    noise: NoiseSource | None = None
    discard_penultimate: bool = False
    redraws_inpaint_noise: bool = False
    sees_both: bool = False
    sees_space: bool = False

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
        if len(sigmas) < 2:
            return _unchanged(x)
        if self.noise:
            options["noise"] = self.noise(x, sigmas, seed)
        if self.sees_space:
            options["space"] = space or ModelSampling()
        return self.run(denoise, x, sigmas, **options)


def sampler(
    name: str,
    *,
    noise: NoiseSource | None = None,
    discard_penultimate: bool = False,
    redraws_inpaint_noise: bool = False,
    sees_both: bool = False,
    sees_space: bool = False,
) -> Callable[[Run], Sampler]:
    """Turn a generator function into a `Sampler`; its module is listed in `samplers/__init__.py`."""
    return lambda run: Sampler(
        name, run, noise, discard_penultimate, redraws_inpaint_noise, sees_both, sees_space
    )


def ancestral_split(sigma: Tensor, lower: Tensor, eta: float = 1.0) -> tuple[Tensor, Tensor]:
    """The part of a step to go down and the noise to add after it: (σ_down, σ_up), σ_down² + σ_up² = σ'².

    η scales the noise: at 0 the step is deterministic, at 1 it has the variance of the DDPM posterior
    (Ho et al. 2020).
    """
    up = (eta * (lower**2 * (sigma**2 - lower**2) / sigma**2).sqrt()).minimum(lower)
    return (lower**2 - up**2).sqrt(), up


def _unchanged(x: Tensor) -> Steps[Tensor]:
    yield from ()
    return x
