"""Enlarging pictures with a network."""

from engine.node import node
from engine.steps import Steps
from nodes.diffusion.upscaler import UpscaleModel
from nodes.ports import Image


@node("ImageUpscaleWithModel", category="image/upscaling", title="Upscale Image (using Model)")
def image_upscale_with_model(*, upscale_model: UpscaleModel, image: Image) -> Steps[Image]:
    """Enlarge pictures by the factor of an upscaling network, in tiles of 512 pixels.

    Args:
        upscale_model: Says the factor.
        image: [B, H, W, C]; the first three channels count.
    """
    return (yield from upscale_model.enlarged(image))
