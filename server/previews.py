"""Previews of steps as small JPEG pictures, and the binary messages that carry them."""

import io
import json
import struct
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import PIL.Image

QUALITY = 95


@runtime_checkable
class Pictured(Protocol):
    """A preview that knows how to become a picture (a latent estimate)."""

    def picture(self) -> Any:
        """An array or tensor [H, W, 3] of bytes."""
        ...


def encoded(preview: Any, longest: int) -> bytes | None:
    """The preview as a JPEG file, its longest side at most so many pixels; None where it is no picture."""
    if isinstance(preview, bytes):
        return preview
    if isinstance(preview, tuple) and len(preview) == 3:  # (format, picture, longest side or None)
        _, preview, wanted = preview
        longest = min(longest, wanted or longest)
    if isinstance(preview, Pictured):
        pixels = preview.picture()
        preview = PIL.Image.fromarray(pixels.numpy() if hasattr(pixels, "numpy") else pixels)
    if not isinstance(preview, PIL.Image.Image):
        return None
    if max(preview.size) > longest:
        preview = preview.copy()
        preview.thumbnail((longest, longest), PIL.Image.Resampling.BILINEAR)
    file = io.BytesIO()
    preview.convert("RGB").save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def plain(jpeg: bytes) -> bytes:
    """The binary message without a description: event 1, picture type 1 (JPEG)."""
    return struct.pack(">II", 1, 1) + jpeg


def described(jpeg: bytes, data: Mapping[str, Any]) -> bytes:
    """The binary message with a description: event 4, its length, JSON, the picture."""
    text = json.dumps({**data, "image_type": "image/jpeg"}, separators=(",", ":")).encode()
    return struct.pack(">II", 4, len(text)) + text + jpeg
