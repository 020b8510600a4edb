"""TensorFlow Lite files: small ones written here are read and run, damaged and hostile ones are refused."""

import random
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.problems import NodeFailure
from nodes.annotators.tflite import Network, network
from nodes.annotators.tflite_crops import OF_MEDIAPIPE
from nodes.annotators.tflite_file import Graph, Operator, Table, options_of, read
from nodes.annotators.weights import UnfitWeights
from tests.nodes.face_mesh_files import contents
from tests.nodes.tflite_files import Array, file, put

RANDOM = np.random.default_rng(0)
SAME = 0
CONV, DEPTHWISE, POOL = 3, 4, 17
STEP = {0: SAME, 1: 2, 2: 2}
"""Options of a convolution: the padding, and strides of 2."""


def floats(*shape: int) -> Array:
    return RANDOM.normal(size=shape).astype(np.float32)


def run(data: bytes, x: Array) -> list[Array]:
    with torch.inference_mode():
        return [answer.numpy() for answer in Network(read(data))(torch.from_numpy(x))]


def windows(x: Array, side: int, stride: int, fill: float = 0.0) -> Array:
    """[B, rows, columns, side, side, C]: what a window sees at each stride, the odd line of padding last."""
    n = -(-x.shape[1] // stride)
    more = max(0, (n - 1) * stride + side - x.shape[1])
    pads = (more // 2, more - more // 2)
    x = np.pad(x, ((0, 0), pads, pads, (0, 0)), constant_values=fill)
    rows = [
        np.stack(
            [x[:, i : i + side, j : j + side] for j in range(0, x.shape[2] - side + 1, stride)][:n], axis=1
        )
        for i in range(0, x.shape[1] - side + 1, stride)
    ]
    return np.stack(rows[:n], axis=1)


@pytest.mark.parametrize("side", [6, 7])
def test_convolutions_and_pools_pad_their_last_line(side: int) -> None:
    x, kernel, bias = floats(2, side, side, 3), floats(5, 3, 3, 3), floats(5)
    deep = floats(1, 3, 3, 3)
    n = -(-side // 2)
    data = file(
        [(1, side, side, 3), kernel, bias, deep, (1, n, n, 5), (1, n, n, 3), (1, n, n, 3)],
        [
            (CONV, [0, 1, 2], 4, STEP),
            (DEPTHWISE, [0, 3, -1], 5, STEP | {3: 1}),
            (POOL, [0], 6, STEP | {3: 3, 4: 3}),
        ],
        [4, 5, 6],
    )
    found = run(data, x)
    seen = windows(x, 3, 2)
    assert np.allclose(found[0], np.einsum("brcijk,oijk->brco", seen, kernel) + bias, atol=1e-5)
    assert np.allclose(found[1], np.einsum("brcijk,ijk->brck", seen, deep[0]), atol=1e-5)
    assert np.allclose(found[2], windows(x, 3, 2, -np.inf).max(axis=(3, 4)))


def test_the_other_operators_are_those_of_their_names() -> None:
    x, slope, half = floats(3, 2, 2, 4), floats(1, 1, 4), floats(4).astype(np.float16)
    pads = np.array([[0, 0], [0, 1], [1, 0], [0, 2]], np.int32)
    parts = [np.array(n, np.int32) for n in ([0, 0, 0, 1], [1, 2, 2, 3], [1, 1, 1, 1])]
    whole, grown = (1, 2, 2, 4), (1, 3, 3, 6)
    data = file(
        [whole, slope, half, (4,), pads, whole, whole, whole, whole, grown, (1, 16, 1), (1, 2, 4, 4),
         *parts, (1, 2, 2, 2)],
        [
            (6, [2], 3, {}), (54, [0, 1], 5, {}), (0, [0, 3], 6, {}), (18, [0, 3], 7, {}), (19, [0], 8, {}),
            (34, [0, 4], 9, {}), (22, [0], 10, {}), (2, [0, 8], 11, {0: 2}), (45, [0, 12, 13, 14], 15, {}),
        ],
        [5, 6, 7, 8, 9, 10, 11, 15],
    )  # fmt: skip
    expected = [
        np.where(x > 0, x, x * slope), x + half, x * half, x.clip(0), np.pad(x, [(0, 0), *pads[1:]]),
        x.reshape(3, 16, 1), np.concatenate((x, x.clip(0)), axis=2), x[..., 1:3],
    ]  # fmt: skip
    for found, wanted in zip(run(data, x), expected, strict=True):
        assert np.allclose(found, wanted, atol=1e-6)


def test_options_of_custom_operators_are_read() -> None:
    """The bytes are those of an operator in MediaPipe's file."""
    stored = b"output_height\0output_width\0\2\x1c\x0f\2\1\2\x10\x10\4\4\4$\1"
    assert options_of(stored) == {"output_height": [16], "output_width": [16]}


def test_a_crop_is_taken_between_cells_and_is_zero_where_it_leaves_them() -> None:
    features, matrix = floats(2, 5, 6, 3), np.zeros((2, 4, 4), np.float32)
    matrix[:, :2] = [[0.8, -0.5, 0, 0.9], [0.5, 0.8, 0, -1.2]], [[1, 0, 0, 1.5], [0, 1, 0, 0.5]]
    step = Operator("TransformTensorBilinear", 2, (0, 1), 2, None, b"")
    cut = OF_MEDIAPIPE[step.name](
        step, Graph(((1, 5, 6, 3), (1, 4, 4), (1, 4, 4, 3)), {}, (step,), (0,), (2,))
    )
    found = cut(torch.from_numpy(features), torch.from_numpy(matrix)).numpy()
    outside = 0
    for b, y, x in np.ndindex(2, 4, 4):
        across, down = matrix[b, :2, :2] @ (x + 0.5, y + 0.5) + matrix[b, :2, 3] - 0.5
        wanted = np.zeros(3)
        if 0 <= across <= 5 and 0 <= down <= 4:
            left, top = min(int(across), 4), min(int(down), 3)
            shares = np.outer((top + 1 - down, down - top), (left + 1 - across, across - left))
            wanted = np.einsum("rc,rck->k", shares, features[b, top : top + 2, left : left + 2])
        outside += not wanted.any()
        assert found[b, y, x] == pytest.approx(wanted, abs=1e-5)
    assert 0 < outside < 16


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (9, "operator 'number 9' of version 1 is not known"),
        ("FancyOp", "operator 'FancyOp' of version 2 is not known"),
        ("Landmarks2TransformMatrix", "it is cut short or damaged"),
    ],
)
def test_an_operator_that_is_not_known_or_lacks_options_is_named(
    tmp_path: Path, kind: int | str, reason: str
) -> None:
    (tmp_path / "net.tflite").write_bytes(file([(1, 4), (1, 4)], [(kind, [0], 1, {})], [1]))
    with pytest.raises(NodeFailure, match=rf"cannot read net\.tflite: .*{reason}"):
        network(tmp_path / "net.tflite")


def relu(*shape: int, **changes: Any) -> bytes:
    return file([shape, shape], [(19, [0], 1, {})], [1], **changes)


def test_every_cut_of_a_file_is_refused() -> None:
    data = relu(1, 4, 4, 2)
    read(data)
    needed = (
        len(data) - 4
    )  # the last four bytes are the sides of the last tensor's options: a table without any
    for end in range(needed):
        with pytest.raises(UnfitWeights):
            Network(read(data[:end]))


@pytest.mark.parametrize(
    ("value", "long", "method"),
    [([1, 2, 3], [0] * 17, "ints"), (b"abc", bytes(9), "content"), ([{}, {}], [{}] * 4097, "tables")],
)
def test_a_list_ends_before_the_file_and_is_not_too_long(value: Any, long: Any, method: str) -> None:
    limit = {"most": 8} if method == "content" else {}
    data = bytearray()
    at = put(data, {0: value})
    assert len(getattr(Table(bytes(data), at), method)(0, **limit)) == len(value)
    with pytest.raises(UnfitWeights, match="cut short"):
        getattr(Table(bytes(data[: at + 14]), at), method)(0, **limit)  # two bytes of the list
    at = put(data, {0: long})
    with pytest.raises(UnfitWeights, match="over"):
        getattr(Table(bytes(data), at), method)(0, **limit)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\0\0\0\0TFL3", b"\xff\xff\xff\xffTFL3" + bytes(64), b"PK\3\4" + bytes(64),
        relu(1, 2**31 - 1, 2**31 - 1), relu(1, -5), relu(1, 0), relu(1 << 12, 1 << 12, 1 << 12),
        relu(1, 4).replace(struct.pack("<Iii", 2, 1, 4), struct.pack("<Iii", 2**32 - 1, 1, 4)),
        relu(1, 4, graph={1: [7]}), relu(1, 4, graph={2: [-3]}), relu(1, 4, graph={1: [], 2: []}),
        relu(1, 4, graph={1: [0, 0]}), file([(1, 4), (1, 5)], [(19, [0], 1, {})], [1]),
        file([(1, 4), (1, 4)], [(19, [5], 1, {})], [1]), file([(1, 4), (1, 4)], [(19, [1], 1, {})], [1]),
        file([(1, 4), (1, 4)], [(19, [0], 0, {})], [0]), file([(1, 4), (1, 4)], [(2, [0], 1, {0: 9})], [1]),
        file([(1, 4), np.array([[2**31 - 1] * 2] * 2, np.int32), (1, 4)], [(34, [0, 1], 2, {})], [2]),
        file([(1, 8, 8, 1), (1, 1, 1, 1)], [(POOL, [0], 1, {1: 2**31 - 1, 2: 1, 3: 1, 4: 1})], [1]),
        file([(1, 8, 8, 1), floats(1, 3, 3, 7), (1, 4, 4, 1)], [(CONV, [0, 1], 2, STEP)], [2]),
        file([(1, 8, 8, 1), floats(1, 3, 3, 1), (1, 8, 8, 1)], [(CONV, [0, 1, 0], 2, {1: 1, 2: 1})], [2]),
    ],
)  # fmt: skip
def test_nonsense_is_refused_without_memory_for_what_it_claims(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(UnfitWeights):
            Network(read(data))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def mutated(data: bytes, generator: random.Random) -> bytes:
    """A file with some bytes changed among its first or last, where its tables are, or cut."""
    if generator.random() < 0.1:
        return data[: generator.randrange(len(data))]
    changed = bytearray(data)
    for _ in range(generator.choice((1, 1, 2, 16))):
        place = generator.randrange(min(len(data), 40_000))
        changed[generator.choice((place, len(data) - 1 - place))] = generator.choice((0, 1, 127, 128, 255))
    return bytes(changed)


def refused(data: bytes, times: int) -> int:
    """How many mutations of a file are refused; the others run."""
    generator, count = random.Random(0), 0
    for _ in range(times):
        try:
            Network(read(mutated(data, generator)))
        except UnfitWeights:
            count += 1
    return count


def test_a_file_with_wrong_bytes_runs_or_is_refused() -> None:
    data = file(
        [(1, 6, 6, 3), floats(5, 3, 3, 3), floats(5), (1, 3, 3, 5), (1, 3, 3, 5), (1, 45)],
        [(CONV, [0, 1, 2], 3, STEP), (19, [3], 4, {}), (22, [4], 5, {})],
        [5],
    )
    assert refused(data, 1500) > 100


def test_options_with_wrong_bytes_are_read_or_refused() -> None:
    generator = random.Random(0)
    stored = b"output_height\0output_width\0\2\x1c\x0f\2\1\2\x10\x10\4\4\4$\1"
    for _ in range(3000):
        changed = bytearray(stored[generator.randrange(8) :])
        changed[generator.randrange(len(changed))] = generator.randrange(256)
        changed[-generator.randrange(1, 12)] = generator.randrange(256)
        try:
            options_of(bytes(changed))
        except UnfitWeights:
            continue


@pytest.mark.slow
@pytest.mark.parametrize("name", ["face_detection_short_range.tflite", "face_landmark_with_attention.tflite"])
def test_mediapipes_files_with_wrong_bytes_run_or_are_refused(name: str) -> None:
    assert refused(contents()[name], 200) > 20


@pytest.mark.slow
def test_a_batch_gives_what_each_alone_gives() -> None:
    mesh = Network(read(contents()["face_landmark_with_attention.tflite"]))
    with torch.inference_mode():
        x = torch.rand(3, 192, 192, 3)
        for together, *alone in zip(mesh(x), *(mesh(part) for part in x.split(1)), strict=True):
            assert torch.allclose(together, torch.cat(alone), atol=1e-2)
