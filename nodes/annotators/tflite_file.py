"""TensorFlow Lite files: a network as its tensors' shapes, its constants and its operators, nothing run.

A file is a FlatBuffer: tables of numbered fields, each found through offsets. Every read is checked against
the file's end, so that a damaged file costs no more than its own size.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from nodes.annotators.weights import UnfitWeights

Shape: TypeAlias = tuple[int, ...]

MOST_BYTES, _MOST_ELEMENTS = 1 << 26, 1 << 24
"""Of a file, and of all its tensors together; several times those of a network of faces."""
_MOST_PARTS, _MOST_INTS, _MOST_OPTIONS = 1 << 12, 1 << 4, 1 << 12
"""Tables in a list (of tensors), whole numbers in a list (a shape), bytes of an operator's options."""
_TYPES = {0: torch.float32, 1: torch.float16, 2: torch.int32}
_CUSTOM = 32
_NAMES = {
    0: "ADD", 2: "CONCATENATION", 3: "CONV_2D", 4: "DEPTHWISE_CONV_2D", 6: "DEQUANTIZE", 17: "MAX_POOL_2D",
    18: "MUL", 19: "RELU", 22: "RESHAPE", 34: "PAD", 45: "STRIDED_SLICE", 54: "PRELU",
}  # fmt: skip
_DAMAGED = "it is cut short or damaged"
_MAP, _INT, _FLOAT, _INTS = 9, 1, 3, 11
_WHOLE, _FRACTION = {1: "b", 2: "h", 4: "i", 8: "q"}, {2: "e", 4: "f", 8: "d"}
"""Kinds of a FlexBuffer's values, and the types of numbers by their bytes."""


@dataclass(frozen=True)
class Table:
    """A table of a FlatBuffer; a field that it lacks has its default.

    Args:
        data: The whole file.
        at: Where the table lies in it.
    """

    data: bytes
    at: int

    def number(self, field: int, form: str = "i", default: int = 0) -> int:
        """A number, as `struct` spells its type."""
        at = self._place(field)
        found: int = number(self.data, at, form) if at else default
        return found

    def table(self, field: int) -> "Table | None":
        """Another table."""
        at = self._place(field)
        return Table(self.data, self._target(at)) if at else None

    def tables(self, field: int) -> list["Table"]:
        """A list of tables."""
        start, count = self._vector(field, 4, _MOST_PARTS)
        return [Table(self.data, self._target(start + 4 * i)) for i in range(count)]

    def ints(self, field: int) -> tuple[int, ...]:
        """A list of whole numbers of 32 bits."""
        start, count = self._vector(field, 4, _MOST_INTS)
        return struct.unpack_from(f"<{count}i", self.data, start)

    def content(self, field: int, most: int = MOST_BYTES) -> bytes:
        """A list of bytes, of some length at most."""
        start, count = self._vector(field, 1, most)
        return self.data[start : start + count]

    def _place(self, field: int) -> int:
        """Where a field lies; 0 where the table lacks it."""
        index = self.at - number(self.data, self.at, "i")
        if number(self.data, index, "H") < 6 + 2 * field:
            return 0
        offset: int = number(self.data, index + 4 + 2 * field, "H")
        return self.at + offset if offset else 0

    def _target(self, at: int) -> int:
        offset: int = number(self.data, at, "I")
        return at + offset

    def _vector(self, field: int, width: int, most: int) -> tuple[int, int]:
        """Where a list begins, and its length, which is `most` at most."""
        if not (at := self._place(field)):
            return 0, 0
        start = self._target(at)
        count: int = number(self.data, start, "I")
        if count * width > len(self.data) - start - 4:
            raise UnfitWeights(_DAMAGED)
        if count > most:
            raise UnfitWeights(f"it has {count} of a thing, over {most}")
        return start + 4, count


@dataclass(frozen=True)
class Operator:
    """One step of a network.

    Args:
        name: As TensorFlow Lite calls it, or the name of a custom operator.
        inputs: Numbers of tensors; -1 stands for none.
        output: Number of a tensor.
        options: Of its kind, if it has any.
        custom: A custom operator's options, a FlexBuffer.
    """

    name: str
    version: int
    inputs: tuple[int, ...]
    output: int
    options: Table | None
    custom: bytes


@dataclass(frozen=True)
class Graph:
    """A network as a file states it.

    Args:
        shapes: Of each tensor, channels last.
        constants: Tensors whose values are in the file, by number.
        inputs: Numbers of tensors.
        outputs: Likewise.
    """

    shapes: tuple[Shape, ...]
    constants: Mapping[int, Tensor]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read(data: bytes) -> Graph:
    """The network in a TensorFlow Lite file.

    Raises:
        UnfitWeights: The file is damaged, too large, or holds what is not read here.
    """
    if data[4:8] != b"TFL3":
        raise UnfitWeights("it is no TensorFlow Lite file")
    if len(data) > MOST_BYTES:
        raise UnfitWeights(f"it has {len(data)} bytes, over {MOST_BYTES}")
    model = Table(data, number(data, 0, "I"))
    graphs, codes = model.tables(2), model.tables(1)
    if len(graphs) != 1:
        raise UnfitWeights(f"it has {len(graphs)} graphs, not one")
    tensors, operators = graphs[0].tables(0), graphs[0].tables(3)
    shapes = tuple(tensor.ints(0) for tensor in tensors)
    if any(len(shape) > 6 or min(shape, default=1) < 1 for shape in shapes):
        raise UnfitWeights("a tensor has no size")
    if (count := sum(map(math.prod, shapes))) > _MOST_ELEMENTS:
        raise UnfitWeights(f"its tensors have {count} elements, over {_MOST_ELEMENTS}")
    graph = Graph(
        shapes,
        _constants(model.tables(4), tensors, shapes),
        tuple(_operator(operator, codes) for operator in operators),
        graphs[0].ints(1),
        graphs[0].ints(2),
    )
    named = [n for step in graph.operators for n in (*step.inputs, step.output) if n != -1]
    if any(not 0 <= n < len(shapes) for n in (*named, *graph.inputs, *graph.outputs)):
        raise UnfitWeights("it names a tensor that it lacks")
    return graph


def number(data: bytes, at: int, form: str) -> Any:
    """The number of a type, as `struct` spells it, that lies somewhere in a file.

    Raises:
        UnfitWeights: That is outside the file.
    """
    if not 0 <= at <= len(data) - struct.calcsize(form):
        raise UnfitWeights(_DAMAGED)
    return struct.unpack_from(f"<{form}", data, at)[0]


def options_of(data: bytes) -> dict[str, list[float]]:
    """The numbers in the options of a custom operator: a map of a FlexBuffer, lists of one where it has one.

    Raises:
        UnfitWeights: They are damaged or something else.
    """

    def target(at: int, width: int) -> int:
        offset: int = number(data, at, _WHOLE[width].upper())
        return at - offset

    def value(at: int, width: int, kind: int) -> list[float]:
        if kind >> 2 == _INTS:
            start, width = target(at, width), 1 << (kind & 3)
            length = number(data, start - width, _WHOLE[width].upper())
            return [number(data, start + width * i, _WHOLE[width]) for i in range(length)]
        form = {_INT: _WHOLE, _FLOAT: _FRACTION}.get(kind >> 2, {}).get(width)
        if form is None:
            raise UnfitWeights(f"an operator's options have a value of kind {kind >> 2}")
        return [number(data, at, form)]

    size, kind = number(data, len(data) - 1, "B"), number(data, len(data) - 2, "B")
    if kind >> 2 != _MAP or size not in _WHOLE:
        raise UnfitWeights("an operator's options are no map")
    start, width = target(len(data) - 2 - size, size), 1 << (kind & 3)
    count = number(data, start - width, _WHOLE[width].upper())
    keys, key_width = target(start - 3 * width, width), number(data, start - 2 * width, "B")
    if key_width not in _WHOLE:
        raise UnfitWeights(_DAMAGED)
    found = {}
    for i in range(count):
        name = data[target(keys + key_width * i, key_width) :].partition(b"\0")[0]
        kind = number(data, start + width * count + i, "B")
        found[name.decode("utf-8", "replace")] = value(start + width * i, width, kind)
    return found


def _constants(buffers: list[Table], tensors: list[Table], shapes: tuple[Shape, ...]) -> dict[int, Tensor]:
    found: dict[int, Tensor] = {}
    for i, (tensor, shape) in enumerate(zip(tensors, shapes, strict=True)):
        place = tensor.number(2, "I")
        if place >= len(buffers):
            raise UnfitWeights(_DAMAGED)
        if not (content := buffers[place].content(0)):
            continue
        kind = _TYPES.get(tensor.number(1, "b"))
        if kind is None or len(content) != math.prod(shape) * kind.itemsize:
            raise UnfitWeights(
                f"tensor {i} has {len(content)} bytes for {shape} of {kind or 'a strange type'}"
            )
        found[i] = torch.frombuffer(bytearray(content), dtype=kind).reshape(shape)
    return found


def _operator(table: Table, codes: list[Table]) -> Operator:
    place, outputs = table.number(0, "I"), table.ints(2)
    if place >= len(codes) or len(outputs) != 1:
        raise UnfitWeights(_DAMAGED)
    code = codes[place]
    kind = max(code.number(0, "b"), code.number(3))
    custom = code.content(1, _MOST_OPTIONS).decode("utf-8", "replace")
    name = custom if kind == _CUSTOM else _NAMES.get(kind, f"number {kind}")
    return Operator(
        name,
        code.number(2, default=1),
        table.ints(1),
        outputs[0],
        table.table(4),
        table.content(5, _MOST_OPTIONS),
    )
