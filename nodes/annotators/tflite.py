"""Runs the networks of TensorFlow Lite files in PyTorch: the operators of MediaPipe's face networks.

Tensors keep the file's order of axes, channels last; the first axis, of length 1 in the file, is the batch.
"""

import math
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.problems import NodeFailure
from nodes.annotators.tflite_crops import OF_MEDIAPIPE, Run
from nodes.annotators.tflite_file import MOST_BYTES, Graph, Operator, Table, read
from nodes.annotators.weights import UnfitWeights

_MOST_WINDOW = 64
"""Of strides and windows, in elements."""
_NOT_RUN = (RuntimeError, ValueError, IndexError, TypeError)
"""What torch raises where tensors do not fit each other."""


class Network(nn.Module):
    """A network of a TensorFlow Lite file, with its constants as buffers.

    Args:
        graph: What the file states.

    Attributes:
        shapes: Of the input, then of each output, for a batch of one.

    Raises:
        UnfitWeights: An operator is not known here, or tensors do not fit each other. That is found out on
            torch's "meta" device, where nothing but shapes is computed, and then by running it once.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._steps: list[tuple[Run, tuple[int, ...], int]] = []
        self._ends = graph.inputs, graph.outputs
        self.shapes = tuple(graph.shapes[i] for i in (*graph.inputs, *graph.outputs))
        constants = {i: value for i, value in graph.constants.items() if value.is_floating_point()}
        shapes = {i: torch.empty(graph.shapes[i], device="meta") for i in (*constants, *graph.inputs)}
        for step in graph.operators:
            inputs = tuple(i for i in step.inputs if i in shapes)
            run = _run_of(step, graph)
            found = _tried(run, [shapes[i] for i in inputs], step)
            if tuple(found.shape) != graph.shapes[step.output] or step.output in shapes:
                raise UnfitWeights(f"its {step.name} gives {tuple(found.shape)} for tensor {step.output}")
            shapes[step.output] = found
            if step.name == "DEQUANTIZE" and inputs[0] in constants:
                constants[step.output] = constants[inputs[0]].float()
            else:
                self._steps.append((run, inputs, step.output))
        if len(graph.inputs) != 1 or any(i not in shapes for i in graph.outputs):
            raise UnfitWeights("it has not one input, or an output that nothing gives")
        used = {i for _, inputs, _ in self._steps for i in inputs} | {*graph.outputs}
        self._constants = sorted(used & constants.keys())
        for i in self._constants:
            self.register_buffer(f"t{i}", constants[i].float(), persistent=False)
        self._try()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The outputs for a batch.

        Args:
            x: [B, ...] float32, its other axes as the file states.

        Returns:
            In the file's order, [B, ...].
        """
        (start,), ends = self._ends
        values = {i: self.get_buffer(f"t{i}") for i in self._constants} | {start: x}
        for run, inputs, output in self._steps:
            values[output] = run(*(values[i] for i in inputs))
        return tuple(values[i] for i in ends)

    def _try(self) -> None:
        """Run once on zeros: the "meta" device does not see every misfit."""
        try:
            with torch.inference_mode():
                self(torch.zeros(self.shapes[0]))
        except _NOT_RUN as error:
            raise UnfitWeights(f"it does not run: {_short(error)}") from error


def network(path: Path) -> Network:
    """The network of a TensorFlow Lite file.

    Raises:
        NodeFailure: The file cannot be read or is not such a network.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UnfitWeights(f"it has over {MOST_BYTES} bytes")
        return Network(read(path.read_bytes()))
    except (OSError, UnfitWeights) as error:
        raise NodeFailure(f"cannot read {path.name}: {error}", "download it again") from error


def _run_of(step: Operator, graph: Graph) -> Run:
    if step.name in _RUNS:
        return _RUNS[step.name](step, graph)
    if step.name in OF_MEDIAPIPE and step.version == 2:
        return OF_MEDIAPIPE[step.name](step, graph)
    raise UnfitWeights(f"its operator {step.name!r} of version {step.version} is not known")


def _tried(run: Run, inputs: list[Tensor], step: Operator) -> Tensor:
    """What an operator gives for tensors without values."""
    try:
        return run(*inputs)
    except _NOT_RUN as error:
        raise UnfitWeights(f"its {step.name} does not run: {_short(error)}") from error


def _short(error: Exception) -> str:
    """What torch says of an error, without where in its own code."""
    return str(error).partition("\n")[0]


def _options(step: Operator, activation: int) -> Table:
    """The options of an operator that no activation is fused with.

    Args:
        activation: Number of the field that would say which.
    """
    if step.options is None or step.options.number(activation, "b"):
        raise UnfitWeights(f"its {step.name} has no options, or an activation of its own")
    return step.options


def _sides(options: Table, fields: Iterable[int]) -> tuple[int, ...]:
    """Strides and windows from fields of options."""
    found = tuple(options.number(field) for field in fields)
    if not all(1 <= side <= _MOST_WINDOW for side in found):
        raise UnfitWeights(f"a stride or window of {found}")
    return found


def _whole(step: Operator, graph: Graph, place: int) -> list[int]:
    """The values of an operator's input that must be whole numbers in the file."""
    found = graph.constants.get(step.inputs[place]) if place < len(step.inputs) else None
    if found is None or found.is_floating_point():
        raise UnfitWeights(f"its {step.name} lacks numbers")
    return [int(i) for i in found.flatten().tolist()]


def _enlarged(x: Tensor, window: tuple[int, ...], stride: tuple[int, ...], value: float) -> Tensor:
    """[B, C, H, W] padded so that a window gives one answer for each stride; the odd line comes last."""
    more = [
        max(0, (math.ceil(n / s) - 1) * s + w - n)
        for n, w, s in zip(x.shape[2:], window, stride, strict=True)
    ]
    return F.pad(x, (more[1] // 2, -(-more[1] // 2), more[0] // 2, -(-more[0] // 2)), value=value)


def _conv(step: Operator, _: Graph) -> Run:
    return _convolution(_options(step, 3), (4, 5), deep=False)


def _depthwise(step: Operator, _: Graph) -> Run:
    return _convolution(_options(step, 4), (5, 6), deep=True)


def _convolution(options: Table, dilations: tuple[int, int], deep: bool) -> Run:
    """A convolution; deep ones have kernels [1, H, W, C], each seeing one channel, others [C, H, W, seen]."""
    across, down = _sides(options, (1, 2))
    if any(options.number(field, default=1) != 1 for field in dilations):
        raise UnfitWeights("a convolution with gaps")
    same = options.number(0, "b") == 0

    def run(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
        x, kernel = x.permute(0, 3, 1, 2), kernel.permute((3, 0, 1, 2) if deep else (0, 3, 1, 2))
        if same:
            x = _enlarged(x, kernel.shape[2:], (down, across), 0.0)
        groups = x.shape[1] if deep else 1
        return F.conv2d(x, kernel, bias, (down, across), groups=groups).permute(0, 2, 3, 1)

    return run


def _max_pool(step: Operator, _: Graph) -> Run:
    options = _options(step, 5)
    across, down, width, height = _sides(options, (1, 2, 3, 4))
    same = options.number(0, "b") == 0

    def run(x: Tensor) -> Tensor:
        x = x.permute(0, 3, 1, 2)
        if same:
            x = _enlarged(x, (height, width), (down, across), -math.inf)
        return F.max_pool2d(x, (height, width), (down, across)).permute(0, 2, 3, 1)

    return run


def _plain(run: Run) -> Callable[[Operator, Graph], Run]:
    """An operator without options."""
    return lambda _, __: run


def _pairwise(run: Run) -> Callable[[Operator, Graph], Run]:
    """An operator on two tensors, element by element."""

    def make(step: Operator, _: Graph) -> Run:
        _options(step, 0)
        return run

    return make


def _leaning(x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x >= 0, x, x * slope)


def _pad(step: Operator, graph: Graph) -> Run:
    amounts = _whole(step, graph, 1)
    pairs = [(before, after) for before, after in zip(amounts[::2], amounts[1::2], strict=False)]
    flat = [amount for pair in reversed(pairs) for amount in pair]
    return lambda x: F.pad(x, flat)


def _reshape(step: Operator, graph: Graph) -> Run:
    shape = graph.shapes[step.output]
    return lambda x, *_: x.reshape(len(x), *shape[1:])


def _concatenate(step: Operator, _: Graph) -> Run:
    if (axis := _options(step, 1).number(0)) <= 0:
        raise UnfitWeights(f"its {step.name} joins axis {axis}")
    return lambda *parts: torch.cat(parts, axis)


def _slice(step: Operator, graph: Graph) -> Run:
    """A part of each axis but the first, which is kept whole."""
    if step.options is None or any(step.options.number(mask) for mask in range(5)):
        raise UnfitWeights(f"its {step.name} has masks")
    begins, ends, strides = (_whole(step, graph, place) for place in (1, 2, 3))
    if min(begins + ends, default=0) < 0 or min(strides, default=0) < 1:
        raise UnfitWeights(f"its {step.name} counts from the end")
    parts = [slice(*part) for part in zip(begins, ends, strides, strict=False)]
    return lambda x: x[(slice(None), *parts[1:])]


_RUNS: dict[str, Callable[[Operator, Graph], Run]] = {
    "ADD": _pairwise(torch.add), "CONCATENATION": _concatenate, "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise, "DEQUANTIZE": _plain(Tensor.float), "MAX_POOL_2D": _max_pool,
    "MUL": _pairwise(torch.mul), "PAD": _pad, "PRELU": _plain(_leaning), "RELU": _plain(torch.relu),
    "RESHAPE": _reshape, "STRIDED_SLICE": _slice,
}  # fmt: skip
