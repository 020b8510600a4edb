"""Nodes that say how a model's output is read: what it predicts, and at which noise levels."""

import math
from dataclasses import replace
from typing import Annotated, Literal, TypeAlias

from engine.node import node
from engine.ports import Range
from engine.problems import NodeFailure
from nodes.diffusion.latent_format import PLAYGROUND
from nodes.diffusion.levels import Continuous, Cosine, Discrete, Flow, Flux, Levels
from nodes.diffusion.model import Model
from nodes.diffusion.sampling_space import ModelSampling, Prediction
from nodes.diffusion.schedules import shift_for
from nodes.ports import Latent

Shift: TypeAlias = Annotated[float, Range(0.0, 100.0, step=0.01)]
SigmaBound: TypeAlias = Annotated[float, Range(0.0, 1000.0, step=0.001, round=False)]
Side: TypeAlias = Annotated[int, Range(16, 16384, step=8)]
CATEGORY = "advanced/model"


@node("ModelSamplingDiscrete", category=CATEGORY, version=2)
def model_sampling_discrete(
    *, model: Model, sampling: Literal["eps", "v_prediction", "lcm", "x0", "img_to_img"], zsnr: bool = False
) -> Model:
    """Read a model's output as another kind of prediction.

    Args:
        model: The model.
        sampling: What the model was trained to predict.
        zsnr: Whether its last timestep was pure noise (Lin et al. 2023).
    """
    trained = model.sampling.levels
    levels = trained if isinstance(trained, Discrete) else Discrete()
    stride = levels.steps // 50 if sampling == "lcm" else 1
    return _read(model, sampling, replace(levels, zero_snr=zsnr, stride=stride))


@node("ModelSamplingContinuousEDM", category=CATEGORY)
def model_sampling_continuous_edm(
    *,
    model: Model,
    sampling: Literal["v_prediction", "edm", "edm_playground_v2.5", "eps", "cosmos_rflow"],
    sigma_max: SigmaBound = 120.0,
    sigma_min: SigmaBound = 0.002,
) -> Model:
    """Read a model's output over a continuous range of noise levels (Karras et al. 2022).

    Args:
        model: The model.
        sampling: What the model was trained to predict; Playground v2.5 also has latents of its own.
        sigma_max: The largest noise level.
        sigma_min: The smallest.
    """
    _check_range(sigma_min, sigma_max)
    if sampling == "cosmos_rflow":
        return _read(model, sampling, Continuous(sigma_min, sigma_max, "share"))
    levels = Continuous(sigma_min, sigma_max)
    if sampling == "edm":
        return _read(model, "edm", levels, spread=0.5)
    if sampling == "edm_playground_v2.5":
        return replace(_read(model, "edm", levels, spread=0.5), latent=PLAYGROUND)
    return _read(model, sampling, levels)


@node("ModelSamplingContinuousV", category=CATEGORY)
def model_sampling_continuous_v(
    *,
    model: Model,
    sampling: Literal["v_prediction"],
    sigma_max: SigmaBound = 500.0,
    sigma_min: SigmaBound = 0.03,
) -> Model:
    """Read a model's output as velocity along a circle, over a continuous range of noise levels.

    Args:
        model: The model.
        sampling: What the model was trained to predict.
        sigma_max: The largest noise level.
        sigma_min: The smallest.
    """
    _check_range(sigma_min, sigma_max)
    return _read(model, sampling, Continuous(sigma_min, sigma_max, "angle"))


@node("ModelSamplingStableCascade", category=CATEGORY)
def model_sampling_stable_cascade(*, model: Model, shift: Shift = 2.0) -> Model:
    """Move the noise levels of Stable Cascade.

    Args:
        model: The model.
        shift: Factor on the noise levels; larger pictures want more noise.
    """
    return _read(model, "eps", Cosine(_above_zero(shift)))


@node("ModelSamplingSD3", category=CATEGORY)
def model_sampling_sd3(*, model: Model, shift: Shift = 3.0) -> Model:
    """Move the noise levels of a flow whose timesteps run to 1000, as Stable Diffusion 3's do.

    Args:
        model: The model.
        shift: Higher spends more of the sampling at high noise.
    """
    return _read(model, "flow", Flow(_above_zero(shift)))


@node("ModelSamplingAuraFlow", category=CATEGORY)
def model_sampling_aura_flow(*, model: Model, shift: Shift = 1.73) -> Model:
    """Move the noise levels of a flow whose timesteps run to 1, as AuraFlow's do.

    Args:
        model: The model.
        shift: Higher spends more of the sampling at high noise.
    """
    return _read(model, "flow", Flow(_above_zero(shift), multiplier=1.0))


@node("ModelSamplingFlux", category=CATEGORY)
def model_sampling_flux(
    *, model: Model, max_shift: Shift = 1.15, base_shift: Shift = 0.5, width: Side = 1024, height: Side = 1024
) -> Model:
    """Move the noise levels of Flux for a size of picture.

    Args:
        model: The model.
        max_shift: The shift for 1024 by 1024 pixels.
        base_shift: The shift for 256 by 256 pixels.
        width: Of the picture.
        height: Of the picture.
    """
    return _read(model, "flow", Flux(shift_for(width * height / 256, base_shift, max_shift)))


@node("ModelSamplingLTXV", category=CATEGORY)
def model_sampling_ltxv(
    *, model: Model, max_shift: Shift = 2.05, base_shift: Shift = 0.95, latent: Latent | None = None
) -> Model:
    """Move the noise levels of LTX-Video for a size of latent.

    Args:
        model: The model.
        max_shift: The shift at 4096 tokens.
        base_shift: The shift at 1024 tokens.
        latent: Whose tokens are counted; without one there are 4096.
    """
    tokens = 4096 if latent is None else math.prod(latent.samples.shape[2:])
    return _read(model, "flow", Flux(shift_for(tokens, base_shift, max_shift, base_tokens=1024)))


def _read(model: Model, prediction: Prediction, levels: Levels, spread: float = 1.0) -> Model:
    return replace(model, sampling=ModelSampling(prediction, levels, spread))


def _check_range(sigma_min: float, sigma_max: float) -> None:
    if not 0.0 < sigma_min < sigma_max:
        raise NodeFailure(
            f"noise levels from {sigma_min} to {sigma_max} are no range", "set 0 < sigma_min < sigma_max"
        )


def _above_zero(shift: float) -> float:
    if shift == 0.0:
        raise NodeFailure("a shift of 0 leaves no noise levels", "set shift above 0; 1 shifts nothing")
    return shift
