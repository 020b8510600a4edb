"""Values to bytes and back, by type: tensors as safetensors, the rest as JSON."""

import dataclasses
import json
from typing import Any

from engine.ports import STORED


class NotStorable(TypeError):
    """The value holds something without a codec (a model, a sampler); it is recomputed instead."""


def nbytes(value: Any) -> int:
    """Bytes that a value takes in memory: tensors at their size, everything else at a small flat rate."""
    total = 0
    stack = [value]
    while stack:
        v = stack.pop()
        size = getattr(v, "nbytes", None)
        if isinstance(size, int):
            total += size
        elif isinstance(v, str | bytes):
            total += len(v)
        elif isinstance(v, dict):
            stack += v.values()
        elif isinstance(v, list | tuple):
            stack += v
        elif dataclasses.is_dataclass(v) and type(v).__qualname__ and _path(type(v)) in STORED:
            stack += [getattr(v, f.name) for f in dataclasses.fields(v)]
        total += 64
    return total


def encode(value: Any) -> bytes:
    """A value as bytes; equal values give equal bytes.

    Raises:
        NotStorable: Something in it has no codec.
    """
    tensors: dict[str, Any] = {}
    text = json.dumps(_plain(value, tensors), separators=(",", ":"), sort_keys=True)
    if not tensors:
        return text.encode()
    from safetensors.torch import save

    return bytes(save(tensors, {"value": text}))


def decode(data: bytes) -> Any:
    """The value that `encode` made these bytes of.

    Raises:
        ValueError: The bytes are no encoded value.
    """
    if data[:1] in (b"{", b"[", b'"') or len(data) < 9:
        return _value(json.loads(data), {})
    from safetensors.torch import load

    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    return _value(json.loads(header["__metadata__"]["value"]), load(data))


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _plain(value: Any, tensors: dict[str, Any]) -> Any:
    """JSON for a value; tensors are put aside by name."""
    if value is None or isinstance(value, bool | int | float | str):
        return {"v": value}
    if isinstance(value, list | tuple):
        return {"t" if isinstance(value, tuple) else "l": [_plain(v, tensors) for v in value]}
    if isinstance(value, dict) and all(isinstance(k, str) for k in value):
        return {"d": {k: _plain(v, tensors) for k, v in value.items()}}
    if _path(type(value)) in STORED:
        fields = {f.name: _plain(getattr(value, f.name), tensors) for f in dataclasses.fields(value)}
        return {"c": _path(type(value)), "f": fields}
    if type(value).__module__ == "torch" and type(value).__name__ == "Tensor":
        name = f"t{len(tensors)}"
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"x": name}
    raise NotStorable(f"{type(value).__name__} has no codec")


def _value(plain: Any, tensors: dict[str, Any]) -> Any:
    match plain:
        case {"v": value}:
            return value
        case {"l": items}:
            return [_value(v, tensors) for v in items]
        case {"t": items}:
            return tuple(_value(v, tensors) for v in items)
        case {"d": items}:
            return {k: _value(v, tensors) for k, v in items.items()}
        case {"x": name}:
            return tensors[name]
        case {"c": path, "f": fields} if path in STORED:
            return STORED[path](**{k: _value(v, tensors) for k, v in fields.items()})
    raise ValueError(f"not an encoded value: {plain!r:.80}")
