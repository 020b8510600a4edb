"""Resizing: sizes, known values, and what each method leaves alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nodes.diffusion.resize import repeated_to, resized, resized_mask, slerp

METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "lanczos", "bislerp")
SIDES = st.integers(1, 17)


@given(
    method=st.sampled_from(METHODS),
    crop=st.sampled_from(("disabled", "center")),
    old=st.tuples(SIDES, SIDES),
    new=st.tuples(SIDES, SIDES),
)
def test_the_result_has_the_wanted_size(
    method: str, crop: str, old: tuple[int, int], new: tuple[int, int]
) -> None:
    samples = torch.rand(2, 3, *old)
    assert resized(samples, new[1], new[0], method, crop).shape == (2, 3, *new)


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_stays_constant(method: str) -> None:
    scaled = resized(torch.full((1, 4, 6, 9), 0.6), 13, 4, method)
    torch.testing.assert_close(scaled, torch.full((1, 4, 4, 13), 0.6), atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", ["nearest-exact", "bilinear", "area", "bicubic", "bislerp"])
def test_the_same_size_changes_nothing(method: str) -> None:
    samples = torch.randn(1, 4, 5, 7)
    torch.testing.assert_close(resized(samples, 7, 5, method), samples)


def test_area_averages() -> None:
    samples = torch.arange(16.0).view(1, 1, 4, 4)
    assert resized(samples, 2, 2, "area").flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


def test_lanczos_rounds_to_8_bits() -> None:
    scaled = resized(torch.rand(1, 3, 8, 8), 5, 5, "lanczos") * 255
    torch.testing.assert_close(scaled, scaled.round(), atol=1e-4, rtol=0)


def test_lanczos_takes_any_number_of_channels() -> None:
    assert [resized(torch.rand(1, c, 8, 8), 4, 4, "lanczos").shape[1] for c in (1, 2, 3, 4, 5)] == [
        1,
        2,
        3,
        4,
        5,
    ]


@pytest.mark.parametrize(("size", "kept"), [((4, 4), slice(2, 6)), ((8, 4), slice(0, 8))])
def test_center_cuts_to_the_aspect_ratio(size: tuple[int, int], kept: slice) -> None:
    samples = torch.arange(8.0).expand(1, 1, 4, 8)
    torch.testing.assert_close(resized(samples, *size, "bilinear", "center"), samples[..., kept])


def test_bislerp_keeps_the_length_between_vectors_of_one_length() -> None:
    samples = torch.tensor([[3.0, 0.0], [0.0, 3.0]]).T.reshape(1, 2, 1, 2)
    lengths = resized(samples, 9, 1, "bislerp").norm(dim=1)
    torch.testing.assert_close(lengths, torch.full((1, 1, 9), 3.0))


def test_slerp_turns_evenly() -> None:
    start, end = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])
    angles = [torch.atan2(*slerp(start, end, r, dim=0).flip(0)).item() for r in (0.0, 0.25, 0.5, 1.0)]
    assert angles == pytest.approx([0.0, torch.pi / 8, torch.pi / 4, torch.pi / 2], abs=1e-6)
    assert slerp(start, end, 0.5, dim=0).norm().item() == pytest.approx(1.5)


@pytest.mark.parametrize(("end", "middle"), [([2.0, 0.0], [1.0, 0.0]), ([-1.0, 0.0], [0.0, 0.0])])
def test_slerp_of_parallel_vectors_is_defined(end: list[float], middle: list[float]) -> None:
    assert slerp(torch.tensor([1.0, 0.0]), torch.tensor(end), 0.5, dim=0).tolist() == middle


def test_a_batch_is_repeated_or_cut_to_a_count() -> None:
    batch = torch.arange(3.0)
    assert repeated_to(batch, 5).tolist() == [0, 1, 2, 0, 1]
    assert repeated_to(batch, 2).tolist() == [0, 1]


@pytest.mark.parametrize("shape", [(4, 6), (2, 4, 6), (2, 1, 4, 6)])
def test_a_mask_of_any_form_becomes_one_channel(shape: tuple[int, ...]) -> None:
    assert resized_mask(torch.rand(shape), 3, 2).shape[-3:] == (1, 2, 3)
