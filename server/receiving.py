"""Files on their way in: parts of forms, written and hashed as they come, never whole in memory."""

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError
from blake3 import blake3

from engine.drafts import draft, make_folder
from server.wire import Refused

MOST_PARTS = 1_000
CHUNK = 2**18
_BROKEN = (
    ValueError,
    LookupError,
    RuntimeError,
    AssertionError,
    HttpProcessingError,
    web.RequestPayloadError,
)


@dataclass(frozen=True)
class Received:
    """A file that was received whole and has no name yet."""

    path: Path
    hash: str
    size: int
    name: str = ""
    content_type: str = ""

    def discard(self) -> None:
        """Remove it; under a name that it got by now it stays."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


class Receiving:
    """A file that is being received. Blocking.

    Raises:
        OSError: The folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        self._path = draft(folder, "", b"", synced=False)
        self._file = self._path.open("wb")
        self._hash = blake3()
        self.size = 0

    def write(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._file.write(chunk)
        self._hash.update(chunk)
        self.size += len(chunk)

    def end(self, name: str = "", content_type: str = "") -> Received:
        """All is there: on disk, synced."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return Received(self._path, f"blake3:{self._hash.hexdigest()}", self.size, name, content_type)

    def abandon(self) -> None:
        """Remove what came; nothing where it has ended."""
        if not self._file.closed:
            self._file.close()
            self._path.unlink(missing_ok=True)


@dataclass
class Form:
    """The parts of a form, by name: texts, all of each name, and files."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, Received] = field(default_factory=dict)

    def text(self, name: str, default: str = "") -> str:
        """The first text of a name."""
        return self.fields.get(name, [default])[0]


@asynccontextmanager
async def read_form(
    request: web.Request, folder: Path, megabytes: float, text_mb: float, texts: tuple[str, ...] = ()
) -> AsyncIterator[Form]:
    """The parts of a multipart body; files that are left when the block ends are removed.

    Args:
        folder: Where files are received.
        megabytes: Most of all files together.
        text_mb: Most of all texts together.
        texts: Parts that are texts even where they come as files.

    Raises:
        Refused: 400, it is damaged or has too many parts; 413, it is too large; 507, the disk is full.
    """
    form = Form()
    try:
        try:
            await _read(request, form, folder, (megabytes, text_mb), texts)
        except _BROKEN as error:
            raise Refused(400, "invalid_form", f"the form is damaged: {error}") from error
        except OSError as error:
            text = f"the file could not be written: {error.strerror}; free some space"
            raise Refused(507, "storage_full", text) from error
        yield form
    finally:
        for received in form.files.values():
            received.discard()


async def _read(
    request: web.Request, form: Form, folder: Path, limits: tuple[float, float], texts: tuple[str, ...]
) -> None:
    left = [int(limit * 2**20) for limit in limits]
    reader = await request.multipart()
    for count in itertools.count(1):
        part = await reader.next()
        if part is None:
            return
        if count > MOST_PARTS or not isinstance(part, BodyPartReader):
            raise Refused(400, "invalid_form", f"at most {MOST_PARTS:,} plain parts are taken")
        name = part.name or ""
        if part.filename is None or name in texts:
            text = bytearray()
            while chunk := await part.read_chunk(CHUNK):
                left[1] -= len(chunk)
                _check(left[1], limits[1], "texts")
                text += chunk
            form.fields.setdefault(name, []).append(text.decode())
        elif name in form.files:
            raise Refused(400, "invalid_form", f"two files are called {name!r}")
        else:
            form.files[name] = received = await _file(part, folder, left[0], limits[0])
            left[0] -= received.size


async def _file(part: BodyPartReader, folder: Path, most: int, limit: float) -> Received:
    receiving = await asyncio.to_thread(Receiving, folder)
    try:
        while chunk := await part.read_chunk(CHUNK):
            _check(most - receiving.size - len(chunk), limit, "files")
            await asyncio.to_thread(receiving.write, bytes(chunk))
        kind = part.headers.get("Content-Type", "")
        return await asyncio.to_thread(receiving.end, part.filename or "", kind)
    finally:
        receiving.abandon()


def _check(left: int, limit: float, what: str) -> None:
    if left < 0:
        raise Refused(413, "too_large", f"the {what} of the form are larger than {limit:g} MB together")
