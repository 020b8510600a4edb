"""unCLIP's picture vectors: embeddings of pictures, noised so that the model may stray from them."""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

import torch
from torch import Tensor

from engine.problems import NodeFailure
from nodes.diffusion.vision import VisionOutput

LEVELS = 1000


@dataclass(frozen=True)
class PictureUse:
    """Pictures of a conditioning; its option "unclip_conditioning" is a list of these.

    Args:
        clip_vision_output: Their embeddings.
        strength: Factor on their vectors.
        noise_augmentation: How far to stray from them, 0..1.
    """

    clip_vision_output: VisionOutput
    strength: float
    noise_augmentation: float


@dataclass(frozen=True)
class Augmentor:
    """Noises picture embeddings at a level that the model is told (Ramesh et al. 2022, section 2.1).

    Args:
        width: Of an embedding, D.
        merged: The noise on the sum of several pictures, 0..1.
    """

    width: int
    merged: float = 0.05

    def vector(self, pictures: Sequence[PictureUse], seed: int) -> Tensor:
        """The vector [1, 2 D]: the noised embedding beside its level; zeros without a picture.

        Every picture gets the same noise; the sum of several gets the noise that follows it.

        Args:
            seed: Of the noise.

        Raises:
            NodeFailure: An embedding has another width.
        """
        made = []
        draw = torch.Generator()
        for use in pictures:
            for embedding in use.clip_vision_output.image_embeds:
                self._check(embedding)
                draw.manual_seed(seed % 2**64)
                made.append(self._noised(embedding, use.noise_augmentation, draw) * use.strength)
        if not made:
            return torch.zeros(1, 2 * self.width)
        if len(made) == 1:
            return made[0]
        return self._noised(torch.stack(made).sum(0)[0, : self.width], self.merged, draw)

    def _noised(self, embedding: Tensor, amount: float, draw: torch.Generator) -> Tensor:
        level = round((LEVELS - 1) * amount)
        alpha_bar = _alphas()[level]
        noise = torch.randn(self.width, generator=draw)
        noised = math.sqrt(alpha_bar) * embedding.float() + math.sqrt(1 - alpha_bar) * noise
        return torch.cat([noised, sinusoids(float(level), self.width)])[None]

    def _check(self, embedding: Tensor) -> None:
        if len(embedding) != self.width:
            raise NodeFailure(
                f"the model takes picture embeddings of {self.width} numbers; these have {len(embedding)}",
                "encode the picture with the encoder of the model's own checkpoint; SDXL takes ViT-bigG's",
            )


def sinusoids(value: float, width: int = 256) -> Tensor:
    """A number as cosines and sines of falling frequencies, [width] (Vaswani et al. 2017)."""
    half = width // 2
    angles = value * torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / half)
    return torch.cat([angles.cos(), angles.sin()])


@cache
def _alphas() -> tuple[float, ...]:
    """ᾱ of the cosine schedule at each of the LEVELS (Nichol & Dhariwal 2021, equation 17)."""

    def level(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    alphas = [max(level((i + 1) / LEVELS) / level(i / LEVELS), 0.001) for i in range(LEVELS)]
    return tuple(accumulate(alphas, operator.mul))
