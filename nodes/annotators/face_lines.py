"""Drawings of faces from MediaPipe's landmarks, in the lines and colours of controlnet_aux."""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from nodes.annotators.facemesh import LEFT_EYE, LIPS, RIGHT_EYE, Floats
from nodes.annotators.pictures import Pixels

_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176,
    149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109, 10,
)  # fmt: skip
_BROWS = (276, 283, 282, 295, 285), (300, 293, 334, 296, 336), (46, 53, 52, 65, 55), (70, 63, 105, 66, 107)


def _rim(points: tuple[int, ...], below: int) -> tuple[tuple[int, ...], ...]:
    """The two lines between the corners of an eye or lips: points of the lower, then the upper's others."""
    lower = points[:below]
    return lower, (lower[0], *points[below : 2 * below - 2], lower[-1])


_LINES = (
    ((10, 200, 10), (_OVAL,)),
    ((180, 200, 10), _rim(LEFT_EYE, 9)),
    ((180, 220, 10), _BROWS[:2]),
    ((10, 200, 180), _rim(RIGHT_EYE, 9)),
    ((10, 220, 180), _BROWS[2:]),
    ((10, 180, 10), (*_rim(LIPS, 11), *_rim(LIPS[20:], 11))),
)
"""controlnet_aux's colours (blue first; it turns them at the end) and the lines of each, in its order."""
_PUPILS = ((468, (10, 200, 250)), (473, (250, 200, 10)))
_THICK, _SMALLEST = 2, 64
"""Pixels: of lines, and of the shorter side of a face that is drawn."""


def drawn_faces(faces: Iterable[Floats], height: int, width: int) -> Pixels:
    """Lines along ovals, eyes, brows and lips and squares for pupils, on black, as controlnet_aux draws them.

    Faces whose shorter side is below 64 pixels are left out.

    Args:
        faces: Landmarks of each [478, 3], as `FaceMesh.faces` gives them.
    """
    import cv2

    canvas = np.zeros((height, width, 3), np.uint8)
    size = np.array([width, height])
    for face in faces:
        shares = face[:, :2].astype(np.float64)
        if (np.ptp(shares, axis=0) * size).min() < _SMALLEST:
            continue
        inside = ((shares >= 0) & (shares <= 1 + 1e-9)).all(axis=1)
        at = np.clip(np.floor(shares * size), 0, size - 1).astype(int)
        for colour, lines in _LINES:
            for start, end in (edge for line in lines for edge in pairwise(line)):
                if inside[start] and inside[end]:
                    cv2.line(canvas, at[start].tolist(), at[end].tolist(), colour, _THICK)
        for pupil, colour in _PUPILS:
            if (shares[pupil] >= 0).all() and (shares[pupil] < 1).all():
                x, y = at[pupil]
                canvas[y - 2 : y + 2, x - 2 : x + 2] = colour
    return np.ascontiguousarray(canvas[:, :, ::-1])
