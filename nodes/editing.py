"""Nodes for models that edit a picture by instructions."""

import torch

from engine.node import node
from engine.steps import Steps
from nodes.diffusion.autoencoder import Vae
from nodes.ports import Conditioning, Image, Latent


@node(
    "InstructPixToPixConditioning",
    category="conditioning/instructpix2pix",
    title="InstructPixToPixConditioning",
    outputs=("positive", "negative", "latent"),
)
def instruct_pix_to_pix_conditioning(
    *, positive: Conditioning, negative: Conditioning, vae: Vae, pixels: Image
) -> Steps[tuple[Conditioning, Conditioning, Latent]]:
    """Show an editing model the picture that it is to change (Brooks et al. 2023).

    Args:
        positive: What to do.
        negative: What to avoid.
        vae: The autoencoder of the model.
        pixels: The picture; its sides are cut to multiples of 8 about the centre.

    Returns:
        Both conditionings with the picture, and an empty latent of its size.
    """
    shown = yield from vae.encoded(pixels)
    sides = [
        c.mapped(lambda entry: entry.with_options(concat_latent_image=shown)) for c in (positive, negative)
    ]
    return sides[0], sides[1], Latent(torch.zeros_like(shown))
