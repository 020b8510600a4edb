"""Filters and blends: neutral settings change nothing, known values come out."""

from typing import Any

import pytest
import torch

from engine.problems import NodeFailure
from nodes.image_filters import (
    image_add_noise,
    image_blend,
    image_blur,
    image_quantize,
    image_sharpen,
    morphology,
)

A, B = torch.full((1, 4, 4, 3), 0.4), torch.full((1, 4, 4, 3), 0.8)


@pytest.mark.parametrize(
    ("mode", "value"),
    [("normal", 0.8), ("multiply", 0.32), ("screen", 0.88), ("overlay", 0.64), ("difference", 0.0),
     ("soft_light", 0.4 + 0.6 * (0.4**0.5 - 0.4))],
)  # fmt: skip
def test_a_full_blend_has_its_formula(mode: Any, value: float) -> None:
    blended = image_blend(image1=A, image2=B, blend_factor=1.0, blend_mode=mode)
    torch.testing.assert_close(blended, torch.full_like(A, value))


def test_a_blend_of_factor_zero_is_the_first_picture() -> None:
    torch.testing.assert_close(
        image_blend(image1=A, image2=B[:, :2], blend_factor=0.0, blend_mode="screen"), A
    )


def test_blurring_keeps_the_mean_of_a_constant_and_softens_a_point() -> None:
    torch.testing.assert_close(image_blur(image=A, blur_radius=2, sigma=1.0), A)
    point = torch.zeros(1, 9, 9, 1)
    point[0, 4, 4] = 1
    blurred = image_blur(image=point, blur_radius=2, sigma=1.0)
    assert blurred.sum().item() == pytest.approx(1)
    assert blurred[0, 4, 4] > blurred[0, 4, 5] > blurred[0, 4, 6] > 0


def test_sharpening_of_strength_zero_changes_nothing() -> None:
    image = torch.rand(1, 8, 8, 3)
    torch.testing.assert_close(image_sharpen(image=image, sharpen_radius=2, alpha=0.0), image)


def test_a_radius_larger_than_the_picture_is_a_failure() -> None:
    with pytest.raises(NodeFailure, match="radius of 4"):
        image_blur(image=A, blur_radius=4)


@pytest.mark.parametrize("dither", ["none", "floyd-steinberg", "bayer-2", "bayer-16"])
def test_a_quantized_picture_has_at_most_the_wanted_colors(dither: Any) -> None:
    image = torch.rand(1, 16, 16, 3, generator=torch.Generator().manual_seed(0))
    quantized = image_quantize(image=image, colors=5, dither=dither)
    assert 2 <= len(set(map(tuple, quantized.view(-1, 3).tolist()))) <= 5


def test_morphology_takes_the_extremes_of_the_neighbourhood() -> None:
    image = torch.zeros(1, 5, 5, 1)
    image[0, 2, 2] = 1
    assert morphology(image=image, operation="dilate", kernel_size=3).sum() == 9
    assert morphology(image=image, operation="erode", kernel_size=3).sum() == 0
    assert morphology(image=image, operation="open", kernel_size=3).sum() == 0
    assert morphology(image=image, operation="close", kernel_size=3).sum() == 1
    assert morphology(image=image, operation="top_hat", kernel_size=3).equal(image)
    assert morphology(image=image, operation="gradient", kernel_size=4).shape == image.shape


def test_a_square_of_even_side_reaches_down_and_right_where_it_dilates_and_back_where_it_erodes() -> None:
    image = torch.zeros(1, 9, 9, 1)
    image[0, 3:6, 3:6] = 1
    dilated = morphology(image=image, operation="dilate", kernel_size=4)[0, :, :, 0]
    assert dilated.nonzero().aminmax(dim=0).min.tolist() == [1, 1]
    assert dilated.nonzero().aminmax(dim=0).max.tolist() == [6, 6]
    square = torch.zeros(1, 15, 15, 1)
    square[0, 5:9, 6:10] = 1
    assert morphology(image=square, operation="open", kernel_size=4).equal(square)
    assert morphology(image=square, operation="close", kernel_size=4).equal(square)


def test_noise_follows_the_seed() -> None:
    first = image_add_noise(image=A, seed=1, strength=0.1)
    assert first.equal(image_add_noise(image=A, seed=1, strength=0.1))
    assert not first.equal(image_add_noise(image=A, seed=2, strength=0.1))
    assert image_add_noise(image=A, seed=2**64 - 1, strength=0.0).equal(A)
