"""What some models are told beside the text: sizes and scores as a vector, pictures as further channels."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from nodes.diffusion.resize import repeated_to, resized
from nodes.diffusion.unclip import Augmentor, sinusoids
from nodes.ports import Cond

Vector: TypeAlias = Literal["sdxl", "refiner", "unclip"]
Concat: TypeAlias = Literal["inpaint", "instruct"]
"""What the vector and the further channels of a model hold; see `Added`."""

BLANK = (0.8223, -0.6876, 0.6364, 0.1380)
"""A grey picture as Stable Diffusion's scaled latent, a value for each channel."""


@dataclass(frozen=True)
class Scene:
    """The run that a conditioning is made ready for.

    Args:
        latent: [B, C, h, w], what is sampled from, scaled.
        mask: [B, 1, h, w], 1 = may change; None where everything may.
        seed: Of the run.
    """

    latent: Tensor
    mask: Tensor | None = None
    seed: int = 0

    def sized(self, height: int, width: int) -> "Scene":
        """The scene of a latent that has grown to another size."""

        def grown(plane: Tensor) -> Tensor:
            return resized(plane, width, height, "bilinear")

        mask = None if self.mask is None else grown(self.mask)
        return replace(self, latent=grown(self.latent), mask=mask)


@dataclass(frozen=True)
class Added:
    """Which inputs a model has beside x, σ and the text.

    Args:
        vector: "sdxl": the pooled text with six sizes; "refiner": with four and an aesthetic score; "unclip":
            pictures.
        concat: "inpaint": a mask and the picture around it; "instruct": the picture to edit.
        width: Of the vector, A.
    """

    vector: Vector | None = None
    concat: Concat | None = None
    width: int = 0

    def vector_of(self, cond: Cond, scene: Scene, *, negative: bool) -> Tensor | None:
        """The vector [n, A] for one entry of a conditioning, or None where the model takes none.

        Pictures take the place of the pooled text.

        Args:
            negative: Whether the entry says what to avoid; the refiner then assumes a low score.
        """
        if self.vector is None:
            return None
        pictures, seed = cond.get("unclip_conditioning", ()), scene.seed - 10
        if self.vector == "unclip":
            return Augmentor(self.width // 2).vector(pictures, seed)
        height, width = (side * 8 for side in scene.latent.shape[-2:])
        width, height = cond.get("width", width), cond.get("height", height)
        numbers = [height, width, cond.get("crop_h", 0), cond.get("crop_w", 0)]
        if self.vector == "refiner":
            numbers.append(cond.get("aesthetic_score", 2.5 if negative else 6.0))
        else:
            numbers += [cond.get("target_height", height), cond.get("target_width", width)]
        told = torch.cat([sinusoids(float(number)) for number in numbers])
        pooled, room = cond.pooled, self.width - len(told)
        if pictures:
            pooled = Augmentor(room, merged=0.0).vector(pictures, seed)[:, :room]
        if pooled is None:
            pooled = torch.zeros(1, room)
        pooled = pooled.reshape(-1, pooled.shape[-1]).float()
        return torch.cat([pooled, told.to(pooled).expand(len(pooled), -1)], dim=1)

    def concat_of(self, cond: Cond, scene: Scene, scaled: Callable[[Tensor], Tensor]) -> Tensor | None:
        """The further channels [B, C', h, w] for one entry, or None where the model has none.

        Args:
            scaled: From the VAE's space to the denoiser's.
        """
        if self.concat is None:
            return None
        like = scene.latent
        picture = cond.get("concat_latent_image")
        if self.concat == "instruct":
            return torch.zeros_like(like) if picture is None else _fitted(picture, like)
        mask = cond.get("concat_mask", scene.mask)
        if mask is None:
            blank = torch.tensor(BLANK).to(like).reshape(1, -1, 1, 1).expand_as(like)
            return torch.cat([torch.ones_like(like[:, :1]), blank], dim=1)
        hole = _fitted(mask.reshape(-1, 1, *mask.shape[-2:]), like).round()
        return torch.cat([hole, like if picture is None else _fitted(scaled(picture), like)], dim=1)


NOTHING = Added()
"""The inputs of a model that has none but x, σ and the text."""


def _fitted(picture: Tensor, like: Tensor) -> Tensor:
    """A latent or mask [n, c, h, w] at the size and batch of a latent [B, C, h, w]."""
    picture = picture.to(like)
    if picture.shape[-2:] != like.shape[-2:]:
        picture = resized(picture, like.shape[-1], like.shape[-2], "bilinear", "center")
    return repeated_to(picture, len(like))
