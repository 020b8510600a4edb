"""DWPose (Yang et al. 2023): people found by YOLOX and their 133 keypoints by RTMPose, from ONNX files."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.devices import Devices
from engine.files import Files
from engine.problems import NodeFailure
from nodes.annotators.pictures import Pixels
from nodes.annotators.poses import BODY, Points, Pose
from nodes.annotators.weights import WeightFile, content

Array: TypeAlias = npt.NDArray[Any]

DETECTORS = {
    "yolox_l.torchscript.pt": "yolox_l.onnx",
    "yolox_l.onnx": "yolox_l.onnx",
    "yolo_nas_l_fp16.onnx": None,
    "yolo_nas_m_fp16.onnx": None,
    "yolo_nas_s_fp16.onnx": None,
}
"""For each finder of people the file that is read. TorchScript holds code, which is not run: its twin is."""
ESTIMATORS = {
    "dw-ll_ucoco_384_bs5.torchscript.pt": "dw-ll_ucoco_384.onnx",
    "dw-ll_ucoco_384.onnx": "dw-ll_ucoco_384.onnx",
    "dw-ll_ucoco.onnx": "dw-ll_ucoco.onnx",
}
_REPOS = {"dw-ll_ucoco.onnx": "hr16/UnJIT-DWPose"}
_OWNER = "yzd-v/DWPose"

_SEEN = 640
"""YOLOX sees pictures of 640 x 640."""
_SURE, _OVERLAP = 0.3, 0.45
"""Scores from which a person or a keypoint counts, and the share of a box that another may cover."""
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""ImageNet's, in bytes."""
_FROM_COCO = (0, 17, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
"""The keypoints of COCO, and the neck as the 17th, in OpenPose's order."""


@dataclass(frozen=True)
class OnnxNetwork:
    """A network read by OpenCV, which runs no code of the file's. OpenCV computes it on the CPU."""

    net: Any
    nbytes: int

    def answer(self, x: Array) -> list[Array]:
        """The outputs for one input [1, 3, H, W], float32."""
        self.net.setInput(x)
        return list(self.net.forward(self.net.getUnconnectedOutLayersNames()))


def weight_files(bbox_detector: str, pose_estimator: str) -> list[WeightFile]:
    """The ONNX files of the chosen networks; "None" finds no people.

    Raises:
        NodeFailure: OpenCV does not run the choice.
    """
    names = [ESTIMATORS[pose_estimator]]
    if bbox_detector != "None":
        name = DETECTORS[bbox_detector]
        if name is None:
            raise NodeFailure(f"{bbox_detector} is not supported", "choose 'yolox_l.onnx' as bbox_detector")
        names.append(name)
    return [WeightFile(_REPOS.get(name, _OWNER), name) for name in names]


def network(weight: WeightFile, files: Files, devices: Devices) -> OnnxNetwork:
    """A network from its file, kept while memory allows.

    Raises:
        NodeFailure: The file is missing or is no ONNX network.
    """
    path = weight.found(files)

    def read() -> OnnxNetwork:
        import cv2

        try:
            return OnnxNetwork(cv2.dnn.readNetFromONNX(str(path)), path.stat().st_size)
        except cv2.error as error:
            raise NodeFailure(f"{path.name} is no ONNX network: {error.err}", "download it again") from error

    return devices.held(("onnx", content(files, path)), read, lambda net: net.nbytes)


def found_poses(
    estimator: OnnxNetwork, detector: OnnxNetwork | None, picture: Pixels, side: int
) -> list[Pose]:
    """The people in a picture, points in its pixels.

    Args:
        detector: None takes the whole picture for one person.
        side: Height of what the estimator sees; its width is three quarters of that.
    """
    height, width = picture.shape[:2]
    whole = np.array([[0.0, 0.0, width, height]])
    boxes = whole if detector is None else people(detector.answer(_letterboxed(picture))[0][0], picture)
    return [_pose(*keypoints(estimator, picture, box, (side * 3 // 4, side))) for box in boxes]


def people(answer: Array, picture: Pixels) -> Array:
    """Boxes [n, 4] of people (left, top, right, bottom in pixels), the surest first.

    Args:
        answer: [8400, 85] of YOLOX (Ge et al. 2021): centre and log size in cells of 8, 16 and 32 pixels,
            whether there is something, and what of COCO's classes, people being the first.
    """
    cells = [(np.indices((_SEEN // s, _SEEN // s))[::-1].reshape(2, -1).T, s) for s in (8, 16, 32)]
    corner = np.concatenate([cell for cell, _ in cells])
    stride = np.concatenate([np.full((len(cell), 1), s) for cell, s in cells])
    centre = ((answer[:, :2] + corner) * stride).astype(np.float32)
    size = (np.exp(answer[:, 2:4]) * stride).astype(np.float32)
    boxes = np.concatenate((centre - size / 2, centre + size / 2), axis=1) / _scale(picture)
    scores = answer[:, 4] * answer[:, 5]
    sure = scores > _SURE
    return _apart(boxes[sure], scores[sure])


def keypoints(
    estimator: OnnxNetwork, picture: Pixels, box: Array, seen: tuple[int, int]
) -> tuple[Array, Array]:
    """The 133 keypoints of COCO-WholeBody in a box: places [133, 2] in pixels, scores [133].

    The box, a quarter larger and of the network's shape, is scaled to `seen` (width, height). The network's
    answers are the chances of each half pixel across and down (SimCC, Li et al. 2022).
    """
    import cv2

    width, height = seen
    centre, extent = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) * 1.25
    extent = np.array(
        [max(extent[0], extent[1] * width / height), max(extent[1], extent[0] * height / width)]
    )
    corners = np.array([[0, 0], [0, -0.5], [-0.5, -0.5]])
    to = np.array([width, height]) / 2 + corners * width
    warp = cv2.getAffineTransform((centre + corners * extent[0]).astype(np.float32), to.astype(np.float32))
    small = (cv2.warpAffine(picture, warp, seen, flags=cv2.INTER_LINEAR) - np.array(_MEAN)) / _STD
    answers = estimator.answer(np.ascontiguousarray(small.transpose(2, 0, 1)[None], np.float32))
    across, down = (next(a[0] for a in answers if a.shape[-1] == 2 * n) for n in seen)
    places = np.stack((across.argmax(1), down.argmax(1)), axis=1) / 2
    scores = np.minimum(across.max(1), down.max(1))
    return places / seen * extent + centre - extent / 2, scores


def _pose(places: Array, scores: Array) -> Pose:
    neck = places[[5, 6]].mean(axis=0, keepdims=True)
    both = float((scores[[5, 6]] > _SURE).all())
    order = [*_FROM_COCO, *range(BODY, len(places) + 1)]
    places = np.insert(places, 17, neck, axis=0)[order]
    scores = np.insert(scores, 17, both)[order]
    points = [(float(x), float(y)) if s >= _SURE else None for (x, y), s in zip(places, scores, strict=True)]

    def part(start: int, end: int) -> Points | None:
        return points[start:end] if any(points[start:end]) else None

    face = part(24, 92)
    eyes = points[14:16]  # OpenPose's face has 70 points, this one 68
    return Pose(points[:BODY], part(92, 113), part(113, 134), face and [*face, *eyes])


def _scale(picture: Pixels) -> float:
    return min(_SEEN / picture.shape[0], _SEEN / picture.shape[1])


def _letterboxed(picture: Pixels) -> Array:
    """The picture in the upper left of a grey square, as the network sees it."""
    import cv2

    factor = _scale(picture)
    height, width = int(picture.shape[0] * factor), int(picture.shape[1] * factor)
    square = np.full((_SEEN, _SEEN, 3), 114, np.uint8)
    square[:height, :width] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(square.transpose(2, 0, 1)[None], np.float32)


def _apart(boxes: Array, scores: Array) -> Array:
    """The boxes that no surer one covers; areas count the pixels at both ends."""
    left = scores.argsort()[::-1]
    areas = np.prod(boxes[:, 2:] - boxes[:, :2] + 1, axis=1)
    kept: list[int] = []
    while left.size:
        best, left = int(left[0]), left[1:]
        kept.append(best)
        start, end = (
            np.maximum(boxes[best, :2], boxes[left, :2]),
            np.minimum(boxes[best, 2:], boxes[left, 2:]),
        )
        shared = np.prod(np.maximum(0.0, end - start + 1), axis=1)
        left = left[shared / (areas[best] + areas[left] - shared) <= _OVERLAP]
    return boxes[kept]
