"""Edges: known pictures, and agreement with OpenCV."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.problems import NodeFailure
from nodes.preprocess import canny, canny_edges


def smooth(seed: int, height: int = 96, width: int = 80) -> Tensor:
    coarse = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)


def test_a_step_gives_a_line_of_one_pixel_on_its_dark_left_side() -> None:
    image = torch.zeros(1, 16, 16, 3)
    image[:, :, 8:] = 1
    edges = canny(image=image)
    assert edges.shape == (1, 16, 16, 3)
    assert edges[0, :, 7].eq(1).all()
    assert edges.sum() == 16 * 3


def test_nothing_is_drawn_where_nothing_changes() -> None:
    assert not canny(image=torch.full((2, 9, 7, 3), 0.5), low_threshold=0.01, high_threshold=0.01).any()


def test_weak_edges_are_drawn_only_where_they_touch_strong_ones() -> None:
    ramp = torch.linspace(0.05, 0.3, 64)[:, None, None]
    image = torch.zeros(1, 64, 32, 3)
    image[0, :, 16:] = ramp
    drawn = canny(image=image, low_threshold=0.2, high_threshold=0.7)[0, :, :, 0].amax(dim=1)
    assert drawn[:4].eq(0).all()
    assert drawn[16:].eq(1).all()
    assert not canny(image=image, low_threshold=0.2, high_threshold=0.99).any()


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (3, 200)])
def test_pictures_of_any_size_and_channels_are_taken(size: tuple[int, int]) -> None:
    for channels in (1, 3, 4):
        assert canny(image=torch.rand(2, *size, channels)).shape == (2, *size, 3)


def test_thresholds_in_the_wrong_order_are_a_failure() -> None:
    with pytest.raises(NodeFailure, match="above"):
        canny(image=torch.zeros(1, 8, 8, 3), low_threshold=0.8, high_threshold=0.4)


@pytest.mark.parametrize("seed", range(3))
def test_edges_agree_with_opencv(seed: int) -> None:
    image = smooth(seed)
    found = canny_edges(image, 0.1, 0.3)[0, 0].bool().numpy()
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    blurred = cv2.GaussianBlur((image[0] * weights).sum(0).numpy(), (5, 5), 1)
    scale = 4000  # OpenCV takes whole numbers
    across, down = (
        (cv2.Sobel(blurred, cv2.CV_32F, *axis, borderType=cv2.BORDER_REPLICATE) * scale)
        .round()
        .astype(np.int16)
        for axis in ((1, 0), (0, 1))
    )
    expected = cv2.Canny(across, down, 0.1 * scale, 0.3 * scale, L2gradient=True) > 0
    assert expected.sum() > 300
    assert (found != expected).sum() <= 0.01 * expected.sum()


def test_edges_equal_kornias() -> None:
    filters = pytest.importorskip("kornia.filters")
    image = smooth(7)
    _, expected = filters.canny(image, 0.1, 0.3)
    assert canny_edges(image, 0.1, 0.3).eq(expected).float().mean() > 0.999
