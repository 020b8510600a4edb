"""Making, scaling, combining and composing latents."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nodes.latent import (
    empty_latent_image,
    empty_sd3_latent_image,
    latent_add,
    latent_blend,
    latent_composite,
    latent_composite_masked,
    latent_interpolate,
    latent_multiply,
    latent_slerp,
    latent_subtract,
    latent_upscale,
    latent_upscale_by,
    set_latent_noise_mask,
)
from nodes.ports import Latent


def noise(*shape: int, seed: int = 0) -> Latent:
    return Latent(torch.randn(shape, generator=torch.Generator().manual_seed(seed)))


def test_an_empty_latent_has_a_cell_for_eight_pixels() -> None:
    latent = empty_latent_image(width=520, height=264, batch_size=2)
    assert latent.samples.shape == (2, 4, 33, 65)
    assert not latent.samples.any()
    assert empty_sd3_latent_image(width=64, height=32).samples.shape == (1, 16, 4, 8)


def test_a_noise_mask_gets_a_channel_and_keeps_its_size() -> None:
    latent = Latent(torch.zeros(2, 4, 8, 8), batch_index=(3, 4))
    masked = set_latent_noise_mask(samples=latent, mask=torch.ones(1, 64, 48))
    assert masked.noise_mask is not None
    assert masked.noise_mask.shape == (1, 1, 64, 48)
    assert masked.batch_index == (3, 4)


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [(128, 64, (8, 16)), (0, 0, (16, 32)), (0, 256, (32, 64)), (128, 0, (8, 16)), (8, 8, (8, 8))],
)
def test_latents_are_scaled_to_a_size_in_pixels(width: int, height: int, expected: tuple[int, int]) -> None:
    scaled = latent_upscale(
        samples=noise(1, 4, 16, 32), upscale_method="bilinear", width=width, height=height, crop="disabled"
    )
    assert scaled.samples.shape == (1, 4, *expected)


def test_latents_are_scaled_by_a_factor() -> None:
    scaled = latent_upscale_by(samples=noise(2, 4, 5, 6), upscale_method="bislerp", scale_by=1.5)
    assert scaled.samples.shape == (2, 4, 8, 9)


def test_blending_takes_the_given_share_of_the_first() -> None:
    first, second = noise(1, 4, 4, 4), noise(1, 4, 8, 8, seed=1)
    assert latent_blend(samples1=first, samples2=second, blend_factor=1.0).samples.equal(first.samples)
    ones, zeros = Latent(torch.ones(1, 4, 4, 4)), Latent(torch.zeros(1, 4, 4, 4))
    assert latent_blend(
        samples1=ones, samples2=zeros, blend_factor=0.3
    ).samples.mean().item() == pytest.approx(0.3)


def test_interpolating_interpolates_the_lengths() -> None:
    first, second = noise(1, 4, 3, 3), noise(1, 4, 3, 3, seed=1)
    mixed = latent_interpolate(samples1=first, samples2=second, ratio=0.25).samples
    lengths = 0.25 * first.samples.norm(dim=1) + 0.75 * second.samples.norm(dim=1)
    torch.testing.assert_close(mixed.norm(dim=1), lengths)
    torch.testing.assert_close(
        latent_interpolate(samples1=first, samples2=second, ratio=1.0).samples, first.samples
    )


@given(ratio=st.floats(0, 1))
def test_between_two_noises_there_is_noise_of_the_same_variance(ratio: float) -> None:
    first, second = noise(1, 4, 32, 32), noise(1, 4, 32, 32, seed=1)
    between = latent_slerp(samples1=first, samples2=second, ratio=ratio).samples
    assert between.std().item() == pytest.approx(1.0, abs=0.02)


def test_the_way_on_the_sphere_goes_from_the_first_to_the_second() -> None:
    first, second = noise(2, 4, 4, 4), noise(1, 4, 4, 4, seed=1)
    torch.testing.assert_close(
        latent_slerp(samples1=first, samples2=second, ratio=0.0).samples, first.samples
    )
    end = latent_slerp(samples1=first, samples2=second, ratio=1.0).samples
    torch.testing.assert_close(end, second.samples.expand(2, -1, -1, -1))


def test_subtracting_undoes_adding() -> None:
    first, second = noise(2, 4, 4, 4), noise(1, 4, 4, 4, seed=1)
    total = latent_add(samples1=first, samples2=second)
    torch.testing.assert_close(latent_subtract(samples1=total, samples2=second).samples, first.samples)
    assert latent_multiply(samples=first, multiplier=-2.0).samples.equal(first.samples * -2)


def test_a_latent_is_laid_over_another_at_a_place_in_pixels() -> None:
    below, above = Latent(torch.zeros(1, 1, 4, 4)), Latent(torch.ones(1, 1, 3, 3))
    laid = latent_composite(samples_to=below, samples_from=above, x=16, y=8)
    assert laid.samples[0, 0].tolist() == [[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert not latent_composite(samples_to=below, samples_from=above, x=80, y=0).samples.any()
    assert not below.samples.any()


def test_feathering_fades_only_edges_that_lie_inside() -> None:
    below, above = Latent(torch.zeros(1, 1, 6, 6)), Latent(torch.ones(1, 1, 4, 4))
    laid = latent_composite(samples_to=below, samples_from=above, x=16, y=0, feather=16)
    assert laid.samples[0, 0, 0].tolist() == [0, 0, 0.5, 1, 1, 1]
    assert laid.samples[0, 0, :, 5].tolist() == [1, 1, 1, 0.5, 0, 0]


def test_a_mask_of_any_size_says_how_opaque_the_source_is() -> None:
    below, above = Latent(torch.zeros(2, 4, 4, 4), batch_index=(5, 6)), Latent(torch.ones(1, 4, 2, 2))
    laid = latent_composite_masked(
        destination=below, source=above, resize_source=True, mask=torch.full((1, 64, 64), 0.75)
    )
    torch.testing.assert_close(laid.samples, torch.full((2, 4, 4, 4), 0.75))
    assert laid.batch_index == (5, 6)
