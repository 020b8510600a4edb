"""MediaPipe's face mesh: faces by BlazeFace (Bazarevsky et al. 2019) and 478 landmarks of each.

The landmarks are those of Kartynnik et al. 2019, refined at the lips and eyes by Attention Mesh (Grishchenko
et al. 2020). All follows the graph `face_landmark_front_cpu` of mediapipe 0.10.21, in float32 as there.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from engine.files import Files
from engine.problems import NodeFailure
from nodes.annotators import tflite
from nodes.annotators.pictures import Pixels
from nodes.annotators.weights import Annotator, UnfitWeights, WeightFile, folders

Floats: TypeAlias = npt.NDArray[np.float32]

_PACKAGE = "mediapipe"
_SOURCE = "https://storage.googleapis.com/mediapipe-assets/tasks/testdata/vision"
_CARRIER = "pip install --no-deps mediapipe==0.10.21"
_FILES = {
    "face_detection_short_range.tflite": "face_detection",
    "face_landmark_with_attention.tflite": "face_landmark",
}
"""Each network and its folder among the package's modules."""
_SHAPES = (
    ((1, 128, 128, 3), (1, 896, 16), (1, 896, 1)),
    ((1, 192, 192, 3), *((1, 1, 1, n) for n in (1404, 160, 142, 142, 10, 10, 1))),
)
"""Of the finder of faces and of the mesh: what each sees, then its answers."""
_SAME_FACE, _SAME_PLACE, _MARGIN, _PRESENT = 0.3, 0.5, np.float32(1.5), 0.5
"""Overlap over which boxes are of one face, and two places are one; the side of a place by its box's; the
chance over which a face is there."""
_FAR = 1e3
"""In sides of what a network sees: farther off, or not finite, its answers are no places."""

LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409, 78, 95, 88,
    178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415, 76, 77, 90, 180, 85,
    16, 315, 404, 320, 307, 306, 184, 74, 73, 72, 11, 302, 303, 304, 408, 62, 96, 89, 179, 86, 15, 316,
    403, 319, 325, 292, 183, 42, 41, 38, 12, 268, 271, 272, 407,
)  # fmt: skip
RIGHT_EYE = (
    33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173, 130, 25, 110, 24, 23, 22,
    26, 112, 243, 247, 30, 29, 27, 28, 56, 190, 226, 31, 228, 229, 230, 231, 232, 233, 244, 113, 225, 224,
    223, 222, 221, 189, 35, 124, 46, 53, 52, 65, 143, 111, 117, 118, 119, 120, 121, 128, 245, 156, 70, 63,
    105, 66, 107, 55, 193,
)  # fmt: skip
LEFT_EYE = (
    263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398, 359, 255, 339, 254,
    253, 252, 256, 341, 463, 467, 260, 259, 257, 258, 286, 414, 446, 261, 448, 449, 450, 451, 452, 453,
    464, 342, 445, 444, 443, 442, 441, 413, 265, 353, 276, 283, 282, 295, 372, 340, 346, 347, 348, 349,
    350, 357, 465, 383, 300, 293, 334, 296, 336, 285, 417,
)  # fmt: skip
_REFINED = (LIPS, RIGHT_EYE, LEFT_EYE, tuple(range(468, 473)), tuple(range(473, 478)))
"""The landmarks, in their order in each answer, that the answers after the first give more exactly. Right and
left are the person's own."""
_RIM = 16
"""The landmarks of an eye that are its rim come first."""


class Place(NamedTuple):
    """Where a face is: a turned square of pixels, in shares of the picture's width and height.

    Args:
        centre: [2].
        size: [2].
        angle: In radians, clockwise.
    """

    centre: Floats
    size: Floats
    angle: np.float32


@dataclass(frozen=True)
class FaceMesh:
    """The networks: one finds faces, the other the landmarks of a face."""

    finder: tflite.Network
    mesh: tflite.Network

    def faces(self, picture: Pixels, most: int, sure: float) -> list[Floats]:
        """The landmarks of faces [478, 3]: shares of the width and height, and depth in shares of the width.

        Args:
            picture: [H, W, 3], red first.
            most: Of the faces that are looked at, the surest first.
            sure: The least chance that there is a face.
        """
        found = [self._landmarks(picture, place) for place in self.places(picture, most, sure)]
        return [face for face in found if face is not None]

    def places(self, picture: Pixels, most: int, sure: float) -> list[Place]:
        """Where faces may be; of two in one place the less sure one."""
        size = np.array(picture.shape[1::-1], np.float32)
        whole = np.full(2, max(size), np.float32)
        seen = _cut(picture, size / 2, whole, np.float32(0), _SHAPES[0][0][1], "BORDER_CONSTANT")
        coordinates, chances = _answers(self.finder, seen * np.float32(2 / 255) - np.float32(1))
        found: list[Place] = []
        for points in _apart(*_boxes(coordinates, chances, sure))[:most]:
            place = _place((points - np.float32(0.5)) * whole / size + np.float32(0.5), size)
            box = _box(place)
            found = [other for other in found if _overlap(_box(other)[None], box)[0] <= _SAME_PLACE]
            found.append(place)
        return found

    def _landmarks(self, picture: Pixels, place: Place) -> Floats | None:
        """The landmarks of the face in a place, if there is one."""
        size = np.array(picture.shape[1::-1], np.float32)
        side = _SHAPES[1][0][1]
        seen = _cut(picture, place.centre * size, place.size * size, place.angle, side, "BORDER_REPLICATE")
        mesh, *finer, chance = _answers(self.mesh, seen * np.float32(1 / 255))
        points = np.zeros((478, 3), np.float32)
        points[:468] = mesh.reshape(-1, 3) / np.float32(side)
        for numbers, answer in zip(_REFINED, finer, strict=True):
            points[numbers, :2] = answer.reshape(-1, 2) / np.float32(side)
        if not (_sigmoid(chance) > _PRESENT and (np.abs(points) < _FAR).all()):
            return None
        for pupil, eye in zip(_REFINED[3:], _REFINED[1:3], strict=True):
            points[pupil, 2] = points[eye[:_RIM], 2].mean(dtype=np.float64)
        flat = (points[:, :2] - np.float32(0.5)) @ _turn(place.angle).T
        return np.column_stack((flat * place.size + place.centre, points[:, 2] * place.size[0]))


@dataclass(frozen=True)
class _Packaged(WeightFile):
    """A file that the package mediapipe carries; the package is not imported."""

    module: str

    def found(self, files: Files) -> Path:
        """Where the file lies: in a model folder, or in the package.

        Raises:
            NodeFailure: It is in none of them.
        """
        if path := self.lying(looked := folders(files)):
            return path
        package = importlib.util.find_spec(_PACKAGE)
        inside = [Path(folder) for folder in (package and package.submodule_search_locations) or ()]
        for path in (folder / "modules" / self.module / self.name for folder in inside):
            if path.is_file():
                return path
        where = looked[0] / self.repo / self.name if looked else "a model folder"
        raise NodeFailure(
            f"no weights {self.name!r}: MediaPipe's face mesh needs {' and '.join(_FILES)}",
            f"download {_SOURCE}/{self.name} to {where}, or `{_CARRIER}`, which is not imported; "
            f"looked in {', '.join(map(str, (*looked, *inside))) or 'no folder'}",
        )


def _face_mesh(_: str, finder: tflite.Network, mesh: tflite.Network) -> FaceMesh:
    for network, shapes in zip((finder, mesh), _SHAPES, strict=True):
        if network.shapes != shapes:
            raise UnfitWeights(f"a network has the shapes {network.shapes}, not {shapes}")
    return FaceMesh(finder, mesh)


FACE_MESH = Annotator(
    "MediaPipe's face mesh",
    tuple(_Packaged(_PACKAGE, name, module) for name, module in _FILES.items()),
    _face_mesh,
    tflite.network,
)


def _answers(network: tflite.Network, seen: Floats) -> list[Floats]:
    """The answers for one picture [S, S, 3], without the batch."""
    x = torch.from_numpy(seen)[None].to(next(network.buffers()).device)
    return [answer[0].cpu().numpy() for answer in network(x)]


def _cut(picture: Pixels, centre: Floats, size: Floats, angle: np.float32, side: int, border: str) -> Floats:
    """A turned part of a picture at `side` x `side`: bytes as floats, rounded as OpenCV does."""
    import cv2

    degrees = float(np.float32(float(angle * np.float32(180)) / np.pi))
    corners = cv2.boxPoints((centre.tolist(), size.tolist(), degrees))
    to = np.array([[0, side], [0, 0], [side, 0], [side, side]], np.float32)
    warp = cv2.getPerspectiveTransform(corners, to)
    how = {"flags": cv2.INTER_LINEAR, "borderMode": getattr(cv2, border)}
    return cv2.warpPerspective(picture, warp, (side, side), **how).astype(np.float32)


def _boxes(coordinates: Floats, chances: Floats, sure: float) -> tuple[Floats, Floats]:
    """Boxes that are sure enough and their chances; of each two corners and two eyes [n, 4, 2], in shares.

    Args:
        coordinates: [896, 16]: a centre, a size and six points, in the 128 pixels from the middle of a cell:
            two answers for each of 16 x 16 cells, then six for each of 8 x 8.
        chances: [896, 1], before the sigmoid.
    """
    cells = [(np.indices((n, n))[::-1].reshape(2, -1).T + 0.5) / n for n in (16, 8)]
    middle = np.concatenate([np.repeat(cell, k, axis=0) for cell, k in zip(cells, (2, 6), strict=True)])
    shares = coordinates.reshape(-1, 8, 2) / np.float32(_SHAPES[0][0][1])
    scores = _sigmoid(chances[:, 0])
    near = (np.abs(shares) < _FAR).all(axis=(1, 2))
    kept = (scores >= np.float32(sure)) & (shares[:, 1] > 0).all(axis=1) & near
    half, points = shares[kept, 1] / 2, shares[kept] + middle[kept, None].astype(np.float32)
    found = np.stack((points[:, 0] - half, points[:, 0] + half, points[:, 2], points[:, 3]), axis=1)
    return found, scores[kept]


def _apart(boxes: Floats, scores: Floats) -> list[Floats]:
    """One box for each face, the surest first: the mean of those that overlap, by their scores."""
    left = (-scores).argsort(kind="stable")
    found: list[Floats] = []
    while left.size:
        same = _overlap(boxes[left], boxes[left[0]]) > _SAME_FACE
        same[0] = True  # even where its area is too small for float32
        weights = scores[left[same], None, None]
        found.append((boxes[left[same]] * weights).sum(axis=0) / weights.sum())
        left = left[~same]
    return found


def _overlap(boxes: Floats, box: Floats) -> Floats:
    """How much of the area of either is in both. Boxes [n, 2 or more, 2] begin with two corners."""
    shared = np.minimum(boxes[:, 1], box[1]) - np.maximum(boxes[:, 0], box[0])
    both = np.where((shared > 0).all(axis=1), shared.prod(axis=1), np.float32(0))
    either = (boxes[:, 1] - boxes[:, 0]).prod(axis=1) + (box[1] - box[0]).prod() - both
    return np.where(either > 0, both / np.where(either > 0, either, 1), np.float32(0))


def _place(points: Floats, size: Floats) -> Place:
    """The square around a box [4, 2], turned until the eyes are level, with a margin."""
    across, down = (points[3] - points[2]) * size
    extent = points[1] - points[0]
    return Place(
        points[0] + extent / 2,
        (extent * size).max() / size * _MARGIN,
        -np.arctan2(-down, across, dtype=np.float32),
    )


def _box(place: Place) -> Floats:
    """The corners [2, 2] of a place, as if it were not turned."""
    return np.stack((place.centre - place.size / 2, place.centre + place.size / 2))


def _turn(angle: np.float32) -> Floats:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]], np.float32)


def _sigmoid(x: Floats) -> Any:
    return 1 / (1 + np.exp(-x.clip(-80, 80)))
