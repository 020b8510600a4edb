"""Big pictures through a network in overlapping tiles, blended where they overlap."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TypeAlias

import torch
from torch import Tensor

from engine.steps import Steps

Ask: TypeAlias = Callable[[Sequence[Tensor]], Steps[list[Tensor]]]
"""Equally sized tiles [C, h, w] to what the network makes of each, [C', s h, s w]."""


def spans(length: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """Where tiles start along a side, and how long each is: one tile where the side is no longer than it."""
    if length <= tile:
        return [(0, length)]
    starts = (min(start, length - overlap) for start in range(0, length - overlap, tile - overlap))
    return [(start, min(tile, length - start)) for start in starts]


def tiled(x: Tensor, tile: tuple[int, int], overlap: int, ask: Ask) -> Steps[Tensor]:
    """A batch [B, C, H, W] through a network, tile by tile: [B, C', s H, s W].

    Each tile counts in proportion to its distance from its edges, over the width of the overlap.

    Args:
        tile: Height and width of a tile, more than `overlap` each.
        ask: Asked once for each size of tile; a batch that fits one tile is asked whole.
    """
    rows, columns = spans(x.shape[2], tile[0], overlap), spans(x.shape[3], tile[1], overlap)
    places = sorted(((h, w, top, left) for top, h in rows for left, w in columns))
    total = weight = torch.zeros(0)
    for (h, w), group in groupby(places, key=lambda place: place[:2]):
        corners = [(top, left) for _, _, top, left in group]
        answers = yield from ask([item for y, z in corners for item in x[:, :, y : y + h, z : z + w]])
        scale = answers[0].shape[-1] / w
        if len(places) == 1:
            return torch.stack(answers)
        if not len(total):
            total, weight = _empty(x, answers[0], scale)
        feather = feathered(answers[0].shape[-2:], round(overlap * scale)).to(answers[0])
        for (top, left), tiles in zip(corners, _of_each(answers, len(x)), strict=True):
            place = _place(top, left, answers[0], scale)
            total[place] += torch.stack(list(tiles)) * feather
            weight[place[2:]] += feather
    return total / weight


def feathered(size: Sequence[int], width: int) -> Tensor:
    """The weight of each pixel of a tile [h, w]: 1 inside, falling linearly over `width` at its edges."""
    sides = []
    for length in size:
        side = torch.ones(length)
        if width < length:
            ramp = torch.arange(1, width + 1) / max(width, 1)
            side[:width] *= ramp
            side[length - width :] *= ramp.flip(0)
        sides.append(side)
    return sides[0][:, None] * sides[1]


def _empty(x: Tensor, answer: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    height, width = round(x.shape[2] * scale), round(x.shape[3] * scale)
    return answer.new_zeros(len(x), answer.shape[0], height, width), answer.new_zeros(height, width)


def _place(top: int, left: int, answer: Tensor, scale: float) -> tuple[slice, ...]:
    y, x = round(top * scale), round(left * scale)
    return slice(None), slice(None), slice(y, y + answer.shape[-2]), slice(x, x + answer.shape[-1])


def _of_each(answers: Sequence[Tensor], count: int) -> Iterator[Sequence[Tensor]]:
    """The answers in runs of `count`, one run for each place."""
    yield from (answers[i : i + count] for i in range(0, len(answers), count))
