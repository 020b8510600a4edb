"""Preprocessors without networks against controlnet_aux and OpenCV, on pictures."""

from typing import Any

import cv2
import numpy as np
import pytest
import torch

from engine.problems import NodeFailure
from nodes import preprocessors_colour as colour
from nodes import preprocessors_lines as lines
from nodes.annotators.weights import quiet
from tests.nodes.annotator_files import image, picture, pixels

HOUSE = picture("house.png", 128, 192)
FLIPPED = np.ascontiguousarray(HOUSE[::-1])


def detected(name: str, shown: Any = HOUSE, **options: Any) -> Any:
    """What controlnet_aux's own detector makes of a picture whose sides are multiples of 64."""
    with quiet():
        import controlnet_aux
        import controlnet_aux.shuffle
    return getattr(controlnet_aux, name)()(shown, output_type="np", detect_resolution=128, **options)


def test_canny_edges_equal_controlnet_auxs_for_each_picture_of_a_batch() -> None:
    found = pixels(
        lines.canny_edges(image=image(HOUSE, FLIPPED), low_threshold=60, high_threshold=150, resolution=128)
    )
    for shown, drawn in zip((HOUSE, FLIPPED), found, strict=True):
        assert np.array_equal(
            drawn,
            detected("CannyDetector", shown, low_threshold=60, high_threshold=150, image_resolution=128),
        )
    assert found.any()


def test_edges_are_found_at_the_resolution_and_the_padding_is_cut_off() -> None:
    found = pixels(lines.canny_edges(image=image(HOUSE), resolution=200))[0]
    grown = cv2.resize(HOUSE, (300, 200), interpolation=cv2.INTER_CUBIC)
    padded = cv2.copyMakeBorder(grown, 0, 56, 0, 20, cv2.BORDER_REPLICATE)
    assert np.array_equal(found[..., 0], cv2.Canny(padded, 100, 200)[:200, :300])


def test_standard_line_art_equals_controlnet_auxs() -> None:
    found = lines.lineart_standard(
        image=image(HOUSE), guassian_sigma=4.0, intensity_threshold=5, resolution=128
    )
    expected = detected("LineartStandardDetector", guassian_sigma=4.0, intensity_threshold=5)
    assert np.array_equal(pixels(found)[0], expected)


def test_an_even_picture_has_no_lines() -> None:
    even = torch.full((1, 64, 64, 3), 0.5)
    for node in (lines.lineart_standard, lines.pyramid_canny, lines.scribble_xdog, lines.canny_edges):
        assert not node(image=even, resolution=64).any()


@pytest.mark.parametrize("threshold", [0, 90, 255])
def test_binary_pictures_are_cut_at_the_threshold_or_at_otsus(threshold: int) -> None:
    grey = cv2.cvtColor(HOUSE, cv2.COLOR_RGB2GRAY)
    otsu = cv2.threshold(grey, 0, 255, cv2.THRESH_OTSU)[0]
    found = pixels(lines.binary(image=image(HOUSE), bin_threshold=threshold, resolution=128))[0]
    assert np.array_equal(found[..., 2] > 0, grey > (threshold if threshold == 90 else otsu))


def test_a_scribble_is_black_where_any_colour_is_dark() -> None:
    found = pixels(lines.scribble(image=image(HOUSE), resolution=128))[0]
    assert np.array_equal(found[..., 1] == 0, HOUSE.min(axis=2) < 127)


def test_xdog_draws_the_dark_side_of_a_step() -> None:
    step = torch.zeros(1, 64, 128, 3)
    step[:, :, 64:] = 0.4
    found = lines.scribble_xdog(image=step, threshold=32, resolution=64)[0, 32, :, 0]
    assert found[59:64].all()
    assert not found[:40].any()
    assert not found[64:].any()


def test_a_pyramid_finds_what_canny_finds_and_spans_all_shades() -> None:
    found = pixels(
        lines.pyramid_canny(image=image(HOUSE), low_threshold=64, high_threshold=128, resolution=128)
    )[0]
    sharp = sum(cv2.Canny(np.ascontiguousarray(HOUSE[..., i]), 64, 128).astype(int) for i in range(3)) > 255
    assert found[..., 0][sharp].mean() > 3 * found.mean() > 0
    assert (found.min(), found.max()) == (0, 255)


@pytest.mark.parametrize("iterations", [1, 3])
def test_a_tile_is_blurred_at_its_own_size_in_multiples_of_64(iterations: int) -> None:
    found = pixels(colour.tile(image=image(HOUSE[:120]), pyrUp_iters=iterations, resolution=999))[0]
    small = cv2.resize(HOUSE[:120], (192 >> iterations, 128 >> iterations), interpolation=cv2.INTER_AREA)
    for _ in range(iterations):
        small = cv2.pyrUp(small)
    assert np.array_equal(found, small)


def test_a_tile_that_cannot_be_halved_so_often_is_a_failure() -> None:
    with pytest.raises(NodeFailure, match="cannot be halved 10 times"):
        colour.tile(image=image(HOUSE), pyrUp_iters=10)


def test_simple_tiles_are_reduced_enlarged_and_blurred() -> None:
    found = pixels(colour.tile_simple(image=image(HOUSE), scale_factor=2.5, blur_strength=3.3))[0]
    small = cv2.resize(HOUSE, (76, 51), interpolation=cv2.INTER_AREA)
    large = cv2.resize(small, (192, 128), interpolation=cv2.INTER_LANCZOS4)
    assert np.array_equal(found, cv2.GaussianBlur(large, (3, 3), 1.65))


def test_the_guided_filter_keeps_edges_that_a_blur_of_its_reach_loses() -> None:
    step = torch.zeros(1, 64, 64, 3)
    step[:, :, 32:] = 0.8
    step[:, ::2] += 0.05
    found = colour.tile_guided(image=step, radius=5, eps=0.01, blur_strength=1.0)[0, 16:48, :, 0]
    assert found[:, 33].mean() - found[:, 30].mean() > 0.65
    assert (found[::2, 10] - found[1::2, 10]).abs().mean() < 0.01


def test_the_colour_grid_has_one_colour_in_each_square() -> None:
    found = colour.colour_grid(image=image(HOUSE), resolution=128)
    assert found.shape == (1, 128, 192, 3)
    squares = found.unfold(1, 64, 64).unfold(2, 64, 64).flatten(4)
    assert squares.eq(squares[..., :1]).all()
    assert squares[..., 0].unique().numel() > 6


def test_shuffling_equals_controlnet_auxs_with_the_same_random_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = pixels(colour.shuffle(image=image(HOUSE, HOUSE), resolution=128, seed=7))
    monkeypatch.setattr(np.random, "uniform", np.random.default_rng(7).uniform)
    assert np.array_equal(found[0], detected("ContentShuffleDetector", image_resolution=128))
    assert np.array_equal(found[0], found[1])


def test_every_seed_shuffles_in_its_own_way_and_always_the_same() -> None:
    first, again, other = (
        colour.shuffle(image=image(HOUSE), resolution=128, seed=seed) for seed in (0, 0, 1)
    )
    assert first.equal(again)
    assert not first.equal(other)


def test_recolouring_hints_are_lightness_and_the_strongest_colour() -> None:
    lab = cv2.cvtColor(HOUSE, cv2.COLOR_BGR2LAB)[..., 0]
    found = colour.luminance(image=image(HOUSE), resolution=128)
    assert np.abs(pixels(found)[0, ..., 0].astype(int) - lab).max() <= 1
    strongest = (HOUSE.max(axis=2) / 255.0) ** 1.5
    found = colour.intensity(image=image(HOUSE), gamma_correction=1.5, resolution=128)
    assert np.abs(found[0, ..., 0].numpy() - strongest).max() < 0.006


def test_inpainting_marks_what_is_masked_with_minus_one_or_black() -> None:
    shown, mask = image(HOUSE, FLIPPED), torch.zeros(1, 64, 96)
    mask[:, :32] = 1
    marked = colour.inpaint(image=shown, mask=mask)
    assert marked[:, :60].eq(-1).all()
    assert marked[:, 68:].equal(shown[:, 68:])
    assert colour.inpaint(image=shown, mask=mask[0], black_pixel_for_xinsir_cn=True)[:, :60].eq(0).all()
    with pytest.raises(NodeFailure, match="3 masks for 2 pictures"):
        colour.inpaint(image=shown, mask=mask.repeat(3, 1, 1))
