"""Files served so that a browser shows pictures, sound and text, and never runs or renders anything else."""

import mimetypes
import os
from pathlib import Path

from aiohttp import web

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
}
_SHOWN = ("image/", "video/", "audio/", "model/", "text/plain", "text/csv", "application/json")
_NAMES = mimetypes.MimeTypes()  # Python's own list: not what this machine's files say
for _kind in ("image/webp", "image/avif", "image/jxl", "audio/flac", "audio/ogg", "video/x-matroska"):
    _NAMES.add_type(_kind, "." + {"x-matroska": "mkv"}.get(_kind[6:], _kind[6:]))
_NAMES.add_type("model/gltf-binary", ".glb")


class _Exact(web.FileResponse):
    """The file itself, never a compressed one that stands beside it: clients can upload `u.png.gz`."""

    def _get_file_path_stat_encoding(
        self, accept_encoding: str
    ) -> tuple[Path | None, os.stat_result, str | None]:
        del accept_encoding
        return super()._get_file_path_stat_encoding("")


def inert_file(path: Path, name: str) -> web.FileResponse:
    """A file under a name; what a browser could run (html, js, svg, xml, css …) is a download of bytes."""
    kind = media_type(name)
    shown = kind.startswith(_SHOWN) and kind != "image/svg+xml"
    headers = {
        **HEADERS,
        "Content-Type": kind if shown else "application/octet-stream",
        "Content-Disposition": named(name) if shown else f"attachment; {named(name)}",
    }
    return _Exact(path, headers=headers)


def media_type(name: str) -> str:
    """What the end of a file name says that it holds, "" for the unknown."""
    kind, compression = _NAMES.guess_type(name, strict=False)
    return "" if compression else kind or ""


def inert_bytes(body: bytes, kind: str, name: str) -> web.Response:
    """A picture that was made here, under a name."""
    return web.Response(body=body, content_type=kind, headers={**HEADERS, "Content-Disposition": named(name)})


def named(name: str) -> str:
    """The part of Content-Disposition that names the file."""
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'filename="{quoted}"'
