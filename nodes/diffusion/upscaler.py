"""Networks that enlarge pictures, of any architecture that spandrel knows."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from engine.devices import Devices
from engine.ports import Port
from engine.steps import Progress, Steps, call
from nodes.diffusion.tiles import spans, tiled
from nodes.diffusion.weights import Recipe

TILE, OVERLAP = 512, 32
"""Pixels; a tile is what the network sees at once."""


@Port("UPSCALE_MODEL")
@dataclass(frozen=True)
class UpscaleModel:
    """A network that enlarges a picture by a fixed factor.

    A request is a tile [3, h, w] in 0..1, its answer [3, s h, s w].

    Args:
        recipe: `recipe.module(devices)` maps [B, 3, h, w] to [B, 3, s h, s w].
    """

    recipe: Recipe
    devices: Devices = field(compare=False, repr=False)

    def enlarged(self, pixels: Tensor) -> Steps[Tensor]:
        """Pictures [B, H, W, C] in 0..1 to [B, s H, s W, 3], tile by tile with progress."""
        x = pixels[..., :3].movedim(-1, 1)
        total = len(spans(x.shape[2], TILE, OVERLAP)) * len(spans(x.shape[3], TILE, OVERLAP)) * len(x)
        done = 0

        def ask(items: Sequence[Tensor]) -> Steps[list[Tensor]]:
            nonlocal done
            answers: list[Tensor] = []
            for item in items:
                answers += yield from call(self, item)
                done += 1
                yield Progress(done, total)
            return answers

        return (yield from tiled(x, (TILE, TILE), OVERLAP, ask)).clamp(0.0, 1.0).movedim(1, -1)

    def batch_key(self, request: Tensor) -> Hashable:
        """The shape of the tile."""
        return request.shape

    def answer(self, requests: Sequence[Tensor]) -> list[Tensor]:
        """Enlarge tiles of one shape in one pass."""
        module: Any = self.recipe.module(self.devices)
        x = torch.stack(list(requests)).to(self.devices.device, next(module.parameters()).dtype)
        return list(module(x).float().cpu().unbind())
