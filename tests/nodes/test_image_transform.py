"""Cutting, turning and arranging pictures, and their alpha channel."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nodes.image_transform import (
    image_crop,
    image_flip,
    image_grid,
    image_rotate,
    image_scale_to_max_dimension,
    image_stitch,
    join_image_with_alpha,
    resize_and_pad_image,
    split_image_with_alpha,
)

LETTERS = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).view(1, 2, 3, 1)


def rows(image: torch.Tensor) -> list[list[float]]:
    grid: list[list[float]] = image[0, ..., 0].tolist()
    return grid


def test_a_crop_stays_inside_the_picture() -> None:
    assert rows(image_crop(image=LETTERS, width=2, height=9, x=1, y=0)) == [[2, 3], [5, 6]]
    assert rows(image_crop(image=LETTERS, width=2, height=1, x=50, y=50)) == [[6]]


def test_flipping_mirrors_at_the_named_axis() -> None:
    assert rows(image_flip(image=LETTERS, flip_method="x-axis: vertically")) == [[4, 5, 6], [1, 2, 3]]
    assert rows(image_flip(image=LETTERS, flip_method="y-axis: horizontally")) == [[3, 2, 1], [6, 5, 4]]


def test_rotation_is_clockwise() -> None:
    assert rows(image_rotate(image=LETTERS, rotation="90 degrees")) == [[4, 1], [5, 2], [6, 3]]
    assert rows(image_rotate(image=LETTERS, rotation="none")) == rows(LETTERS)


@pytest.mark.parametrize(
    ("shape", "expected"), [((10, 20), (8, 16)), ((20, 10), (16, 8)), ((5, 5), (16, 16))]
)
def test_the_longer_side_gets_the_wanted_length(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    image = torch.rand(1, *shape, 3)
    scaled = image_scale_to_max_dimension(image=image, upscale_method="area", largest_size=16)
    assert scaled.shape == (1, *expected, 3)


@pytest.mark.parametrize(
    ("direction", "size"), [("right", (4, 15)), ("left", (4, 15)), ("up", (11, 6)), ("down", (11, 6))]
)
def test_stitching_matches_the_common_side(direction: str, size: tuple[int, int]) -> None:
    stitched = image_stitch(
        image1=torch.zeros(1, 4, 6, 3),
        image2=torch.ones(2, 8, 14, 3),
        direction=direction,  # type: ignore[arg-type]
        spacing_width=2 if direction in ("left", "right") else 4,
        match_image_size=True,
    )
    assert stitched.shape == (2, *size, 3)


def test_stitching_puts_the_second_where_it_is_told() -> None:
    dark, bright = torch.zeros(1, 2, 2, 3), torch.ones(1, 2, 2, 3)
    stitched = image_stitch(
        image1=dark, image2=bright, direction="left", spacing_width=2, spacing_color="red"
    )
    assert stitched[0, 0].tolist() == [[1, 1, 1]] * 2 + [[1, 0, 0]] * 2 + [[0, 0, 0]] * 2
    assert image_stitch(image1=dark) is dark


def test_stitching_without_matching_centres_the_smaller() -> None:
    stitched = image_stitch(
        image1=torch.zeros(1, 3, 1, 3),
        image2=torch.ones(1, 1, 1, 3),
        match_image_size=False,
        spacing_color="blue",
    )
    assert stitched[0, :, 1].tolist() == [[0, 0, 0], [1, 1, 1], [0, 0, 0]]


def test_a_grid_goes_row_by_row() -> None:
    batch = torch.arange(1.0, 6.0).view(5, 1, 1, 1)
    sheet = image_grid(images=[batch[:2], batch[2:]], columns=[3], gap=[1], color=[0])
    assert rows(sheet) == [[1, 0, 2, 0, 3], [0, 0, 0, 0, 0], [4, 0, 5, 0, 0]]


@given(count=st.integers(1, 30))
def test_a_grid_without_columns_is_nearly_square(count: int) -> None:
    sheet = image_grid(images=[torch.rand(count, 1, 1, 3)], gap=[0])
    height, width = sheet.shape[1:3]
    assert width - 1 <= height <= width
    assert (height - 1) * width < count <= height * width


def test_a_grid_centres_smaller_pictures() -> None:
    sheet = image_grid(images=[torch.zeros(1, 3, 3, 3), torch.zeros(1, 1, 1, 3)], gap=[0])
    assert rows(sheet) == [[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 0, 1], [0, 0, 0, 1, 1, 1]]


def test_splitting_undoes_joining() -> None:
    image, mask = torch.rand(2, 4, 5, 3), torch.rand(2, 4, 5)
    colors, alpha = split_image_with_alpha(image=join_image_with_alpha(image=image, alpha=mask))
    torch.testing.assert_close(colors, image)
    torch.testing.assert_close(alpha, mask)
    assert not split_image_with_alpha(image=image)[1].any()


def test_a_fitted_picture_stands_in_the_middle() -> None:
    fitted = resize_and_pad_image(
        image=torch.full((1, 2, 4, 3), 0.5),
        target_width=4,
        target_height=4,
        padding_color="white",
        interpolation="area",
    )
    assert rows(fitted) == [[1] * 4, [0.5] * 4, [0.5] * 4, [1] * 4]
