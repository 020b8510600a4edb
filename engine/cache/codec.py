"""Values to bytes and back, by type: tensors as safetensors, the rest as JSON; and digests of them."""

import dataclasses
import json
import sys
from typing import Any

from blake3 import blake3

from engine.ports import STORED

PLAIN = (type(None), bool, int, float, str)


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
        RecursionError: It is nested too deeply.
    """
    tensors: dict[str, Any] = {}
    text = json.dumps(_plain(value, tensors), separators=(",", ":"), sort_keys=True)
    if not tensors:
        return text.encode()
    from safetensors.torch import save

    try:
        copies = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
        return bytes(save(copies, {"value": text}))
    except (KeyError, ValueError, RuntimeError) as error:  # a type or a layout that the format does not have
        raise NotStorable(str(error)) from error


def digest(value: Any) -> str | None:
    """What tells values apart to the bit: blake3 over the plain part and each tensor's type, shape and bytes.

    Returns:
        32 hex digits; None for a value without a codec.
    """
    tensors: dict[str, Any] = {}
    try:
        hashed = blake3(repr(_plain(value, tensors)).encode())  # a sixth of the time of JSON
        for tensor in tensors.values():
            raw = tensor.detach().cpu().contiguous().reshape(-1).view(sys.modules["torch"].uint8)
            hashed.update(f"{tensor.dtype} {list(tensor.shape)}".encode())
            hashed.update(raw.numpy())
    except (NotStorable, RecursionError, RuntimeError, TypeError):
        return None
    return hashed.hexdigest(16)


def decode(data: bytes) -> Any:
    """The value that `encode` made these bytes of.

    Raises:
        ValueError: The bytes are no encoded value.
    """
    if data[:1] == b"{":  # a safetensors file begins with a multiple of 8
        return _value(json.loads(data), {})
    from safetensors.torch import load

    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    return _value(json.loads(header["__metadata__"]["value"]), load(data))


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _plain(value: Any, tensors: dict[str, Any]) -> Any:
    """JSON for a value; tensors are put aside by name."""
    if type(value) in PLAIN:  # exactly: an enum or a named tuple would come back as something else
        return {"v": value}
    if type(value) in (list, tuple):
        return {"t" if isinstance(value, tuple) else "l": [_plain(v, tensors) for v in value]}
    if type(value) is dict and all(type(k) is str for k in value):
        return {"m": [[k, _plain(v, tensors)] for k, v in value.items()]}
    if _path(type(value)) in STORED:
        fields = {f.name: _plain(getattr(value, f.name), tensors) for f in dataclasses.fields(value)}
        return {"c": _path(type(value)), "f": fields}
    if type(value).__module__ == "torch" and type(value).__name__ == "Tensor":
        name = f"t{len(tensors)}"
        if value.layout != sys.modules["torch"].strided:
            raise NotStorable(f"a tensor with the layout {value.layout} has no codec")
        tensors[name] = value
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
        case {"m": items}:
            return {k: _value(v, tensors) for k, v in items}
        case {"x": name}:
            return tensors[name]
        case {"c": path, "f": fields} if path in STORED:
            return STORED[path](**{k: _value(v, tensors) for k, v in fields.items()})
    raise ValueError(f"not an encoded value: {plain!r:.80}")
