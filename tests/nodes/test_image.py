"""Making, scaling, batching, composing and padding pictures."""

import pytest
import torch

from nodes.image import (
    empty_image,
    get_image_size,
    image_batch,
    image_composite_masked,
    image_from_batch,
    image_invert,
    image_pad_for_outpaint,
    image_scale,
    image_scale_by,
    image_scale_to_total_pixels,
    rebatch_images,
    repeat_image_batch,
)


def test_inverting_twice_gives_the_picture_back() -> None:
    image = torch.rand(1, 4, 5, 3)
    torch.testing.assert_close(image_invert(image=image_invert(image=image)), image)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((10, 6), (6, 10)), ((0, 6), (6, 12)), ((10, 0), (5, 10)), ((0, 0), (4, 8)), ((0, 1), (1, 2))],
)
def test_a_side_of_zero_keeps_the_aspect_ratio(size: tuple[int, int], expected: tuple[int, int]) -> None:
    scaled = image_scale(
        image=torch.rand(1, 4, 8, 3),
        upscale_method="bilinear",
        width=size[0],
        height=size[1],
        crop="disabled",
    )
    assert scaled.shape == (1, *expected, 3)


def test_scaling_by_a_factor_rounds_the_sides() -> None:
    assert image_scale_by(image=torch.rand(1, 5, 7, 3), upscale_method="area", scale_by=0.5).shape == (
        1,
        2,
        4,
        3,
    )


def test_scaling_to_a_number_of_pixels_keeps_the_aspect_ratio() -> None:
    scaled = image_scale_to_total_pixels(
        image=torch.rand(1, 20, 40, 3), upscale_method="nearest-exact", megapixels=0.01
    )
    assert scaled.shape == (1, 72, 145, 3)


def test_a_batch_takes_the_size_and_the_most_channels_of_its_parts() -> None:
    batch = image_batch(image1=torch.zeros(2, 4, 6, 3), image2=torch.zeros(1, 8, 8, 4))
    assert batch.shape == (3, 4, 6, 4)
    assert batch[:2, ..., 3].eq(1).all()


def test_a_color_is_read_as_red_green_blue() -> None:
    image = empty_image(width=2, height=1, batch_size=3, color=0xFF8000)
    assert image.shape == (3, 1, 2, 3)
    torch.testing.assert_close(image[0, 0, 0], torch.tensor([1.0, 128 / 255, 0.0]))


def test_a_source_beyond_the_edge_is_cut() -> None:
    pasted = image_composite_masked(
        destination=torch.zeros(1, 4, 4, 3), source=torch.ones(1, 3, 3, 3), x=2, y=3
    )
    assert pasted[0, ..., 0].tolist() == [[0, 0, 0, 0]] * 3 + [[0, 0, 1, 1]]
    outside = image_composite_masked(
        destination=torch.zeros(1, 4, 4, 3), source=torch.ones(1, 3, 3, 3), x=9, y=0
    )
    assert not outside.any()


def test_a_mask_says_how_opaque_the_source_is() -> None:
    mask = torch.full((1, 4, 4), 0.25)
    pasted = image_composite_masked(
        destination=torch.zeros(2, 4, 4, 3), source=torch.ones(1, 2, 2, 3), resize_source=True, mask=mask
    )
    torch.testing.assert_close(pasted, torch.full((2, 4, 4, 3), 0.25))


def test_the_destination_sets_the_channels() -> None:
    rgb, rgba = torch.rand(1, 2, 2, 3), torch.rand(1, 2, 2, 4)
    assert image_composite_masked(destination=rgb, source=rgba).equal(rgba[..., :3])
    assert image_composite_masked(destination=rgba, source=rgb)[..., 3].eq(1).all()


def test_compositing_leaves_the_destination_alone() -> None:
    destination = torch.zeros(1, 4, 4, 3)
    image_composite_masked(destination=destination, source=torch.ones(1, 4, 4, 3))
    assert not destination.any()


def test_padding_is_grey_and_masked() -> None:
    image, mask = image_pad_for_outpaint(
        image=torch.zeros(1, 16, 16, 3), left=8, top=0, right=0, bottom=16, feathering=0
    )
    assert image.shape == (1, 32, 24, 3)
    assert image[:, :, :8].eq(0.5).all()
    assert image[:, :16, 8:].eq(0).all()
    assert mask.shape == (1, 32, 24)
    assert mask.sum() == 32 * 24 - 16 * 16


def test_feathering_falls_from_the_padded_edges_only() -> None:
    _, mask = image_pad_for_outpaint(image=torch.zeros(1, 16, 16, 3), left=8, feathering=4)
    assert mask[0, 5, 8:13].tolist() == [1.0, 0.75**2, 0.5**2, 0.25**2, 0.0]
    assert mask[0, 0, 12:].eq(0).all()


def test_items_are_taken_within_the_batch() -> None:
    image = torch.arange(3.0).view(3, 1, 1, 1)
    assert image_from_batch(image=image, batch_index=1, length=5).flatten().tolist() == [1, 2]
    assert image_from_batch(image=image, batch_index=9, length=1).flatten().tolist() == [2]
    assert repeat_image_batch(image=image, amount=2).flatten().tolist() == [0, 1, 2, 0, 1, 2]


def test_regrouping_goes_across_batches_but_not_across_sizes() -> None:
    small, large = torch.rand(3, 2, 2, 3), torch.rand(2, 4, 4, 3)
    batches = rebatch_images(images=[small, small, large], batch_size=[4])
    assert [tuple(b.shape[:2]) for b in batches] == [(4, 2), (2, 2), (2, 4)]
    torch.testing.assert_close(torch.cat(batches[:2]), torch.cat((small, small)))


def test_the_size_is_told_as_width_height_and_count() -> None:
    assert get_image_size(image=torch.zeros(2, 3, 5, 3)) == (5, 3, 2)
