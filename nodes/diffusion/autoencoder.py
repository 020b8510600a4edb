"""A variational autoencoder between pictures and latents: whole or in tiles, one request an item."""

import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from engine.devices import Devices, out_of_memory
from engine.ports import Port
from engine.problems import NodeFailure
from engine.steps import Steps, call, run_alone
from nodes.diffusion.tiles import tiled
from nodes.diffusion.weights import Recipe, compute_dtype

FACTOR = 8
"""Pixels to a latent cell, along each side."""

Kind = Literal["encode", "decode"]
_SMALLER: dict[Kind, tuple[int, int]] = {"encode": (512, 64), "decode": (64, 16)}
"""Tile and overlap where a whole picture does not fit: pixels, latent cells."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Work:
    """One item to encode, [3, H, W] in -1..1, or to decode, [C, h, w]."""

    kind: Kind
    item: Tensor


@Port("VAE")
@dataclass(frozen=True)
class Vae:
    """The autoencoder of a latent diffusion model (Kingma & Welling 2014, Rombach et al. 2022).

    Latents are in its own space, before any scaling for a denoiser.

    Args:
        recipe: `recipe.module(devices)` is a diffusers `AutoencoderKL`.
    """

    recipe: Recipe
    devices: Devices = field(compare=False, repr=False)

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in, at first."""
        return compute_dtype(self.recipe.part, self.devices)

    def encoded(self, pixels: Tensor, tile: int | None = None, overlap: int = 64) -> Steps[Tensor]:
        """Pictures [B, H, W, C] in 0..1 to the mean of their posterior, [B, C', H/8, W/8].

        The first three channels count; the sides are cut to multiples of 8 about the centre.

        Args:
            tile: Side of a tile in pixels; None encodes each picture whole.
            overlap: By how much tiles overlap, in pixels.
        """
        x = cropped(pixels)[..., :3].movedim(-1, 1) * 2.0 - 1.0
        latent = yield from self._passed("encode", x, tile, overlap)
        return _finite(latent, "encoding the picture")

    def decoded(self, samples: Tensor, tile: int | None = None, overlap: int = 16) -> Steps[Tensor]:
        """Latents [B, C, h, w] to pictures [B, 8h, 8w, 3] in 0..1.

        Args:
            tile: Side of a tile in latent cells; None decodes each latent whole.
            overlap: By how much tiles overlap, in latent cells.
        """
        pixels = yield from self._passed("decode", samples, tile, overlap)
        return _finite(((pixels + 1.0) / 2.0).clamp(0.0, 1.0), "decoding the latent").movedim(1, -1)

    def encode(self, pixels: Tensor) -> Tensor:
        """`encoded` at once, for nodes of the ecosystem that call the autoencoder themselves."""
        return run_alone(self.encoded(pixels))

    def decode(self, samples: Tensor) -> Tensor:
        """`decoded` at once, for such nodes."""
        return run_alone(self.decoded(samples))

    def batch_key(self, request: Work) -> Hashable:
        """The direction and the shape."""
        return request.kind, request.item.shape

    def answer(self, requests: Sequence[Work]) -> list[Tensor]:
        """Encode to posterior means, or decode to -1..1; the requests have equal batch keys.

        Raises:
            NodeFailure: The latents are of another kind of VAE.
        """
        module: Any = self.recipe.module(self.devices)
        kind, x = requests[0].kind, torch.stack([r.item for r in requests])
        channels = module.config.latent_channels
        if kind == "decode" and x.shape[1] != channels:
            raise NodeFailure(
                f"the latent has {x.shape[1]} channels, this VAE decodes {channels}",
                "use the VAE that belongs to the model that made the latent",
            )
        made = self._through(module, kind, x)
        if module.dtype != torch.float32 and not bool(made.isfinite().all()):
            log.warning("the VAE overflows in %s: once more in float32", module.dtype)
            made = self._through(self.recipe.module(self.devices, torch.float32), kind, x)
        return list(made.unbind())

    def _through(self, module: Any, kind: Kind, x: Tensor) -> Tensor:
        x = x.to(self.devices.device, module.dtype)
        out = module.encode(x).latent_dist.mean if kind == "encode" else module.decode(x).sample
        made: Tensor = out.float().cpu()
        return made

    def _passed(self, kind: Kind, x: Tensor, tile: int | None, overlap: int) -> Steps[Tensor]:
        def ask(items: Sequence[Tensor]) -> Steps[list[Tensor]]:
            return (yield from call(self, *(Work(kind, item) for item in items)))

        if tile is None:
            try:
                return torch.stack((yield from ask(list(x))))
            except Exception as error:
                if not out_of_memory(error):
                    raise
                tile, overlap = _SMALLER[kind]
                log.warning("out of memory: the VAE goes on in tiles of %s", tile)
        total = torch.zeros(())
        for shape in ((tile, tile), (tile * 2, tile // 2), (tile // 2, tile * 2)):
            total = total + (yield from tiled(x, shape, overlap, ask))
        return total / 3.0


def cropped(pixels: Tensor) -> Tensor:
    """Pictures [B, H, W, C] or masks [B, H, W], their sides cut to multiples of 8 about the centre."""
    height, width = (side // FACTOR * FACTOR for side in pixels.shape[1:3])
    top, left = ((side % FACTOR) // 2 for side in pixels.shape[1:3])
    return pixels[:, top : top + height, left : left + width]


def _finite(values: Tensor, doing: str) -> Tensor:
    broken = [i for i, item in enumerate(values) if not bool(torch.isfinite(item).all())]
    if broken:
        raise NodeFailure(
            f"{doing} gave values that are no numbers, at index {', '.join(map(str, broken))} of the batch",
            "look at what comes in, and whether the VAE belongs to the model",
        )
    return values
