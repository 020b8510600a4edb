"""Nodes that change lists of noise levels, and read one off a model."""

import math
from typing import Annotated, Literal

import torch
from torch import Tensor

from engine.node import node
from engine.ports import Range
from nodes.diffusion.model import Model
from nodes.ports import Fraction, Sigmas
from nodes.sampling import StepIndex

CATEGORY = "sampling/custom_sampling/sigmas"


@node("SplitSigmas", category=CATEGORY, outputs=("high_sigmas", "low_sigmas"))
def split_sigmas(*, sigmas: Sigmas, step: StepIndex = 0) -> tuple[Sigmas, Sigmas]:
    """Split noise levels at a step, for two samplers in a row.

    Args:
        sigmas: The noise levels.
        step: The first step of the second part.
    """
    return sigmas[: step + 1], sigmas[step:]


@node("SplitSigmasDenoise", category=CATEGORY, outputs=("high_sigmas", "low_sigmas"), version=2)
def split_sigmas_denoise(*, sigmas: Sigmas, denoise: Fraction = 1.0) -> tuple[Sigmas, Sigmas]:
    """Split noise levels so that the second part has a share of the steps.

    Args:
        sigmas: The noise levels.
        denoise: The share of the second part; where it has no step, the first has none either.
    """
    steps = max(len(sigmas) - 1, 0)
    second = round(steps * denoise)
    return sigmas[: len(sigmas) - second if second else 0], sigmas[steps - second :]


@node("FlipSigmas", category=CATEGORY)
def flip_sigmas(*, sigmas: Sigmas) -> Sigmas:
    """Reverse noise levels, from a picture to noise; a first level of 0 becomes 0.0001.

    Args:
        sigmas: The noise levels.
    """
    flipped = sigmas.flip(0)
    if len(flipped) and flipped[0] == 0:
        flipped[0] = 1e-4
    return flipped


@node("SetFirstSigma", category=CATEGORY)
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


@node("ExtendIntermediateSigmas", category=CATEGORY)
def extend_intermediate_sigmas(
    *,
    sigmas: Sigmas,
    steps: Annotated[int, Range(1, 100)] = 2,
    start_at_sigma: Annotated[float, Range(-1.0, 20000.0, step=0.01, round=False)] = -1.0,
    end_at_sigma: Annotated[float, Range(0.0, 20000.0, step=0.01, round=False)] = 12.0,
    spacing: Literal["linear", "cosine", "sine"],
) -> Sigmas:
    """Cut steps into several.

    Args:
        sigmas: The noise levels.
        steps: How many each becomes.
        start_at_sigma: Only steps that begin at this level or below; below 0 any level.
        end_at_sigma: Only steps that begin at this level or above.
        spacing: Whether the parts are equal, shrink ("cosine") or grow ("sine").
    """
    start = start_at_sigma if start_at_sigma >= 0.0 else math.inf
    shares = _SPACINGS[spacing](torch.linspace(0, 1, steps + 1)[1:-1])
    levels: list[Tensor] = []
    for i, level in enumerate(sigmas):
        levels.append(level[None])
        if i + 1 < len(sigmas) and end_at_sigma <= level <= start:
            levels.append(level.lerp(sigmas[i + 1], shares))
    return torch.cat(levels) if levels else sigmas


_SPACINGS = {
    "linear": lambda share: share,
    "cosine": lambda share: (share * math.pi / 2).sin(),
    "sine": lambda share: 1 - (share * math.pi / 2).cos(),
}


@node("SamplingPercentToSigma", category=CATEGORY, outputs=("sigma_value",))
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
