"""Nodes that say how a model's output is read and guided."""

from dataclasses import replace
from typing import Annotated, Literal

from engine.node import node
from engine.ports import Omittable
from nodes.diffusion.model import Model
from nodes.ports import Fraction


@node("ModelSamplingDiscrete", category="advanced/model")
def model_sampling_discrete(
    *, model: Model, sampling: Literal["eps", "v_prediction", "lcm", "x0", "img_to_img"], zsnr: bool = False
) -> Model:
    """Read a model's output as another kind of prediction.

    Args:
        model: The model.
        sampling: What the model was trained to predict.
        zsnr: Whether its last timestep was pure noise (Lin et al. 2023).
    """
    stride = model.sampling.steps // 50 if sampling == "lcm" else 1
    space = replace(model.sampling, prediction=sampling, zero_snr=zsnr, stride=stride)
    return replace(model, sampling=space)


@node("RescaleCFG", category="advanced/model")
def rescale_cfg(*, model: Model, multiplier: Fraction = 0.7) -> Model:
    """Keep the contrast of guided pictures at that of unguided ones (Lin et al. 2023).

    Args:
        model: The model.
        multiplier: How much; 0 changes nothing.
    """
    return replace(model, cfg_rescale=multiplier)


@node("DifferentialDiffusion", category="_for_testing", title="Differential Diffusion")
def differential_diffusion(*, model: Model, strength: Annotated[Fraction, Omittable()] = 1.0) -> Model:
    """Let a latent's mask say how much each place may change, not only whether (Levin & Fried 2023).

    Args:
        model: The model.
        strength: 0 uses the mask as usual.
    """
    return replace(model, differential=strength)
