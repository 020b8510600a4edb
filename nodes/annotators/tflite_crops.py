"""MediaPipe's operators of TensorFlow Lite: a turned part is cut from features, landmarks are brought back.

Its Attention Mesh (Grishchenko et al. 2020) looks so at lips and eyes. Tensors have their channels last.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from nodes.annotators.tflite_file import Graph, Operator, options_of
from nodes.annotators.weights import UnfitWeights

Run: TypeAlias = Callable[..., Tensor]


def _crop_matrix(step: Operator, graph: Graph) -> Run:
    """From landmarks [B, N, 3] the matrix [B, 4, 4] that takes a crop's cells to places among them.

    The crop is turned so that two landmarks lie level, and so much larger than the box around a set of
    landmarks as the options state.
    """
    options = options_of(step.custom)
    try:
        chosen = [int(i) for i in options["subset_idxs"]]
        left, right = int(options["left_rotation_idx"][0]), int(options["right_rotation_idx"][0])
        size = [options[name][0] for name in ("output_width", "output_height")]
        scale = [options[name][0] / cells for name, cells in zip(("scale_x", "scale_y"), size, strict=True)]
        target = options["target_rotation_radians"][0]
    except (LookupError, ArithmeticError, ValueError) as error:
        raise UnfitWeights(f"its {step.name} lacks options") from error
    if min(left, right, *chosen) < 0 or max(left, right, *chosen) >= _count(step, graph):
        raise UnfitWeights(f"its {step.name} has landmarks that are not there")

    def run(landmarks: Tensor) -> Tensor:
        level = landmarks[:, right, :2] - landmarks[:, left, :2]
        angle = target - torch.atan2(level[:, 1], level[:, 0])
        cos, sin = angle.cos(), angle.sin()
        turn = torch.stack((torch.stack((cos, -sin), 1), torch.stack((sin, cos), 1)), 1)
        turned = landmarks[:, chosen, :2] @ turn.mT
        low, high = turned.amin(1), turned.amax(1)
        back = turn.mT * ((high - low) * landmarks.new_tensor(scale))[:, None]
        middle = ((low + high) / 2)[:, None] @ turn
        corner = middle[:, 0] - back @ landmarks.new_tensor(size) / 2
        top = torch.cat((back, torch.zeros_like(back[..., :1]), corner[..., None]), 2)
        return torch.cat((top, torch.eye(4, device=top.device)[2:].expand(len(top), 2, 4)), 1)

    return run


def _count(step: Operator, graph: Graph) -> int:
    """Of the landmarks that an operator sees."""
    shape = graph.shapes[step.inputs[0]] if step.inputs else ()
    return shape[1] if len(shape) == 3 else 0


def _cut(step: Operator, graph: Graph) -> Run:
    """The crop of features [B, H, W, C] by a matrix, between cells as they are; zero outside the features."""
    height, width = graph.shapes[step.output][1:3] if len(graph.shapes[step.output]) == 4 else (1, 1)

    def run(x: Tensor, matrix: Tensor) -> Tensor:
        rows, columns = (torch.arange(n, device=x.device) + 0.5 for n in (height, width))
        cells = torch.stack((columns.expand(height, -1), rows[:, None].expand(-1, width)), -1).flatten(0, 1)
        places = cells @ matrix[:, :2, :2].mT + matrix[:, None, :2, 3]  # [B, cells, 2]
        size = x.new_tensor((x.shape[2], x.shape[1]))
        outside = ((places < 0.5) | (places > size - 0.5)).any(-1)
        grid = (places * 2 / size - 1).reshape(-1, height, width, 2)
        found = F.grid_sample(x.permute(0, 3, 1, 2), grid, align_corners=False).permute(0, 2, 3, 1)
        return found.masked_fill(outside.reshape(-1, height, width, 1), 0.0)

    return run


def _place(_: Operator, __: Graph) -> Run:
    """Landmarks [B, N, 2 or 3] brought from a crop to where its matrix says; depths stay."""

    def run(landmarks: Tensor, matrix: Tensor) -> Tensor:
        flat = landmarks[..., :2] @ matrix[:, :2, :2].mT + matrix[:, None, :2, 3]
        return torch.cat((flat, landmarks[..., 2:]), -1)

    return run


OF_MEDIAPIPE: dict[str, Callable[[Operator, Graph], Run]] = {
    "Landmarks2TransformMatrix": _crop_matrix, "TransformTensorBilinear": _cut, "TransformLandmarks": _place,
}  # fmt: skip
"""By name, of their version 2; the first had other options."""
