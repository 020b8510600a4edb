"""A latent estimate as a picture without decoding it: a linear map from latent channels to colours."""

from dataclasses import dataclass

import torch
from torch import Tensor

SD1_RGB = (
    (0.298, 0.207, 0.208),
    (0.187, 0.286, 0.173),
    (-0.158, 0.189, 0.264),
    (-0.184, -0.271, -0.473),
    (0.5, 0.5, 0.5),
)
"""Of the Stable Diffusion 1.x autoencoder: a row of (r, g, b) for each channel of the scaled latent and one
for the constant (fitted by keturn, "Decoding latents to RGB without upscaling", Hugging Face forum, 2022)."""

SDXL_RGB = (
    (0.183, 0.212, 0.217),
    (-0.127, -0.002, 0.053),
    (0.054, 0.056, -0.018),
    (-0.158, -0.125, -0.109),
    (0.554, 0.491, 0.499),
)
"""The same of SDXL's autoencoder (fitted in the same way by the ecosystem's users)."""


@dataclass(frozen=True)
class Estimate:
    """What a sampler thinks the picture will be.

    Args:
        latent: [B, C, h, w], scaled as the network sees it.
        rgb: [C + 1, 3], see `SD1_RGB`.
    """

    latent: Tensor
    rgb: tuple[tuple[float, ...], ...] = SD1_RGB

    def picture(self) -> Tensor:
        """The first of the batch, [8h, 8w, 3] of bytes; lossy, and only for looking at."""
        latent = self.latent[0].float()
        factors = torch.tensor(self.rgb, device=latent.device)
        if len(factors) != len(latent) + 1:  # a latent of another kind: its first channel as grey
            grey = latent[:1].sub(latent[:1].mean()).div(4 * latent[:1].std() + 1e-6).add(0.5)
            colours = grey.repeat(3, 1, 1)
        else:
            colours = torch.einsum("chw,cr->rhw", latent, factors[:-1]) + factors[-1][:, None, None]
        small = (colours.clamp(0, 1) * 255).to("cpu", torch.uint8)
        return small.repeat_interleave(8, 1).repeat_interleave(8, 2).permute(1, 2, 0).contiguous()
