"""Tiles: where they lie, how they blend."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.steps import Steps, run_alone
from nodes.diffusion.tiles import feathered, spans, tiled


@given(st.integers(1, 500), st.integers(9, 128), st.integers(0, 8))
def test_tiles_cover_a_side_and_stay_inside(length: int, tile: int, overlap: int) -> None:
    found = spans(length, tile, overlap)
    covered = {i for start, size in found for i in range(start, start + size)}
    assert covered == set(range(length))
    assert all(size <= tile for _, size in found)


def test_a_side_that_fits_is_one_tile() -> None:
    assert spans(64, 64, 16) == [(0, 64)]
    assert spans(65, 64, 16) == [(0, 64), (48, 17)]


def test_a_feather_falls_to_the_edges() -> None:
    weight = feathered((6, 8), 2)
    assert weight[2, 2] == 1.0
    assert weight[0, 3] == 0.5
    assert weight[0, 0] == 0.25
    assert torch.equal(weight, weight.flip(0))
    assert torch.equal(feathered((2, 2), 4), torch.ones(2, 2))


def doubled(asked: list[int]) -> object:
    def ask(items: Sequence[Tensor]) -> Steps[list[Tensor]]:
        asked.append(len(items))
        return [item.repeat_interleave(2, -1).repeat_interleave(2, -2) for item in items]
        yield  # a generator that has no questions

    return ask


@pytest.mark.parametrize("size", [(20, 20), (64, 64), (70, 41), (129, 200)])
def test_pixelwise_work_in_tiles_is_the_work_on_the_whole(size: tuple[int, int]) -> None:
    x, asked = torch.rand(2, 3, *size), list[int]()
    made = run_alone(tiled(x, (64, 64), 16, doubled(asked)))  # type: ignore[arg-type]
    torch.testing.assert_close(made, x.repeat_interleave(2, -1).repeat_interleave(2, -2))
    assert asked == [2] or max(size) > 64
