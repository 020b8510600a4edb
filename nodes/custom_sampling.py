"""Nodes that make the parts of custom sampling: noise and guiders."""

from typing import Annotated, Literal

from engine.node import node
from engine.ports import Range
from nodes.diffusion import guidance
from nodes.diffusion.guidance import Guider
from nodes.diffusion.model import Model
from nodes.ports import Conditioning, Noise, Seed
from nodes.sampling import Cfg


@node("RandomNoise", category="sampling/custom_sampling/noise")
def random_noise(*, noise_seed: Seed = 0) -> Noise:
    """Seeded standard normal noise.

    Args:
        noise_seed: The same seed gives the same noise.
    """
    return Noise(noise_seed)


@node("DisableNoise", category="sampling/custom_sampling/noise")
def disable_noise() -> Noise:
    """No noise: the latent is taken as noisy already."""
    return Noise(None)


@node("BasicGuider", category="sampling/custom_sampling/guiders")
def basic_guider(*, model: Model, conditioning: Conditioning) -> Guider:
    """Follow one conditioning, without guidance.

    Args:
        model: The model that denoises.
        conditioning: What the picture should show.
    """
    return guidance.plain(model, conditioning)


@node("CFGGuider", category="sampling/custom_sampling/guiders")
def cfg_guider(*, model: Model, positive: Conditioning, negative: Conditioning, cfg: Cfg = 8.0) -> Guider:
    """Classifier-free guidance (Ho & Salimans 2022).

    Args:
        model: The model that denoises.
        positive: What the picture should show.
        negative: What it should not show.
        cfg: Guidance scale; at 1 the negative conditioning has no effect.
    """
    return guidance.classifier_free(model, positive, negative, cfg)


@node("DualCFGGuider", category="sampling/custom_sampling/guiders")
def dual_cfg_guider(
    *,
    model: Model,
    cond1: Conditioning,
    cond2: Conditioning,
    negative: Conditioning,
    cfg_conds: Cfg = 8.0,
    cfg_cond2_negative: Cfg = 8.0,
    style: Literal["regular", "nested"],
) -> Guider:
    """Guide one conditioning by a second, and the second by the negative (Brooks et al. 2023).

    Args:
        model: The model that denoises.
        cond1: What the picture should show most.
        cond2: What it is compared with.
        negative: What it should not show.
        cfg_conds: Scale of the first conditioning against the second.
        cfg_cond2_negative: Scale against the negative.
        style: Whether the second scale acts on the second conditioning, or on the guided pair ("nested").
    """
    nested = style == "nested"
    return guidance.dual(model, cond1, cond2, negative, cfg_conds, cfg_cond2_negative, nested=nested)


@node("PerpNegGuider", category="_for_testing")
def perp_neg_guider(
    *,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    empty_conditioning: Conditioning,
    cfg: Cfg = 8.0,
    neg_scale: Annotated[float, Range(0.0, 100.0, step=0.01)] = 1.0,
) -> Guider:
    """Guide away from that part of the negative which the positive has not (Armandpour et al. 2023).

    Args:
        model: The model that denoises.
        positive: What the picture should show.
        negative: What it should not show.
        empty_conditioning: Of an empty prompt, from which both are measured.
        cfg: Guidance scale.
        neg_scale: Factor on the negative's part.
    """
    return guidance.perpendicular(model, positive, negative, empty_conditioning, cfg, neg_scale)
