"""Masks: conversions, arithmetic, growth."""

from pathlib import Path
from typing import Any

import pytest
import scipy.ndimage
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.files import Files
from engine.problems import NodeFailure
from nodes.mask import (
    crop_mask,
    feather_mask,
    grow_mask,
    image_color_to_mask,
    image_to_mask,
    invert_mask,
    mask_composite,
    mask_preview,
    mask_to_image,
    solid_mask,
    threshold_mask,
)


def test_a_mask_becomes_a_picture_and_comes_back() -> None:
    mask = torch.rand(2, 4, 5)
    image = mask_to_image(mask=mask)
    assert image.shape == (2, 4, 5, 3)
    assert image_to_mask(image=image, channel="green").equal(mask)
    assert mask_to_image(mask=mask[0]).shape == (1, 4, 5, 3)


def test_a_channel_that_is_not_there_is_a_failure() -> None:
    with pytest.raises(NodeFailure, match="no alpha"):
        image_to_mask(image=torch.zeros(1, 2, 2, 3), channel="alpha")


def test_a_color_is_compared_with_8_bits() -> None:
    image = torch.tensor([[1.0, 0.5, 0.0], [1.0, 0.51, 0.0]]).view(1, 1, 2, 3)
    assert image_color_to_mask(image=image, color=0xFF8000).tolist() == [[[1, 0]]]


def test_inverting_twice_gives_the_mask_back() -> None:
    mask = solid_mask(value=0.25, width=3, height=2)
    assert mask.shape == (1, 2, 3)
    assert invert_mask(mask=invert_mask(mask=mask)).equal(mask)


def test_a_crop_is_cut_at_the_edge() -> None:
    mask = torch.arange(6.0).view(1, 2, 3)
    assert crop_mask(mask=mask, x=1, y=1, width=9, height=9).tolist() == [[[4, 5]]]


@pytest.mark.parametrize(
    ("operation", "value"),
    [("multiply", 0.42), ("add", 1.0), ("subtract", 0.0), ("and", 1.0), ("or", 1.0), ("xor", 0.0)],
)
def test_masks_are_combined_where_they_overlap(operation: Any, value: float) -> None:
    below, above = torch.full((1, 2, 2), 0.6), torch.full((1, 2, 2), 0.7)
    combined = mask_composite(destination=below, source=above, x=1, y=0, operation=operation)
    torch.testing.assert_close(combined, torch.tensor([[[0.6, value], [0.6, value]]]))
    assert mask_composite(destination=below, source=above, x=7, y=7, operation=operation).equal(below)


def test_feathering_rises_from_the_edge() -> None:
    mask = feather_mask(mask=torch.ones(1, 4, 4), left=4)
    assert mask[0, 0].tolist() == [0.25, 0.5, 0.75, 1.0]
    assert feather_mask(mask=torch.ones(1, 4, 4)).eq(1).all()


@given(expand=st.integers(-4, 4), tapered=st.booleans(), seed=st.integers(0, 99))
def test_growing_is_grey_dilation_step_by_step(expand: int, tapered: bool, seed: int) -> None:
    mask = torch.rand(2, 7, 9, generator=torch.Generator().manual_seed(seed))
    corner = not tapered
    footprint = [[corner, True, corner], [True, True, True], [corner, True, corner]]
    operation = scipy.ndimage.grey_erosion if expand < 0 else scipy.ndimage.grey_dilation
    expected = mask.numpy()
    for _ in range(abs(expand)):
        expected = torch.stack(
            [torch.from_numpy(operation(m, footprint=footprint)) for m in expected]
        ).numpy()
    assert grow_mask(mask=mask, expand=expand, tapered_corners=tapered).equal(torch.from_numpy(expected))


def test_growing_far_ends_when_all_is_masked() -> None:
    mask = torch.zeros(1, 5, 9)
    mask[0, 0, 0] = 1
    assert grow_mask(mask=mask, expand=16384).all()


def test_the_threshold_itself_is_not_masked() -> None:
    assert threshold_mask(mask=torch.tensor([[[0.4, 0.5, 0.6]]]), value=0.5).tolist() == [[[0, 0, 1]]]


def test_a_preview_is_a_picture_in_the_temporary_folder(tmp_path: Path) -> None:
    (link,) = mask_preview(mask=torch.ones(1, 4, 4), files=Files.under(tmp_path)).ui["images"]
    assert link["type"] == "temp"
