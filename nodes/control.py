"""ControlNets on conditionings."""

from typing import Annotated, Literal, get_args

from engine.node import node
from engine.ports import Range
from engine.problems import NodeFailure
from nodes.diffusion.autoencoder import Vae
from nodes.diffusion.control import ControlNet, ControlUse
from nodes.ports import Conditioning, Image, Mask

Strength = Annotated[float, Range(0.0, 10.0, step=0.01)]
Share = Annotated[float, Range(0.0, 1.0, step=0.001)]
HintType = Literal[
    "auto", "openpose", "depth", "hed/pidi/scribble/ted", "canny/lineart/anime_lineart/mlsd", "normal",
    "segment", "tile", "repaint",
]  # fmt: skip
_KINDS = {name: i - 1 if i else None for i, name in enumerate(get_args(HintType))}


@node(
    "ControlNetApplyAdvanced",
    category="conditioning/controlnet",
    title="Apply ControlNet",
    outputs=("positive", "negative"),
)
def controlnet_apply_advanced(
    *,
    positive: Conditioning,
    negative: Conditioning,
    control_net: ControlNet,
    image: Image,
    strength: Strength = 1.0,
    start_percent: Share = 0.0,
    end_percent: Share = 1.0,
    vae: Vae | None = None,  # noqa: ARG001  (for networks that see latents, which Stable Diffusion has not)
) -> tuple[Conditioning, Conditioning]:
    """Steer the sampling by a picture: edges, depth, a pose.

    Args:
        positive: What to paint.
        negative: What to avoid.
        control_net: The network that steers.
        image: What the ControlNet was trained to follow; stretched over the picture.
        strength: 0 changes nothing.
        start_percent: Share of the sampling after which it begins.
        end_percent: Share of the sampling after which it ends.
        vae: Not used by ControlNets of Stable Diffusion.
    """
    return _both(positive, negative, ControlUse(control_net, image, strength, start_percent, end_percent))


@node("ControlNetApply", category="conditioning/controlnet", title="Apply ControlNet (OLD)")
def controlnet_apply(
    *, conditioning: Conditioning, control_net: ControlNet, image: Image, strength: Strength = 1.0
) -> Conditioning:
    """Steer the sampling by a picture; both sides of the guidance follow it.

    Args:
        conditioning: What to paint; what to avoid is steered too.
        control_net: The network that steers.
        image: What the ControlNet was trained to follow; stretched over the picture.
        strength: 0 changes nothing.
    """
    if strength == 0:
        return conditioning
    return _steered(conditioning, ControlUse(control_net, image, strength), True)


@node(
    "ControlNetApplySD3",
    category="conditioning/controlnet",
    title="Apply Controlnet with VAE",
    outputs=("positive", "negative"),
)
def controlnet_apply_sd3(
    *,
    positive: Conditioning,
    negative: Conditioning,
    control_net: ControlNet,
    vae: Vae,
    image: Image,
    strength: Strength = 1.0,
    start_percent: Share = 0.0,
    end_percent: Share = 1.0,
) -> tuple[Conditioning, Conditioning]:
    """Steer the sampling by a picture, as "Apply ControlNet" does.

    Args:
        positive: What to paint.
        negative: What to avoid.
        control_net: The network that steers.
        vae: Not used by ControlNets of Stable Diffusion.
        image: What the ControlNet was trained to follow; stretched over the picture.
        strength: 0 changes nothing.
        start_percent: Share of the sampling after which it begins.
        end_percent: Share of the sampling after which it ends.
    """
    del vae
    return _both(positive, negative, ControlUse(control_net, image, strength, start_percent, end_percent))


@node(
    "ControlNetInpaintingAliMamaApply",
    category="conditioning/controlnet",
    outputs=("positive", "negative"),
)
def controlnet_inpainting_apply(
    *,
    positive: Conditioning,
    negative: Conditioning,
    control_net: ControlNet,
    vae: Vae,
    image: Image,
    mask: Mask,
    strength: Strength = 1.0,
    start_percent: Share = 0.0,
    end_percent: Share = 1.0,
) -> tuple[Conditioning, Conditioning]:
    """Steer the sampling by a picture; ControlNets of Stable Diffusion see no mask, so theirs has no effect.

    Args:
        positive: What to paint.
        negative: What to avoid.
        control_net: The network that steers.
        vae: Not used by ControlNets of Stable Diffusion.
        image: What the ControlNet was trained to follow; stretched over the picture.
        mask: Not used by ControlNets of Stable Diffusion; those of Flux and of Stable Diffusion 3 take one.
        strength: 0 changes nothing.
        start_percent: Share of the sampling after which it begins.
        end_percent: Share of the sampling after which it ends.
    """
    del vae, mask
    return _both(positive, negative, ControlUse(control_net, image, strength, start_percent, end_percent))


@node("SetUnionControlNetType", category="conditioning/controlnet")
def set_union_control_net_type(*, control_net: ControlNet, type: HintType) -> ControlNet:
    """Tell a union ControlNet what its pictures show; other ControlNets stay as they are.

    Args:
        control_net: The network that steers.
        type: What the picture shows; "auto" says nothing.
    """
    kind = _KINDS[type]
    if control_net.kinds == 0:
        return control_net
    if kind is not None and kind >= control_net.kinds:
        raise NodeFailure(
            f"this ControlNet knows {control_net.kinds} types of pictures, and {type!r} is none of them",
            "choose another type, or load a union ControlNet that knows it (ProMax)",
        )
    return control_net.told(kind)


def _both(
    positive: Conditioning, negative: Conditioning, use: ControlUse
) -> tuple[Conditioning, Conditioning]:
    """Both sides with a ControlNet of their own; unchanged where it has no strength."""
    if use.strength == 0:
        return positive, negative
    return _steered(positive, use, False), _steered(negative, use, False)


def _steered(conditioning: Conditioning, use: ControlUse, both_sides: bool) -> Conditioning:
    return conditioning.mapped(
        lambda entry: entry.with_options(
            control=(*entry.get("control", ()), use), control_apply_to_uncond=both_sides
        )
    )
