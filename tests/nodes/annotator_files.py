"""Random weight files for preprocessors, in the ecosystem's layout, and the pictures they are tried on."""

import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
from torch import Tensor, nn

from engine.devices import Devices
from engine.files import Files
from engine.node import Node
from engine.ports import Shown
from engine.steps import run_alone
from nodes.annotators.weights import quiet

Pixels = npt.NDArray[np.uint8]
INPUT = Path(__file__).parents[2] / "nodes" / "storybook" / "input"
OWNER = "lllyasviel/Annotators"


def picture(name: str, height: int, width: int) -> Pixels:
    """A part of a picture that comes with the program."""
    with PIL.Image.open(INPUT / name) as opened:
        return np.asarray(opened.convert("RGB"))[20 : 20 + height, 30 : 30 + width]


def image(*pictures: Pixels) -> Tensor:
    """Pictures as a node takes them; each byte comes back as it was."""
    return torch.stack([torch.from_numpy((p.astype(np.float32) + 0.25) / 255.0) for p in pictures])


def pixels(made: Tensor) -> Pixels:
    """A node's pictures as bytes."""
    return (made * 255.0).round().numpy().astype(np.uint8)


def annotators(base: Path, repo: str = OWNER) -> Path:
    """Where weights of a hub repository lie under a base folder."""
    folder = base / "models" / "controlnet_aux" / repo
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def made(node: Node[..., Any], base: Path, **inputs: Any) -> Any:
    """What a node with networks makes with the weights under a base folder."""
    with torch.inference_mode():
        found = run_alone(node(**inputs, files=Files.under(base), devices=Devices("cpu")))
    return found.value if isinstance(found, Shown) else found


def network(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A network with random weights whose answers vary with the picture."""
    generator = torch.Generator().manual_seed(seed)
    with quiet(), torch.no_grad():
        built = build()
        for name, value in built.named_parameters():
            if value.ndim > 1:
                value.copy_(torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5)
            elif "bias" in name:
                value.copy_(torch.randn(value.shape, generator=generator) * 0.1)
    return built


def save(path: Path, held: Mapping[str, Any]) -> None:
    """Write a checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(held, path)


def onnx(path: Path, seen: tuple[int, int], branches: list[tuple[int, int, int]], joined: bool) -> None:
    """An ONNX network of convolutions without overlap, one for each branch (channels, height, width).

    Args:
        seen: Height and width of its input.
        joined: Whether the branches give one output [1, cells, channels], not one each [1, channels, cells].
    """
    random = np.random.default_rng(0)
    nodes, weights, names = [], [], []
    for i, (channels, height, width) in enumerate(branches):
        kernel = random.normal(size=(channels, 3, height, width)) / (3 * height * width) ** 0.5
        if joined:  # it sees bytes; few things are found: where the picture changes
            kernel /= 128
            kernel[4:6] -= kernel[4:6].mean(axis=(1, 2, 3), keepdims=True)
        weights += [
            _tensor(f"k{i}", kernel.astype(np.float32)),
            _tensor(f"s{i}", np.array([1, channels, -1])),
        ]
        sides = {"kernel_shape": (height, width), "strides": (height, width)}
        nodes += [
            _node("Conv", ("x", f"k{i}"), f"c{i}", sides),
            _node("Reshape", (f"c{i}", f"s{i}"), f"y{i}", {}),
        ]
        names.append(f"y{i}")
    if joined:
        nodes += [
            _node("Concat", names, "all", {"axis": 2}),
            _node("Transpose", ("all",), "y", {"perm": (0, 2, 1)}),
        ]
        names = ["y"]
    shape = b"".join(_field(1, _field(1, n)) for n in (1, 3, *seen))
    graph = b"".join(_field(1, n) for n in nodes) + _field(2, b"g") + b"".join(_field(5, w) for w in weights)
    graph += _field(11, _value("x", shape))
    graph += b"".join(_field(12, _value(n, b"")) for n in names)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_field(1, 7) + _field(7, graph) + _field(8, _field(1, b"") + _field(2, 13)))


def _field(number: int, value: bytes | int) -> bytes:
    """A field of a protocol buffer."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    value &= 2**64 - 1
    found = b""
    while value > 127:
        found, value = found + struct.pack("B", value & 127 | 128), value >> 7
    return found + struct.pack("B", value)


def _tensor(name: str, value: npt.NDArray[Any]) -> bytes:
    dims = b"".join(_field(1, n) for n in value.shape)
    return (
        dims
        + _field(2, 1 if value.dtype == np.float32 else 7)
        + _field(8, name.encode())
        + _field(9, value.tobytes())
    )


def _value(name: str, shape: bytes) -> bytes:
    return _field(1, name.encode()) + _field(2, _field(1, _field(1, 1) + _field(2, shape)))


def _node(
    kind: str, inputs: Iterable[str], output: str, options: Mapping[str, int | tuple[int, ...]]
) -> bytes:
    held = (
        b"".join(_field(1, name.encode()) for name in inputs)
        + _field(2, output.encode())
        + _field(4, kind.encode())
    )
    for name, value in options.items():
        ints = (
            _field(3, value) + _field(20, 2)
            if isinstance(value, int)
            else (b"".join(_field(8, n) for n in value) + _field(20, 7))
        )
        held += _field(5, _field(1, name.encode()) + ints)
    return held
