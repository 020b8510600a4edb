"""Nodes that change how a model's estimates are guided."""

from dataclasses import replace
from typing import Annotated, TypeAlias

from engine.node import node
from engine.ports import Hint, Omittable, Range
from nodes.diffusion.attention_guidance import Perturbed, SelfAttention
from nodes.diffusion.guiding_direction import Damped, FrequencyScaled, Operated, Projected
from nodes.diffusion.guiding_scale import (
    AwayFrom,
    EpsilonScaled,
    Mahiro,
    Normed,
    OverFrames,
    Renormed,
    Rescaled,
    ZeroStar,
)
from nodes.diffusion.latent_operations import LatentOperation
from nodes.diffusion.model import Model
from nodes.ports import Conditioning, Fraction, Latent

UpTo100: TypeAlias = Annotated[float, Range(0.0, 100.0, step=0.01)]
LeastCfg: TypeAlias = Annotated[float, Range(0.0, 100.0, step=0.5, round=0.01)]
Band: TypeAlias = Annotated[float, Range(0, 10, step=0.01)]
OPERATIONS = "latent/advanced/operations"


@node("RescaleCFG", category="advanced/model")
def rescale_cfg(*, model: Model, multiplier: Fraction = 0.7) -> Model:
    """Keep the contrast of guided pictures at that of unguided ones (Lin et al. 2023).

    Args:
        model: The model.
        multiplier: How much; 0 changes nothing.
    """
    return model.guided_by(Rescaled(multiplier))


@node("RenormCFG", category="advanced/model")
def renorm_cfg(
    *,
    model: Model,
    cfg_trunc: UpTo100 = 100,
    renorm_cfg: UpTo100 = 1.0,
) -> Model:
    """Bound the length of guided estimates, and guide only below a noise level (Qin et al. 2025).

    Args:
        model: The model.
        cfg_trunc: The noise level at and above which there is no guidance.
        renorm_cfg: How many times as long as the positive estimate the guided one may be; 0 sets no bound.
    """
    return model.guided_by(Renormed(cfg_trunc, renorm_cfg))


@node("CFGZeroStar", category="advanced/guidance", outputs=("patched_model",))
def cfg_zero_star(*, model: Model) -> Model:
    """Scale the unconditional estimate to fit the positive best, then guide (Fan et al. 2025).

    Args:
        model: The model.
    """
    return model.guided_by(ZeroStar())


@node("CFGNorm", category="advanced/guidance", outputs=("patched_model",))
def cfg_norm(*, model: Model, strength: UpTo100 = 1.0) -> Model:
    """Keep guided estimates at each place no longer than the positive one.

    Args:
        model: The model.
        strength: Factor on the result.
    """
    return model.guided_by(Normed(strength))


@node("TCFG", category="advanced/guidance", title="Tangential Damping CFG", outputs=("patched_model",))
def tcfg(*, model: Model) -> Model:
    """Keep of the unconditional estimate what lies along its common direction (Kwon et al. 2025).

    Args:
        model: The model.
    """
    return model.guided_by(Damped())


@node("APG", category="sampling/custom_sampling", title="Adaptive Projected Guidance")
def apg(
    *,
    model: Model,
    eta: Annotated[float, Range(-10.0, 10.0, step=0.01)] = 1.0,
    norm_threshold: Annotated[float, Range(0.0, 50.0, step=0.1)] = 5.0,
    momentum: Annotated[float, Range(-5.0, 1.0, step=0.01)] = 0.0,
) -> Model:
    """Guide across the positive estimate more than along it, within a length (Sadat et al. 2024).

    Args:
        model: The model.
        eta: Factor on the part along the positive estimate.
        norm_threshold: The longest that guidance may be; 0 sets no bound.
        momentum: Factor on the guidance of the steps before; below 0 it pushes away from it.
    """
    return model.guided_by(Projected(eta, norm_threshold, momentum))


@node("FreSca", category="_for_testing")
def fresca(
    *,
    model: Model,
    scale_low: Band = 1.0,
    scale_high: Band = 1.25,
    freq_cutoff: Annotated[int, Range(1, 10000, step=1)] = 20,
) -> Model:
    """Scale the low and the high frequencies of guidance apart (Huang et al. 2025).

    Args:
        model: The model.
        scale_low: Factor on low frequencies.
        scale_high: Factor on high ones.
        freq_cutoff: Where high ones begin, in waves across the latent.
    """
    return model.guided_by(FrequencyScaled(scale_low, scale_high, freq_cutoff))


@node(
    "Mahiro",
    category="_for_testing",
    title="Mahiro is so cute that she deserves a better guidance function!! (。・ω・。)",
    outputs=("patched_model",),
)
def mahiro(*, model: Model) -> Model:
    """Follow the positive prompt more where guidance strays from it.

    Args:
        model: The model.
    """
    return model.guided_by(Mahiro())


@node("Epsilon Scaling", category="model_patches/unet")
def epsilon_scaling(
    *,
    model: Model,
    scaling_factor: Annotated[float, Range(0.5, 1.5, step=0.001), Hint("display", "number")] = 1.005,
) -> Model:
    """Make noise estimates a little smaller, as they grow too large while sampling (Ning et al. 2023).

    Args:
        model: The model.
        scaling_factor: What they are divided by.
    """
    return model.guided_by(EpsilonScaled(scaling_factor))


@node("VideoLinearCFGGuidance", category="sampling/video_models")
def video_linear_cfg_guidance(*, model: Model, min_cfg: LeastCfg = 1.0) -> Model:
    """Give each picture of a batch its guidance scale, rising from the first to the last.

    Args:
        model: The model.
        min_cfg: The scale of the first; the last has the sampler's.
    """
    return model.guided_by(OverFrames(min_cfg))


@node("VideoTriangleCFGGuidance", category="sampling/video_models")
def video_triangle_cfg_guidance(*, model: Model, min_cfg: LeastCfg = 1.0) -> Model:
    """Give each picture of a batch its guidance scale, rising to the middle and falling to the end.

    Args:
        model: The model.
        min_cfg: The scale of the first and the last; the middle has the sampler's.
    """
    return model.guided_by(OverFrames(min_cfg, returns=True))


@node("PerpNeg", category="_for_testing", title="Perp-Neg (DEPRECATED by PerpNegGuider)")
def perp_neg(*, model: Model, empty_conditioning: Conditioning, neg_scale: UpTo100 = 1.0) -> Model:
    """Guide away from that part of the negative which the positive has not (Armandpour et al. 2023).

    Args:
        model: The model.
        empty_conditioning: Of an empty prompt, from which both are measured.
        neg_scale: Factor on the negative's part.
    """
    return model.guided_by(AwayFrom(empty_conditioning, neg_scale))


@node("SelfAttentionGuidance", category="_for_testing", title="Self-Attention Guidance")
def self_attention_guidance(
    *,
    model: Model,
    scale: Annotated[float, Range(-2.0, 5.0, step=0.01)] = 0.5,
    blur_sigma: Annotated[float, Range(0.0, 10.0, step=0.1)] = 2.0,
) -> Model:
    """Guide away from a picture blurred where the model looks (Hong et al. 2023); one more row a step.

    Args:
        model: The model.
        scale: Guidance scale.
        blur_sigma: Strength of the blur in cells of the latent.
    """
    return model.guided_by(SelfAttention(scale, blur_sigma))


@node("PerturbedAttentionGuidance", category="model_patches/unet")
def perturbed_attention_guidance(
    *, model: Model, scale: Annotated[float, Range(0.0, 100.0, step=0.01, round=0.01)] = 3.0
) -> Model:
    """Guide away from pictures without self-attention in the middle (Ahn et al. 2024); one more row a step.

    Args:
        model: The model.
        scale: Guidance scale.
    """
    return model.guided_by(Perturbed(scale))


@node("DifferentialDiffusion", category="_for_testing", title="Differential Diffusion")
def differential_diffusion(*, model: Model, strength: Annotated[Fraction, Omittable()] = 1.0) -> Model:
    """Let a latent's mask say how much each place may change, not only whether (Levin & Fried 2023).

    Args:
        model: The model.
        strength: 0 uses the mask as usual.
    """
    return replace(model, differential=strength)


@node("LatentApplyOperationCFG", category=OPERATIONS)
def latent_apply_operation_cfg(*, model: Model, operation: LatentOperation) -> Model:
    """Change guidance at every step as if it were a latent.

    Args:
        model: The model.
        operation: What to do to it.
    """
    return model.guided_by(Operated(operation))


@node("LatentApplyOperation", category=OPERATIONS)
def latent_apply_operation(*, samples: Latent, operation: LatentOperation) -> Latent:
    """Change a latent.

    Args:
        samples: The latent.
        operation: What to do to it.
    """
    return samples.with_samples(operation(samples.samples))


@node("LatentOperationSharpen", category=OPERATIONS)
def latent_operation_sharpen(
    *,
    sharpen_radius: Annotated[int, Range(1, 31, step=1)] = 9,
    sigma: Annotated[float, Range(0.1, 10.0, step=0.1)] = 1.0,
    alpha: Annotated[float, Range(0.0, 5.0, step=0.01)] = 0.1,
) -> LatentOperation:
    """Sharpen colours and shapes, not brightness, by an unsharp mask.

    Args:
        sharpen_radius: How far the blur reaches, in cells.
        sigma: Its standard deviation as a share of the radius.
        alpha: Strength.
    """
    return LatentOperation("sharpened", (sharpen_radius, sigma, alpha))


@node("LatentOperationTonemapReinhard", category=OPERATIONS)
def latent_operation_tonemap_reinhard(*, multiplier: UpTo100 = 1.0) -> LatentOperation:
    """Compress the strongest values of a latent (Reinhard et al. 2002).

    Args:
        multiplier: Of the white point; less compresses more.
    """
    return LatentOperation("tonemapped", (multiplier,))
