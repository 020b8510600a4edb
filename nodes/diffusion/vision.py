"""CLIP's picture encoder: pictures to embeddings, one request a picture."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.devices import Devices
from engine.ports import Port
from engine.steps import Steps, call, run_alone
from nodes.diffusion.weights import Recipe

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


@Port("CLIP_VISION_OUTPUT", stored=True)
@dataclass(frozen=True)
class VisionOutput:
    """What the encoder makes of a batch of pictures; T is 1 + the number of patches.

    Args:
        image_embeds: [B, D] in the space that text and pictures share.
        last_hidden_state: [B, T, C] after the last layer.
        penultimate_hidden_states: [B, T, C] before the last layer.
    """

    image_embeds: Tensor
    last_hidden_state: Tensor
    penultimate_hidden_states: Tensor


@Port("CLIP_VISION")
@dataclass(frozen=True)
class ClipVision:
    """A picture encoder (Radford et al. 2021).

    Args:
        recipe: `recipe.module(devices)` is a transformers `CLIPVisionModelWithProjection`.
    """

    recipe: Recipe
    devices: Devices = field(compare=False, repr=False)

    def encoded(self, pictures: Tensor, *, crop: bool = True) -> Steps[VisionOutput]:
        """The embeddings of pictures [B, H, W, C], 0..1.

        Args:
            crop: Cut a square from the centre; without, the picture is squeezed into one.
        """
        seen = prepared(pictures, self._size(), crop=crop)
        answers = yield from call(self, *seen)
        return VisionOutput(*(torch.stack(parts) for parts in zip(*answers, strict=True)))

    def encode_image(self, image: Tensor, crop: bool = True) -> VisionOutput:
        """`encoded` at once, for nodes of the ecosystem that call the encoder themselves."""
        return run_alone(self.encoded(image, crop=crop))

    def batch_key(self, _request: Tensor) -> Hashable:
        """All pictures have the same size."""
        return ()

    def answer(self, requests: Sequence[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Encode pictures [3, H, W], prepared, in one pass."""
        module: Any = self.recipe.module(self.devices)
        weight = module.visual_projection.weight
        x = torch.stack(list(requests)).to(weight)
        out = module(x, output_hidden_states=True)
        parts = (out.image_embeds, out.last_hidden_state, out.hidden_states[-2])
        return list(zip(*(part.float().cpu().unbind() for part in parts), strict=True))

    def _size(self) -> int:
        module: Any = self.recipe.module(self.devices)
        return int(module.config.image_size)


def prepared(pictures: Tensor, size: int, *, crop: bool) -> Tensor:
    """Pictures [B, H, W, C] as the encoder was trained to see them: [B, 3, size, size], normalised.

    Resized bicubically with antialiasing and rounded to 8 bits.
    """
    x = pictures[..., :3].movedim(-1, 1).float()
    height, width = x.shape[-2:]
    if (height, width) != (size, size):
        scale = size / min(height, width)
        target = (round(scale * height), round(scale * width)) if crop else (size, size)
        x = F.interpolate(x, size=target, mode="bicubic", antialias=True)
        top, left = ((side - size) // 2 for side in x.shape[-2:])
        x = x[..., top : top + size, left : left + size]
    x = (255.0 * x).clamp(0, 255).round() / 255.0
    return (x - _column(_MEAN, x)) / _column(_STD, x)


def _column(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values).to(like).reshape(3, 1, 1)
