"""Tensors from the files that people bring: safetensors, and pickles read without running their code."""

import json
import pickle
import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from engine.problems import NodeFailure

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
"""The shape of each tensor of a file, by key."""

_NOT_PICKLED = (
    pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError,
    OSError, struct.error, AssertionError, ArithmeticError, MemoryError,
)  # fmt: skip
"""What torch's unpickler raises on bytes that are no pickle."""


class _TrainingState:
    """Stands for what old training programs pickled beside the weights; it keeps nothing and does nothing."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


_HARMLESS: list[Any] = [
    (_TrainingState, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"),
    (np.core.multiarray.scalar, "numpy.core.multiarray.scalar"),  # type: ignore[attr-defined]
    np.dtype,
    np.dtypes.Float64DType,
]
"""What the first public Stable Diffusion checkpoints name beside plain tensors."""

SCALE = ".scale_weight"
"""Ends the key of the factor of a weight that is stored in 8 bits."""

_TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "I64": torch.int64, "I32": torch.int32,
    "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip

_WRAPPERS = ("state_dict", "params_ema", "params", "model", "string_to_param", "depth_model")


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a file; reads no weights where the format allows it.

    Raises:
        NodeFailure: The file is damaged, holds code, or is no weight file.
    """
    if not _is_safetensors(path):
        return {key: tuple(value.shape) for key, value in _unpickled(path).items()}
    with _safetensors(path) as file:
        return {key: tuple(file.get_slice(key).get_shape()) for key in list(file.keys())}


def tensors(path: Path, wanted: Callable[[str], bool] = lambda _: True) -> dict[str, Tensor]:
    """The tensors of a file whose key is wanted, on the host, in the type they are stored in.

    Raises:
        NodeFailure: The file is damaged, holds code, or is no weight file.
    """
    if not _is_safetensors(path):
        return {key: value for key, value in _unpickled(path).items() if wanted(key)}
    held = _read(path, lambda key: wanted(key) or (key.endswith(SCALE) and wanted(_scaled(key))))
    scales = {key: value for key, value in held.items() if key.endswith(SCALE)}
    return _unscaled(held, scales) if scales else held


def _read(path: Path, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    """Tensors of a safetensors file in memory of their own: a mapped file may change, and stays resident."""
    with _safetensors(path) as checked, path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header, held = json.loads(file.read(length)), {}
        for key in filter(wanted, checked.keys()):
            stored = header[key]
            begin, end = stored["data_offsets"]
            if (dtype := _TYPES.get(stored["dtype"])) is None:
                held[key] = checked.get_tensor(key)
                continue
            content = torch.empty(end - begin, dtype=torch.uint8)
            file.seek(8 + length + begin)
            file.readinto(content.numpy().data)
            held[key] = content.view(dtype).reshape(stored["shape"])
        return held


def _scaled(key: str) -> str:
    return key.removesuffix(SCALE) + ".weight"


def _unscaled(held: dict[str, Tensor], scales: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of 8 bits with a factor of their own, in float16; the factors are left out."""
    found = {key: value for key, value in held.items() if not key.endswith(SCALE)}
    for key, scale in scales.items():
        if (name := _scaled(key)) in found:
            found[name] = (found[name].float() * scale.float()).half()
    return found


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a model folder.

    Raises:
        NodeFailure: The file is missing or holds something else.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise NodeFailure(f"cannot read {path.name} in the model folder {path.parent}: {error}") from error
    if not isinstance(found, dict):
        raise NodeFailure(f"{path} holds no JSON object")
    return found


def _is_safetensors(path: Path) -> bool:
    return path.suffix.lower() in (".safetensors", ".sft")


@contextmanager
def _safetensors(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise NodeFailure(f"cannot read {path.name}: {error}", _what_to_do(path, error)) from error


def _unpickled(path: Path) -> dict[str, Tensor]:
    """The tensors of a pickle; weights_only refuses every global that is not a tensor's."""
    try:
        with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about pickle protocols; what matters fails below
            found = torch.load(path, map_location="cpu", weights_only=True)
    except _NOT_PICKLED as error:
        known = isinstance(error, pickle.UnpicklingError | RuntimeError)
        reason = str(error).partition("\n")[0].partition(". ")[0] if known else "it is no checkpoint"
        raise NodeFailure(f"cannot read {path.name}: {reason}", _what_to_do(path, error)) from error
    for wrapper in _WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
            break
    if not isinstance(found, dict):
        raise NodeFailure(f"{path.name} holds {type(found).__name__}, not named tensors")
    return {str(key): value for key, value in found.items() if isinstance(value, Tensor)}


def _what_to_do(path: Path, error: Exception) -> str:
    """What a file that cannot be read seems to be, and what may help."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError:
        return "check that the file may be read"
    if not start:
        return "the file is empty; download it again"
    if start.startswith(b"version https://git-lfs"):
        return "this is a Git LFS pointer, not the weights; fetch them with `git lfs pull`"
    if start.lstrip().startswith((b"<", b"{")) or (start.isascii() and start.decode().strip().isprintable()):
        return (
            f"it starts with the text {start[:40].decode('utf-8', 'replace')!r}; download the weights again"
        )
    if isinstance(error, pickle.UnpicklingError) and start.startswith((b"PK", b"\x80")):
        return "pickles are read only where they hold plain tensors; convert the file to .safetensors"
    return "the file is cut short or damaged; download it again"
