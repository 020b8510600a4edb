"""Self-attention of a UNet's largest layers over fewer tokens: merged ones, or one tile at a time."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Change = Callable[[Tensor], Tensor]


class _Spatial:
    """Hooks around each self-attention of a UNet that know the size of the latent and of the states there."""

    def __init__(self, unet: Any, around: Callable[[int, Any, "_Spatial"], None]) -> None:
        self.latent = (0, 0)
        self.states = (0, 0)
        unet.register_forward_pre_hook(self._enter, with_kwargs=True)
        transformers = [m for m in unet.modules() if hasattr(m, "transformer_blocks")]
        for i, transformer in enumerate(transformers):
            transformer.register_forward_pre_hook(self._enter_layer)
            for block in transformer.transformer_blocks:
                around(i, block.attn1, self)

    def _enter(self, _: nn.Module, inputs: tuple[Any, ...], options: Mapping[str, Any]) -> None:
        sample = inputs[0] if inputs else options["sample"]
        self.latent = tuple(sample.shape[-2:])

    def _enter_layer(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.states = tuple(inputs[0].shape[-2:])


@dataclass(frozen=True)
class Merged:
    """Self-attention at full size asked by fewer tokens (Bolya & Hoffman 2023, "Token Merging for SD").

    Of each 2 by 2 cells one stays; the others are merged into the most similar that stays, as many as the
    share says. Which cell stays is drawn once for each layer, the same in every step. Lossy.

    Args:
        ratio: Share of the tokens that are merged, 0..1, at most three of four.
    """

    ratio: float

    def install(self, module: Any) -> None:
        """See `weights.Structure`."""
        _Spatial(module, self._around)

    def _around(self, layer: int, attention: Any, spatial: _Spatial) -> None:
        unmerge: list[Change] = []

        def before(_: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
            (tokens, *rest) = inputs
            height, width = spatial.states
            merged = math.prod(spatial.latent) // (height * width) <= 1
            if merged and height > 1 and width > 1:
                fewer, back = merging(tokens, height, width, self.ratio, drawn(height, width, layer))
                unmerge.append(back)
                return (fewer(tokens), *rest), {**options, "encoder_hidden_states": tokens}
            return None

        def after(_: nn.Module, __: object, output: Tensor) -> Tensor:
            return unmerge.pop()(output) if unmerge else output

        attention.register_forward_pre_hook(before, with_kwargs=True)
        attention.register_forward_hook(after)


def drawn(height: int, width: int, seed: int) -> Tensor:
    """Which of each 2 by 2 cells stays, 0..3, [height // 2, width // 2]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(4, (height // 2, width // 2), generator=generator)


def merging(tokens: Tensor, height: int, width: int, ratio: float, stays: Tensor) -> tuple[Change, Change]:
    """Functions that merge tokens [B, h w, D] to fewer, and spread what became of them back.

    Bipartite soft matching (Bolya et al. 2023, section 3) by the cosine between the tokens.

    Args:
        ratio: Share of all tokens to merge.
        stays: Which of each 2 by 2 cells stays; see `drawn`.
    """
    device = tokens.device
    rows, columns = torch.meshgrid(torch.arange(height // 2), torch.arange(width // 2), indexing="ij")
    kept = ((2 * rows + stays // 2) * width + 2 * columns + stays % 2).flatten()
    moving = torch.ones(height * width, dtype=torch.bool)
    moving[kept] = False
    order = torch.cat([moving.nonzero()[:, 0], kept]).to(device)
    count = len(order) - len(kept)
    number = min(count, int(height * width * ratio))
    unit = torch.nn.functional.normalize(tokens, dim=-1)[:, order]
    best, into = (unit[:, :count] @ unit[:, count:].mT).max(dim=-1)
    ranked = best.argsort(dim=-1, descending=True)
    merged, alone = ranked[:, :number], ranked[:, number:]
    target = into.gather(1, merged)

    def wide(index: Tensor, like: Tensor) -> Tensor:
        return index[..., None].expand(-1, -1, like.shape[-1])

    def fewer(x: Tensor) -> Tensor:
        sources, stay = x[:, order[:count]], x[:, order[count:]]
        moved = sources.gather(1, wide(merged, x))
        stay = stay.scatter_reduce(1, wide(target, x), moved, reduce="mean")
        return torch.cat([sources.gather(1, wide(alone, x)), stay], dim=1)

    def back(y: Tensor) -> Tensor:
        single, stay = y[:, : count - number], y[:, count - number :]
        sources = y.new_empty(len(y), count, y.shape[-1])
        sources.scatter_(1, wide(alone, y), single)
        sources.scatter_(1, wide(merged, y), stay.gather(1, wide(target, y)))
        result = y.new_empty(len(y), len(order), y.shape[-1])
        result[:, order] = torch.cat([sources, stay], dim=1)
        return result

    return fewer, back


@dataclass(frozen=True)
class Tiled:
    """Self-attention of the largest layers within tiles of the picture (tfernd 2023, "HyperTile"). Lossy.

    As in the ecosystem only what asks is cut into tiles, read as if a picture were as wide as it is high and
    the reverse, and each attends to a strip of rows with as many cells.

    Args:
        tile: Least side of a tile, in cells of the latent.
        swaps: Among how many of the smallest tile counts one is drawn.
        depth: Layers that are up to so many times halved are tiled too.
        scales: Whether a tile of those has as many cells, not as large a part of the picture.
    """

    tile: int
    swaps: int
    depth: int
    scales: bool

    def install(self, module: Any) -> None:
        """See `weights.Structure`."""
        _Spatial(module, self._around)

    def _around(self, layer: int, attention: Any, spatial: _Spatial) -> None:
        cut: list[Change] = []

        def before(_: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
            (tokens, *rest) = inputs
            batch, count, depth = tokens.shape
            halvings = [i for i in range(self.depth + 1) if count == math.prod(spatial.latent) / 4**i]
            if not halvings:
                return None
            least = self.tile * (2 ** halvings[0] if self.scales else 1)
            generator = torch.Generator().manual_seed(layer)
            sides = spatial.states[::-1]
            down, across = (tiles(side, least, self.swaps, generator) for side in sides)
            number = down * across
            if number == 1:
                return None
            height, width = sides[0] // down, sides[1] // across

            def apart(x: Tensor) -> Tensor:
                grid = x.reshape(batch, down, height, across, width, -1).transpose(2, 3)
                return grid.reshape(batch * number, height * width, -1)

            def together(y: Tensor) -> Tensor:
                grid = y.reshape(batch, down, across, height, width, -1).transpose(2, 3)
                return grid.reshape(batch, count, -1)

            cut.append(together)
            strips = tokens.reshape(batch * number, count // number, depth)
            return (apart(tokens), *rest), {**options, "encoder_hidden_states": strips}

        def after(_: nn.Module, __: object, output: Tensor) -> Tensor:
            return cut.pop()(output) if cut else output

        attention.register_forward_pre_hook(before, with_kwargs=True)
        attention.register_forward_hook(after)


def tiles(side: int, least: int, swaps: int, generator: torch.Generator) -> int:
    """How many equal tiles, each at least so long, to cut a side into; drawn among the finest few."""
    least = min(least, side)
    counts = [side // length for length in range(least, side + 1) if side % length == 0][:swaps]
    if len(counts) < 3:
        return counts[0]
    return counts[int(torch.randint(len(counts) - 1, (1,), generator=generator))]
