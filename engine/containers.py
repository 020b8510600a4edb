"""Where files other than JSON carry a workflow: PNG text chunks, WebP EXIF, the header of a saved latent."""

import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Format = Literal["api", "ui", "png", "webp", "latent"]
MAX_TEXT = 64 * 1024 * 1024
EXIF_TEXTS = range(0x0100, 0x0111)
"""EXIF tags that hold `key:json`: 0x0110 the prompt, 0x010F the workflow, downward from there."""


@dataclass(frozen=True)
class Carried:
    """The texts that a file carries beside its picture or tensors, by name ("prompt", "workflow")."""

    format: Format
    texts: Mapping[str, str]


def carried(data: bytes) -> Carried | None:
    """The texts of a PNG, WebP or safetensors file; None for any other; what is damaged is left out."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return Carried("png", dict(_png_texts(data)))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return Carried("webp", dict(_webp_texts(data)))
    header = _safetensors_header(data)
    if header is None:
        return None
    metadata = header.get("__metadata__")
    return Carried("latent", metadata if isinstance(metadata, dict) else {})


def _png_texts(data: bytes) -> Iterator[tuple[str, str]]:
    """The chunks tEXt, zTXt and iTXt (PNG specification, section 11.3.3)."""
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length
        key, _, rest = body.partition(b"\0")
        name = key.decode("latin-1")
        if kind in (b"tEXt", b"comf"):  # the second where an animation carries them
            yield name, rest.decode("latin-1")
        elif kind == b"zTXt":
            yield name, _inflated(rest[1:]).decode("latin-1")
        elif kind == b"iTXt" and len(rest) > 2:
            text = rest[2:].split(b"\0", 2)[-1]
            yield name, (_inflated(text) if rest[0] else text).decode("utf-8", "replace")


def _webp_texts(data: bytes) -> Iterator[tuple[str, str]]:
    """The texts in the EXIF chunk of a RIFF file."""
    at = 12
    while at + 8 <= len(data):
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if kind == b"EXIF":
            for text in _exif_texts(data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0")):
                key, colon, value = text.partition(":")
                if colon:
                    yield key, value
        at += 8 + length + length % 2


def _exif_texts(data: bytes) -> Iterator[str]:
    """The ASCII fields of the first TIFF directory (TIFF 6.0, section 2)."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None or len(data) < 8:
        return
    (start,) = struct.unpack(f"{order}I", data[4:8])
    if start + 2 > len(data):
        return
    (count,) = struct.unpack(f"{order}H", data[start : start + 2])
    for i in range(count):
        entry = data[start + 2 + 12 * i : start + 14 + 12 * i]
        if len(entry) < 12:
            return
        tag, kind, size, value = struct.unpack(f"{order}HHII", entry)
        if kind == 2 and tag in EXIF_TEXTS:
            raw = entry[8 : 8 + size] if size <= 4 else data[value : value + size]
            yield raw.rstrip(b"\0").decode("utf-8", "replace")


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, MAX_TEXT)
    except zlib.error:
        return b""


def _safetensors_header(data: bytes) -> dict[str, Any] | None:
    if len(data) < 10 or data[8:9] != b"{":
        return None
    length = int.from_bytes(data[:8], "little")
    if length > len(data) - 8:
        return None
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError):
        return None
    return header if isinstance(header, dict) else None
