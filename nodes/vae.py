"""Pictures to latents and back, whole or in tiles."""

from typing import Annotated

import torch
import torch.nn.functional as F

from engine.node import node
from engine.ports import Range
from engine.steps import Steps
from nodes.diffusion.autoencoder import FACTOR, Vae, cropped
from nodes.ports import Conditioning, Image, Latent, Mask

TileOverlap = Annotated[int, Range(0, 4096, step=32)]
Frames = Annotated[int, Range(8, 4096, step=4)]
FrameOverlap = Annotated[int, Range(4, 4096, step=4)]


@node("VAEEncode", category="latent", title="VAE Encode")
def vae_encode(*, pixels: Image, vae: Vae) -> Steps[Latent]:
    """Encode pictures into latents.

    Args:
        pixels: Their sides are cut to multiples of 8 about the centre.
        vae: The autoencoder of the model that is to sample from the latents.
    """
    return Latent((yield from vae.encoded(pixels)))


@node("VAEDecode", category="latent", title="VAE Decode")
def vae_decode(*, samples: Latent, vae: Vae) -> Steps[Image]:
    """Decode latents into pictures.

    Args:
        samples: [B, C, h, w] become [B, 8h, 8w, 3].
        vae: The autoencoder of the model that made the latents.
    """
    return (yield from vae.decoded(samples.samples))


@node("VAEDecodeTiled", category="_for_testing", title="VAE Decode (Tiled)")
def vae_decode_tiled(
    *,
    samples: Latent,
    vae: Vae,
    tile_size: Annotated[int, Range(64, 4096, step=32)] = 512,
    overlap: TileOverlap = 64,
    temporal_size: Frames = 64,  # noqa: ARG001
    temporal_overlap: FrameOverlap = 8,  # noqa: ARG001
) -> Steps[Image]:
    """Decode latents in tiles, which takes less memory.

    Args:
        samples: [B, C, h, w] become [B, 8h, 8w, 3].
        vae: The autoencoder of the model that made the latents.
        tile_size: Side of a tile in pixels.
        overlap: In pixels; at most a quarter of the tile is used.
        temporal_size: For videos only.
        temporal_overlap: For videos only.
    """
    shared = overlap if tile_size >= overlap * 4 else tile_size // 4
    return (yield from vae.decoded(samples.samples, tile_size // FACTOR, shared // FACTOR))


@node("VAEEncodeTiled", category="_for_testing", title="VAE Encode (Tiled)")
def vae_encode_tiled(
    *,
    pixels: Image,
    vae: Vae,
    tile_size: Annotated[int, Range(64, 4096, step=64)] = 512,
    overlap: TileOverlap = 64,
    temporal_size: Frames = 64,  # noqa: ARG001
    temporal_overlap: FrameOverlap = 8,  # noqa: ARG001
) -> Steps[Latent]:
    """Encode pictures in tiles, which takes less memory.

    Args:
        pixels: Their sides are cut to multiples of 8 about the centre.
        vae: The autoencoder of the model that is to sample from the latents.
        tile_size: Side of a tile in pixels.
        overlap: In pixels; a quarter of the tile where it is half of it or more.
        temporal_size: For videos only.
        temporal_overlap: For videos only.
    """
    shared = overlap if overlap < tile_size // 2 else tile_size // 4
    return Latent((yield from vae.encoded(pixels, tile_size, shared)))


@node("VAEEncodeForInpaint", category="latent/inpaint", title="VAE Encode (for Inpainting)")
def vae_encode_for_inpaint(
    *, pixels: Image, vae: Vae, mask: Mask, grow_mask_by: Annotated[int, Range(0, 64, step=1)] = 6
) -> Steps[Latent]:
    """Encode pictures with what is to be painted anew greyed out.

    Args:
        pixels: Their sides are cut to multiples of 8 about the centre.
        vae: The autoencoder of the model that is to sample from the latents.
        mask: 1 = paint anew; rounded to 0 or 1.
        grow_mask_by: By how many pixels the mask of the latent is wider than the grey.
    """
    hole = cropped(_fitted(mask, pixels)).round()
    latent = yield from vae.encoded(greyed(cropped(pixels), hole))
    return Latent(latent, _grown(hole, grow_mask_by)[:, None])


@node(
    "InpaintModelConditioning",
    category="conditioning/inpaint",
    title="InpaintModelConditioning",
    outputs=("positive", "negative", "latent"),
)
def inpaint_model_conditioning(
    *,
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    pixels: Image,
    mask: Mask,
    noise_mask: bool = True,
) -> Steps[tuple[Conditioning, Conditioning, Latent]]:
    """Tell an inpainting model what is to be painted anew.

    Args:
        positive: What to paint.
        negative: What to avoid.
        vae: The autoencoder of the inpainting model.
        pixels: Their sides are cut to multiples of 8 about the centre.
        mask: 1 = paint anew; rounded to 0 or 1 where the picture is greyed.
        noise_mask: Whether the sampler changes nothing outside the mask.
    """
    hole = cropped(_fitted(mask, pixels))
    whole = yield from vae.encoded(pixels)
    grey = yield from vae.encoded(greyed(cropped(pixels), hole.round()))
    told = {"concat_latent_image": grey, "concat_mask": hole[:, None]}
    sides = [side.mapped(lambda entry: entry.with_options(**told)) for side in (positive, negative)]
    return sides[0], sides[1], Latent(whole, hole[:, None] if noise_mask else None)


def greyed(pixels: Image, hole: Mask) -> Image:
    """Pictures [B, H, W, C] with middle grey where the hole [B or 1, H, W] is 1."""
    return (pixels - 0.5) * (1.0 - hole)[..., None] + 0.5


def _fitted(mask: Mask, pixels: Image) -> Mask:
    """A mask stretched to the size of the pictures: [B, H, W]."""
    height, width = pixels.shape[1:3]
    planes = mask.reshape(-1, 1, *mask.shape[-2:])
    return F.interpolate(planes, size=(height, width), mode="bilinear")[:, 0]


def _grown(mask: Mask, by: int) -> Mask:
    """A mask of 0 and 1 whose ones spread over a square of this side."""
    if by == 0:
        return mask
    spread = F.conv2d(mask[:, None], torch.ones(1, 1, by, by), padding=-(-(by - 1) // 2))
    return spread.clamp(0.0, 1.0)[:, 0, : mask.shape[1], : mask.shape[2]]
