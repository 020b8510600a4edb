"""Poses of people: keypoints in OpenPose's order, their JSON, and the picture that ControlNets follow."""

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from nodes.annotators.pictures import Pixels

Point: TypeAlias = tuple[float, float] | None  # x, y; None where nothing was seen
Points: TypeAlias = Sequence[Point]

BODY = 18
_EPSILON = 0.01
_LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
    (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
"""From neck to wrists, ankles, nose and ears; what 0 to 17 are, OpenPose's documentation draws."""
_COLOURS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0),
    (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255),
    (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85),
)  # fmt: skip
"""Once around the hues; of a limb, at 60 %, and of a joint, by index."""
_FINGERS = tuple(bone for tip in (4, 8, 12, 16, 20) for bone in pairwise((0, tip - 3, tip - 2, tip - 1, tip)))


@dataclass(frozen=True)
class Pose:
    """A person.

    Args:
        body: 18 points; none at all where the body is not wanted.
        left: 21 points of the left hand, or None.
        right: Likewise of the right hand.
        face: 70 points, or None.
    """

    body: Points
    left: Points | None = None
    right: Points | None = None
    face: Points | None = None

    def only(self, body: bool, hands: bool, face: bool) -> "Pose":
        """The parts that are wanted; a body that is not is one of which nothing was seen."""
        points = self.body if body else [None] * BODY
        left, right = (self.left, self.right) if hands else (None, None)
        return Pose(points, left, right, self.face if face else None)

    def scaled(self, width: float, height: float) -> "Pose":
        """The pose with its points multiplied."""

        def times(points: Points | None) -> Points | None:
            return points and [p and (p[0] * width, p[1] * height) for p in points]

        return Pose(times(self.body) or (), *map(times, (self.left, self.right, self.face)))


def as_json(poses: Sequence[Pose], height: int, width: int) -> dict[str, Any]:
    """The poses of one picture as OpenPose writes them: x, y and 1 for a point, or three zeros."""
    return {
        "people": [
            {
                "pose_keypoints_2d": _numbers(pose.body),
                "face_keypoints_2d": _numbers(pose.face),
                "hand_left_keypoints_2d": _numbers(pose.left),
                "hand_right_keypoints_2d": _numbers(pose.right),
            }
            for pose in poses
        ],
        "canvas_height": height,
        "canvas_width": width,
    }


def from_json(frame: dict[str, Any]) -> tuple[list[Pose], int, int]:
    """The poses, in pixels, the height and the width that `as_json` wrote; points may be shares of them."""
    height, width = frame["canvas_height"], frame["canvas_width"]

    def points(numbers: Sequence[float] | None) -> Points | None:
        if not numbers:
            return None
        triples = [numbers[i : i + 3] for i in range(0, len(numbers), 3)]
        seen = [(x, y) if sure >= 1 else None for x, y, sure in triples]
        shares = all(0 <= p[0] <= 1 and 0 <= p[1] <= 1 for p in seen if p)
        return [p and (p[0] * width, p[1] * height) for p in seen] if shares else seen

    poses = [
        Pose(
            points(person.get("pose_keypoints_2d")) or [None] * BODY,
            points(person.get("hand_left_keypoints_2d")),
            points(person.get("hand_right_keypoints_2d")),
            points(person.get("face_keypoints_2d")),
        )
        for person in frame.get("people", [])
    ]
    return poses, height, width


def drawn_poses(poses: Sequence[Pose], height: int, width: int, broad: bool = False) -> Pixels:
    """Poses in pixels on black [height, width, 3]; parts that a pose does not have are not drawn.

    Args:
        broad: Whether limbs grow broader with the picture, as xinsir's ControlNets want them.
    """
    canvas = np.zeros((height, width, 3), np.uint8)
    side = max(height, width)
    breadth = 4 * min(2 + side // 1000, 7) if broad and side >= 500 else 4
    for pose in poses:
        _draw_body(canvas, pose.body, breadth)
        for hand in (pose.left, pose.right):
            _draw_hand(canvas, hand or ())
        _draw_dots(canvas, pose.face or (), 3, (255, 255, 255))
    return canvas


def _numbers(points: Points | None) -> list[float] | None:
    if not points:
        return None
    return [n for p in points for n in ((float(p[0]), float(p[1]), 1.0) if p else (0.0, 0.0, 0.0))]


def _draw_body(canvas: Pixels, points: Points, breadth: int) -> None:
    import cv2

    for (start, end), colour in zip(_LIMBS, _COLOURS, strict=False):
        a, b = (points[start], points[end]) if points else (None, None)
        if a and b:
            length = ((a[1] - b[1]) ** 2 + (a[0] - b[0]) ** 2) ** 0.5
            angle = math.degrees(math.atan2(a[1] - b[1], a[0] - b[0]))
            middle = int(np.mean([a[0], b[0]])), int(np.mean([a[1], b[1]]))
            limb = cv2.ellipse2Poly(middle, (int(length / 2), breadth), int(angle), 0, 360, 1)
            cv2.fillConvexPoly(canvas, np.asarray(limb), [int(part * 0.6) for part in colour])
    for point, colour in zip(points, _COLOURS, strict=False):
        if point:
            cv2.circle(canvas, (int(point[0]), int(point[1])), 4, colour, thickness=-1)


def _draw_hand(canvas: Pixels, points: Points) -> None:
    import cv2

    for i, (start, end) in enumerate(_FINGERS if points else ()):
        a, b = points[start], points[end]
        if a and b and min(int(n) for n in (*a, *b)) > _EPSILON:
            colour = [part * 255 for part in colorsys.hsv_to_rgb(i / len(_FINGERS), 1.0, 1.0)]
            cv2.line(canvas, (int(a[0]), int(a[1])), (int(b[0]), int(b[1])), colour, thickness=2)
    _draw_dots(canvas, points, 4, (0, 0, 255))


def _draw_dots(canvas: Pixels, points: Points, radius: int, colour: tuple[int, int, int]) -> None:
    import cv2

    for point in points:
        if point and min(int(point[0]), int(point[1])) > _EPSILON:
            cv2.circle(canvas, (int(point[0]), int(point[1])), radius, colour, thickness=-1)
