"""ControlNets on conditionings."""

from typing import Annotated

from engine.node import node
from engine.ports import Range
from nodes.diffusion.autoencoder import Vae
from nodes.diffusion.control import ControlNet, ControlUse
from nodes.ports import Conditioning, Image

Strength = Annotated[float, Range(0.0, 10.0, step=0.01)]
Share = Annotated[float, Range(0.0, 1.0, step=0.001)]


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
    vae: Vae | None = None,  # noqa: ARG001  (for networks that see latents, which Stable Diffusion 1.x has not)
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
        vae: Not used by ControlNets of Stable Diffusion 1.x.
    """
    if strength == 0:
        return positive, negative
    use = ControlUse(control_net, image, strength, start_percent, end_percent)
    return _steered(positive, use, False), _steered(negative, use, False)


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


def _steered(conditioning: Conditioning, use: ControlUse, both_sides: bool) -> Conditioning:
    return conditioning.mapped(
        lambda entry: entry.with_options(
            control=(*entry.get("control", ()), use), control_apply_to_uncond=both_sides
        )
    )
