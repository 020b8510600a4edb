"""Previews of steps as small JPEG pictures, and the binary messages that carry them."""

import io
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import PIL.Image

QUALITY = 95


@runtime_checkable
class Pictured(Protocol):
    """A preview that knows how to become a picture (a latent estimate)."""

    def picture(self) -> Any:
        """An array or tensor [H, W, 3] of bytes."""
        ...


@dataclass(frozen=True)
class Picture:
    """An encoded picture; `kind` is "jpeg" or "png"."""

    kind: str
    data: bytes


def encoded(preview: Any, longest: int) -> Picture | None:
    """The preview as a small picture, its longest side at most so many pixels; None where it is none.

    Args:
        preview: A `Pictured`, a PIL picture, or (format, PIL picture, longest side or None) as packs give it:
            those are what the pack shows, in its own size where it says None.
    """
    kind = "jpeg"
    if isinstance(preview, Picture):
        return preview
    if isinstance(preview, tuple) and len(preview) == 3:
        named, preview, wanted = preview
        kind, longest = ("png" if str(named).upper() == "PNG" else "jpeg"), wanted or 2**16
    if isinstance(preview, Pictured):
        pixels = preview.picture()
        preview = PIL.Image.fromarray(pixels.numpy() if hasattr(pixels, "numpy") else pixels)
    if not isinstance(preview, PIL.Image.Image):
        return None
    if max(preview.size) > longest:
        preview = preview.copy()
        preview.thumbnail((longest, longest), PIL.Image.Resampling.BILINEAR)
    file = io.BytesIO()
    if kind == "png":
        preview.save(file, "PNG", compress_level=1)
    else:
        preview.convert("RGB").save(file, "JPEG", quality=QUALITY)
    return Picture(kind, file.getvalue())


def plain(picture: Picture) -> bytes:
    """The binary message without a description: event 1, the kind (1 JPEG, 2 PNG), the picture."""
    return struct.pack(">II", 1, 2 if picture.kind == "png" else 1) + picture.data


def described(picture: Picture, data: Mapping[str, Any]) -> bytes:
    """The binary message with a description: event 4, its length, JSON, the picture."""
    facts = {**data, "image_type": f"image/{picture.kind}"}
    text = json.dumps(facts, separators=(",", ":")).encode()
    return struct.pack(">II", 4, len(text)) + text + picture.data


def from_pack(event: int, data: Any, longest: int) -> bytes | None:
    """The binary message of what a pack sends under an event number; None where it cannot be sent."""
    if isinstance(data, bytes | bytearray):
        return struct.pack(">I", event) + bytes(data)
    picture = encoded(data, longest)
    return plain(picture) if picture else None
