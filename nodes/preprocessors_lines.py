"""Lines and strokes for ControlNets, drawn from pictures without learnt weights."""

from typing import Annotated, Any

import numpy as np

from engine.node import node
from engine.ports import Omittable, Range
from nodes.annotators.pictures import Pixels, at_resolution, drawn
from nodes.annotators.ports import LINES, Resolution
from nodes.ports import Image

Byte = Annotated[int, Range(0, 255, step=1), Omittable()]
Width = Annotated[float, Range(0.0, 100.0, step=0.01), Omittable()]
Darkness = Annotated[int, Range(0, 16, step=1), Omittable()]
Contrast = Annotated[int, Range(1, 64, step=1), Omittable()]


@node("CannyEdgePreprocessor", category=LINES, title="Canny Edge")
def canny_edges(
    *, image: Image, low_threshold: Byte = 100, high_threshold: Byte = 200, resolution: Resolution = 512
) -> Image:
    """Draw edges in white on black (Canny 1986, as OpenCV computes them).

    Args:
        image: The pictures.
        low_threshold: Gradient from which a pixel is an edge if it touches one.
        high_threshold: Gradient from which a pixel is an edge in any case.
        resolution: The result's shorter side, in pixels.
    """
    import cv2

    return drawn(image, at_resolution(resolution, lambda p: cv2.Canny(p, low_threshold, high_threshold)))


@node("PyraCannyPreprocessor", category=LINES, title="PyraCanny")
def pyramid_canny(
    *, image: Image, low_threshold: Byte = 64, high_threshold: Byte = 128, resolution: Resolution = 512
) -> Image:
    """Draw the edges of each colour at nine sizes of the picture over each other, coarse ones fainter.

    Args:
        image: The pictures.
        low_threshold: Gradient from which a pixel is an edge if it touches one.
        high_threshold: Gradient from which a pixel is an edge in any case.
        resolution: The result's shorter side, in pixels.
    """
    return drawn(image, at_resolution(resolution, lambda p: _pyramid(p, low_threshold, high_threshold)))


@node("BinaryPreprocessor", category=LINES, title="Binary Lines")
def binary(*, image: Image, bin_threshold: Byte = 100, resolution: Resolution = 512) -> Image:
    """Make pictures black and white.

    Args:
        image: The pictures.
        bin_threshold: Grey value above which a pixel is white; 0 and 255 find it in each picture (Otsu 1979).
        resolution: The result's shorter side, in pixels.
    """
    import cv2

    how = cv2.THRESH_BINARY | (cv2.THRESH_OTSU if bin_threshold in (0, 255) else 0)

    def draw(picture: Pixels) -> Pixels:
        return cv2.threshold(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), bin_threshold, 255, how)[1]

    return drawn(image, at_resolution(resolution, draw))


@node("ScribblePreprocessor", category=LINES, title="Scribble Lines")
def scribble(*, image: Image, resolution: Resolution = 512) -> Image:
    """Turn a drawing on paper into pure black and white: what is dark in any colour is black.

    Args:
        image: The drawings.
        resolution: The result's shorter side, in pixels.
    """

    def draw(picture: Pixels) -> Pixels:
        return np.where(picture.min(axis=2) < 127, 0, 255).astype(np.uint8)

    return drawn(image, at_resolution(resolution, draw, enlarge="INTER_AREA"))


@node("Scribble_XDoG_Preprocessor", category=LINES, title="Scribble XDoG Lines")
def scribble_xdog(*, image: Image, threshold: Contrast = 32, resolution: Resolution = 512) -> Image:
    """Draw strokes in white where a pixel is darker than its surroundings (difference of Gaussians).

    Args:
        image: The pictures.
        threshold: Twice the difference from which there is a stroke.
        resolution: The result's shorter side, in pixels.
    """

    def draw(picture: Pixels) -> Pixels:
        near, far = (_blurred(picture, sigma) for sigma in (0.5, 5.0))
        paper = (255 - (far - near).min(axis=2)).clip(0, 255).astype(np.uint8)
        doubled = (255 - paper) * np.uint8(2)  # beyond 255 it begins at 0 again, as in the ecosystem
        return np.where(doubled > threshold, 255, 0).astype(np.uint8)

    return drawn(image, at_resolution(resolution, draw))


@node("LineartStandardPreprocessor", category=LINES, title="Standard Lineart")
def lineart_standard(
    *,
    image: Image,
    guassian_sigma: Width = 6.0,
    intensity_threshold: Darkness = 8,
    resolution: Resolution = 512,
) -> Image:
    """Draw what is darker than its blurred surroundings, in shades of grey on black.

    Args:
        image: The pictures.
        guassian_sigma: Breadth of the blur, in pixels of the result.
        intensity_threshold: Difference below which a pixel does not count for the overall brightness.
        resolution: The result's shorter side, in pixels.
    """
    draw = lambda picture: standard_lines(picture, guassian_sigma, intensity_threshold)  # noqa: E731
    return drawn(image, at_resolution(resolution, draw))


def standard_lines(picture: Pixels, sigma: float, threshold: int) -> Pixels:
    """Dark lines in white on black [H, W], their median shade, above a threshold, at half brightness."""
    darker: Pixels = (_blurred(picture, sigma) - picture.astype(np.float32)).min(axis=2).clip(0, 255)
    lines = darker[darker > threshold]
    darker /= max(16, np.median(lines) if lines.size else 0)
    return (darker * 127).clip(0, 255).astype(np.uint8)


def _blurred(picture: Pixels, sigma: float) -> Pixels:
    import cv2

    return cv2.GaussianBlur(picture.astype(np.float32), (0, 0), sigma) if sigma > 0 else picture


def _pyramid(picture: Pixels, low: int, high: int) -> Pixels:
    """Edges [H, W]: at each of nine growing sizes a quarter of its own, three quarters of those before."""
    import cv2

    height, width = picture.shape[:2]
    edges: Any = None
    for share in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        size = int(width * share), int(height * share)
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        channels = [cv2.Canny(np.ascontiguousarray(small[..., i]), low, high) for i in range(3)]
        new = np.stack(channels, axis=2).astype(np.float32) / 255.0
        if edges is None:
            edges = new
        else:
            edges = cv2.resize(edges, size, interpolation=cv2.INTER_LINEAR) * 0.75 + new * 0.25
    total: Pixels = edges.sum(axis=2)
    dark, bright = np.percentile(total, 1), np.percentile(total, 99)
    total = (total - dark) / max(bright - dark, 1e-6) * 255.0
    return total.clip(0, 255).astype(np.uint8)
