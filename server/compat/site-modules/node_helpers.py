"""Small things that packs' nodes do with conditionings and pictures."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from PIL import ImageFile, UnidentifiedImageError


def conditioning_set_values(
    conditioning: list[Any], values: Mapping[str, Any] | None = None, append: bool = False
) -> list[Any]:
    """A conditioning with options set on each of its entries; with `append`, lists are added to."""
    changed = []
    for embedding, options in conditioning:
        new = dict(options)
        for name, value in (values or {}).items():
            new[name] = new[name] + value if append and new.get(name) is not None else value
        changed.append([embedding, new])
    return changed


def pillow(fn: Callable[[Any], Any], arg: Any) -> Any:
    """Call a function of Pillow; a picture that is cut off is read as far as it goes."""
    try:
        return fn(arg)
    except (OSError, UnidentifiedImageError, ValueError):
        before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
        try:
            return fn(arg)
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before


def hasher() -> Callable[..., Any]:
    """The hash function that files are compared by."""
    return hashlib.sha256


def string_to_torch_dtype(string: str) -> torch.dtype | None:
    """A precision by its short name, or None."""
    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}.get(string)


def image_alpha_fix(destination: torch.Tensor, source: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two pictures [B, H, W, C] with equally many channels, alpha among them where both have it."""
    have, want = destination.shape[-1], source.shape[-1]
    if have < want:
        return destination, source[..., :have]
    if have > want:
        source = torch.nn.functional.pad(source, (0, have - want), value=1.0)
    return destination, source
