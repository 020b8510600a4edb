"""Tensor and weight functions that packs use, and the progress bar."""

import functools
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from comfy.pictures import (
    bislerp,
    common_upscale,
    get_tiled_scale_steps,
    lanczos,
    tiled_scale,
    tiled_scale_multidim,
)
from comfy.progress_bar import (
    PROGRESS_BAR_ENABLED,
    ProgressBar,
    set_progress_bar_enabled,
    set_progress_bar_global_hook,
)

__all__ = [
    "PROGRESS_BAR_ENABLED",
    "ProgressBar",
    "bislerp",
    "common_upscale",
    "get_tiled_scale_steps",
    "lanczos",
    "set_progress_bar_enabled",
    "set_progress_bar_global_hook",
    "tiled_scale",
    "tiled_scale_multidim",
]

PROGRESS_BAR_HOOK = None
StateDict = dict[str, Tensor]


def load_torch_file(
    ckpt: str, safe_load: bool = False, device: Any = None, return_metadata: bool = False
) -> Any:
    """The weights of a file; a pickle is read without running what it may hold."""
    del safe_load
    where = str(device or "cpu")
    metadata = None
    if str(ckpt).lower().endswith((".safetensors", ".sft")):
        weights: Any = load_file(ckpt, device=where)
    else:
        weights = torch.load(ckpt, map_location=where, weights_only=True)
        weights = weights.get("state_dict", weights) if isinstance(weights, dict) else weights
    return (weights, metadata) if return_metadata else weights


def save_torch_file(sd: StateDict, ckpt: str, metadata: dict[str, str] | None = None) -> None:
    """Write weights as a safetensors file."""
    save_file(sd, ckpt, metadata=metadata)


def safetensors_header(safetensors_path: str, max_size: int = 100 * 2**20) -> bytes | None:
    """The header of a safetensors file, or None where it is larger than `max_size`."""
    with Path(safetensors_path).open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return file.read(length) if length <= max_size else None


def calculate_parameters(sd: Mapping[str, Tensor], prefix: str = "") -> int:
    """How many numbers the weights with this prefix hold."""
    return sum(t.nelement() for name, t in sd.items() if name.startswith(prefix))


def weight_dtype(sd: Mapping[str, Tensor], prefix: str = "") -> torch.dtype | None:
    """The precision of most of the weights with this prefix."""
    sizes: dict[torch.dtype, int] = {}
    for name, t in sd.items():
        if name.startswith(prefix):
            sizes[t.dtype] = sizes.get(t.dtype, 0) + t.nelement()
    return max(sizes, key=lambda d: sizes[d]) if sizes else None


def state_dict_key_replace(state_dict: StateDict, keys_to_replace: Mapping[str, str]) -> StateDict:
    """Rename weights in place."""
    for old, new in keys_to_replace.items():
        if old in state_dict:
            state_dict[new] = state_dict.pop(old)
    return state_dict


def state_dict_prefix_replace(
    state_dict: StateDict, replace_prefix: Mapping[str, str], filter_keys: bool = False
) -> StateDict:
    """Give weights another prefix; with `filter_keys` only those are returned."""
    into: StateDict = {} if filter_keys else state_dict
    for old, new in replace_prefix.items():
        for name in [n for n in state_dict if n.startswith(old)]:
            into[new + name.removeprefix(old)] = state_dict.pop(name)
    return into


def repeat_to_batch_size(tensor: Tensor, batch_size: int, dim: int = 0) -> Tensor:
    """The tensor with as many items as asked for: repeated from its start, or cut."""
    have = tensor.shape[dim]
    if have > batch_size:
        return tensor.narrow(dim, 0, batch_size)
    repeats = [1] * tensor.dim()
    repeats[dim] = -(-batch_size // have)
    return tensor.repeat(repeats).narrow(dim, 0, batch_size)


def set_attr(obj: Any, attr: str, value: Any) -> Any:
    """Set an attribute by its dotted path; returns what was there."""
    *path, last = attr.split(".")
    owner = functools.reduce(getattr, path, obj)
    before = getattr(owner, last)
    setattr(owner, last, value)
    return before


def set_attr_param(obj: Any, attr: str, value: Tensor) -> Any:
    """Set a parameter by its dotted path; returns what was there."""
    return set_attr(obj, attr, torch.nn.Parameter(value, requires_grad=False))


def copy_to_param(obj: Any, attr: str, value: Tensor) -> None:
    """Copy numbers into a parameter by its dotted path."""
    get_attr(obj, attr).data.copy_(value)


def get_attr(obj: Any, attr: str) -> Any:
    """The attribute at a dotted path."""
    return functools.reduce(getattr, attr.split("."), obj)


def resize_list_to_batch_size(values: list[Any], batch_size: int) -> list[Any]:
    """A list with as many items as asked for, spread evenly over the old ones."""
    if not values or len(values) == batch_size:
        return values
    step = len(values) / batch_size
    return [values[min(int(i * step), len(values) - 1)] for i in range(batch_size)]


def resize_to_batch_size(tensor: Tensor, batch_size: int) -> Tensor:
    """A tensor with as many items as asked for, spread evenly over the old ones."""
    return torch.stack(resize_list_to_batch_size(list(tensor), batch_size))


def reshape_mask(input_mask: Tensor, output_shape: Iterable[int]) -> Tensor:
    """A mask at the size of an output of shape [B, C, H, W], with its channels and its batch."""
    batch, channels, height, width = output_shape
    mask = input_mask.reshape((-1, 1, *input_mask.shape[-2:]))
    mask = torch.nn.functional.interpolate(mask, size=(height, width), mode="bilinear")
    return repeat_to_batch_size(mask.expand(-1, channels, -1, -1), batch)


def string_to_seed(data: str) -> int:
    """A number that a text always gives."""
    return int.from_bytes(hashlib.sha256(data.encode()).digest()[:4], "little")
