"""Small TensorFlow Lite files, written as FlatBuffers."""

import struct
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
CUSTOM = 32
"""What stands for every operator that has a name of its own."""


def put(data: bytearray, value: Any) -> int:
    """Append a FlatBuffer's value, and what it points to; returns its place.

    Args:
        value: A table as a mapping of fields, a list of tables or of numbers, or bytes.
    """
    at = len(data)
    if isinstance(value, Mapping):
        slots = {field: 4 + 4 * i for i, field in enumerate(value)}
        last = max(value, default=-1) + 1
        data += struct.pack("<HH", 4 + 2 * last, 4 + 4 * len(value))
        data += b"".join(struct.pack("<H", slots.get(field, 0)) for field in range(last))
        at, start = len(data), at
        data += struct.pack("<i", at - start) + bytes(4 * len(value))
        for field, held in value.items():
            put_at(data, at + slots[field], held)
    elif isinstance(value, bytes):
        data += struct.pack("<I", len(value)) + value
    else:
        data += struct.pack("<I", len(value)) + bytes(4 * len(value))
        for here, held in zip(range(at + 4, at + 4 + 4 * len(value), 4), value, strict=True):
            put_at(data, here, held)
    return at


def put_at(data: bytearray, here: int, held: Any) -> None:
    """Write a number, or the offset of what is appended for anything else."""
    data[here : here + 4] = struct.pack("<i", held if isinstance(held, int) else put(data, held) - here)


def file(
    tensors: list[tuple[int, ...] | Array],
    steps: list[tuple[int | str, list[int], int, dict[int, Any]]],
    outputs: list[int],
    **changes: Any,
) -> bytes:
    """A TensorFlow Lite file whose first tensor is its input.

    Args:
        tensors: The shape of each, or its value.
        steps: Number of each operator or the name of a custom one, its inputs, output and options.
    """
    kinds = {"float32": 0, "float16": 1, "int32": 2}
    buffers: list[dict[int, Any]] = [{}]
    stated = []
    for tensor in tensors:
        if isinstance(tensor, tuple):
            stated.append({0: list(tensor)})
        else:
            stated.append({0: list(tensor.shape), 1: kinds[str(tensor.dtype)], 2: len(buffers)})
            buffers.append({0: tensor.tobytes()})
    codes = [
        {0: CUSTOM, 1: kind.encode(), 2: 2} if isinstance(kind, str) else {0: kind} for kind, *_ in steps
    ]
    operators = [
        {0: i, 1: inputs, 2: [output], 4: options} for i, (_, inputs, output, options) in enumerate(steps)
    ]
    graph = {0: stated, 1: [0], 2: outputs, 3: operators} | changes.get("graph", {})
    data = bytearray(b"\0\0\0\0TFL3")
    data[:4] = struct.pack("<I", put(data, {0: 3, 1: codes, 2: [graph], 4: buffers}))
    return bytes(data)
