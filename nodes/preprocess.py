"""Hints for ControlNets, computed from pictures without learnt weights."""

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.node import node
from engine.ports import Range
from engine.problems import NodeFailure
from nodes.ports import Image

Threshold = Annotated[float, Range(0.01, 0.99, step=0.01)]
_LUMA = (0.299, 0.587, 0.114)
_STEPS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
"""(dy, dx) to the neighbour in each direction, in turns of 45 degrees from the right downwards."""


@node("Canny", category="image/preprocessors", version=2)
def canny(*, image: Image, low_threshold: Threshold = 0.4, high_threshold: Threshold = 0.8) -> Image:
    """Draw the edges of pictures in white on black (Canny 1986), as ControlNets for edges want them.

    Args:
        image: The pictures.
        low_threshold: Brightness gradient above which a pixel is an edge if it touches one; a sharp step
            from black to white has about 2.6.
        high_threshold: Gradient above which a pixel is an edge in any case.

    Raises:
        NodeFailure: The low threshold is above the high one.
    """
    if low_threshold > high_threshold:
        raise NodeFailure(
            f"low_threshold {low_threshold} is above high_threshold {high_threshold}", "exchange them"
        )
    edges = canny_edges(image.movedim(-1, 1), low_threshold, high_threshold)
    return edges.movedim(1, -1).repeat(1, 1, 1, 3)


def canny_edges(images: Tensor, low: float, high: float) -> Tensor:
    """Edges [B, 1, H, W] of pictures [B, C, H, W], 0 or 1, by kornia's conventions.

    Gaussian 5 x 5 of sigma 1, unnormalised Sobel gradient, and only its ridges; then what is above `high`,
    and what is above `low` and connected to that.
    """
    gradient = _gradient(_blurred(_grey(images.float())))
    across, down = gradient[:, :1], gradient[:, 1:]
    size = (across * across + down * down + 1e-6).sqrt()
    ridge = size * _is_ridge(size, gradient)
    return _connected(ridge > high, ridge > low).to(images.dtype)


def _grey(images: Tensor) -> Tensor:
    if images.shape[1] < 3:
        return images[:, :1]
    return _weighted([images[:, channel, None] for channel in range(3)], torch.tensor(_LUMA))


def _blurred(grey: Tensor) -> Tensor:
    bell = torch.exp(-(torch.arange(-2.0, 3.0) ** 2) / 2)
    for axis, padding in ((-1, (2, 2, 0, 0)), (-2, (0, 0, 2, 2))):
        length = grey.shape[axis]
        padded = F.pad(grey, padding, mode="reflect" if length > 2 else "replicate")
        grey = _weighted([padded.narrow(axis, tap, length) for tap in range(5)], bell / bell.sum())
    return grey


def _gradient(grey: Tensor) -> Tensor:
    """Sobel derivatives to the right and downwards [B, 2, H, W]; eight times the slope of a ramp."""
    height, width = grey.shape[-2:]
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    taps = [padded[..., y : y + height, x : x + width] for y in range(3) for x in range(3)]
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    return torch.cat([_weighted(taps, kernel.flatten()) for kernel in (across, across.t())], dim=1)


def _weighted(terms: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Their weighted sum, rounded to float32 after each term, as fused multiply-adds in this order do.

    Neighbours of equal gradients are common (edges of drawn shapes), and the last bits of the sums then say
    on which side the line is. This order gives the reference's lines, on any processor; others do not.
    """
    total = terms[0] * float(weights[0])
    for term, weight in zip(terms[1:], weights[1:].tolist(), strict=True):
        total = (total.double() + term.double() * weight).float()
    return total


def _is_ridge(size: Tensor, gradient: Tensor) -> Tensor:
    """Whether a pixel's gradient exceeds those of both neighbours along its direction.

    A tie goes to the left or upper pixel, as in OpenCV; a pixel without gradient is no ridge.
    """
    turns = torch.atan2(gradient[:, 1:], gradient[:, :1]) / (torch.pi / 4)
    ahead = turns.round().long() % 8
    behind = (ahead + 4) % 8
    height, width = size.shape[-2:]
    padded = F.pad(size, (1, 1, 1, 1))
    neighbours = torch.cat(
        [padded[..., 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] for dy, dx in _STEPS], dim=1
    )

    def exceeds(direction: Tensor) -> Tensor:
        neighbour = neighbours.gather(1, direction)
        may_tie = (direction == 0) | (direction == 2)
        return (size > neighbour) | (may_tie & (size == neighbour))

    return exceeds(ahead) & exceeds(behind) & (gradient != 0).any(dim=1, keepdim=True)


def _connected(strong: Tensor, weak: Tensor) -> Tensor:
    """The strong pixels and the weak ones that a chain of weak neighbours joins to them."""
    edges = strong.float()
    while True:
        grown = F.max_pool2d(edges, 3, stride=1, padding=1) * weak
        if torch.equal(grown, edges):
            return edges
        edges = grown
