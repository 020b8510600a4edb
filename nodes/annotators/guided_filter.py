"""The guided filter (He et al. 2013), by a smaller copy of the picture (He and Sun 2015)."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from nodes.annotators.pictures import Pixels

Array: TypeAlias = npt.NDArray[Any]


def guided(picture: Pixels, radius: int, variance: float, shrink: float = 1.0) -> Pixels:
    """A picture [H, W, 3] of bytes, smoothed where its variance is small, guided by itself.

    Around each pixel the filter fits a linear map of the colours, (10) to (12) of the paper.

    Args:
        radius: Of the square it looks at, in pixels.
        variance: Of brightness in 0..1, up to which it smooths.
        shrink: How many times smaller a copy the maps are found in.
    """
    import cv2

    colours = (1.0 / 255.0) * picture.astype(np.float32)
    height, width = picture.shape[:2]
    size = int(width / shrink), int(height / shrink)
    small: Array = cv2.resize(colours, size, interpolation=cv2.INTER_NEAREST)
    side = 2 * int(radius / shrink) + 1

    def mean(values: Array) -> Array:
        return cv2.blur(values, (side, side))

    middle = mean(small)
    products = np.stack([mean(small * small[..., i : i + 1]) for i in range(3)], axis=3)
    covariance = products - middle[..., :, None] * middle[..., None, :]
    softened = covariance + np.eye(3, dtype=np.float32) * np.float32(variance)
    slopes = np.linalg.solve(softened, covariance)  # [h, w, of what, to what]
    offsets = middle - np.einsum("hwi,hwij->hwj", middle, slopes)
    result = np.empty_like(colours)
    for channel in range(3):
        parts = np.concatenate((slopes[..., channel], offsets[..., channel : channel + 1]), axis=2)
        enlarged: Array = cv2.resize(mean(parts.astype(np.float32)), (width, height))
        result[..., channel] = (enlarged[..., :3] * colours).sum(axis=2) + enlarged[..., 3]
    return (255.0 * result).clip(0, 255).astype(np.uint8)
