"""unCLIP's picture vectors: embeddings of pictures, noised so that the model may stray from them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from nodes.diffusion.vision import VisionOutput

LEVELS = 1000
MERGED = 0.05
"""The noise on the sum of several pictures."""


@dataclass(frozen=True)
class PictureUse:
    """One picture of a conditioning; its option "unclip_conditioning" is a list of these.

    Args:
        clip_vision_output: The picture's embedding, [1, D].
        strength: Factor on its vector.
        noise_augmentation: How far to stray from it, 0..1.
    """

    clip_vision_output: VisionOutput
    strength: float
    noise_augmentation: float


@dataclass(frozen=True)
class Augmentor:
    """Noises picture embeddings at a level that the model is told (Ramesh et al. 2022, section 2.1).

    Args:
        mean: Of the embeddings in training, D numbers.
        std: Likewise.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def vector(self, pictures: Sequence[PictureUse], seed: int) -> Tensor:
        """The vector [B, 2 D]: noised embeddings beside their levels; zeros without a picture.

        Args:
            seed: Of the noise.
        """
        made = [
            self._at(embedding[None], round((LEVELS - 1) * use.noise_augmentation), seed) * use.strength
            for use in pictures
            for embedding in use.clip_vision_output.image_embeds
        ]
        if not made:
            return torch.zeros(1, 2 * len(self.mean))
        if len(made) == 1:
            return made[0]
        whole = torch.stack(made).sum(0)[:, : len(self.mean)]
        return self._at(whole, round((LEVELS - 1) * MERGED), seed)

    def _at(self, embedding: Tensor, level: int, seed: int) -> Tensor:
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        draw = torch.Generator().manual_seed(seed % 2**64)
        alpha_bar = float(_alphas()[level])
        x = (embedding.float() - mean) / std
        x = math.sqrt(alpha_bar) * x + math.sqrt(1 - alpha_bar) * torch.randn(x.shape, generator=draw)
        return torch.cat([x * std + mean, sinusoids(float(level), len(self.mean))[None]], dim=1)


def sinusoids(value: float, width: int = 256) -> Tensor:
    """A number as cosines and sines of falling frequencies, [width] (Vaswani et al. 2017)."""
    half = width // 2
    angles = value * torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / half)
    return torch.cat([angles.cos(), angles.sin()])


@cache
def _alphas() -> Tensor:
    """ᾱ of the cosine schedule (Nichol & Dhariwal 2021, equation 17), [LEVELS] float64."""

    def level(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - level((i + 1) / LEVELS) / level(i / LEVELS), 0.999) for i in range(LEVELS)]
    return torch.cumprod(1.0 - torch.tensor(betas, dtype=torch.float64), dim=0)
