"""Bytes in a folder, named by their content's blake3: written whole or not at all, checked when read."""

import contextlib
import logging
import os
import tempfile
import time
from collections.abc import Container, Iterator
from pathlib import Path

from blake3 import blake3

log = logging.getLogger(__name__)

DRAFT_SECONDS = 3600
"""A draft older than this was left by a crash."""


class Blobs:
    """A folder of blobs that many processes may share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def has(self, blob: str) -> bool:
        """Whether it is there; its content is not looked at."""
        return self._path(blob).is_file()

    def read(self, blob: str) -> bytes | None:
        """Its bytes, or None where they are not there or damaged."""
        try:
            data = self._path(blob).read_bytes()
        except OSError:
            return None
        if blake3(data).hexdigest() != blob:
            log.warning("a cached result is damaged and is computed again (blob %s)", blob[:12])
            return None
        return data

    def store(self, data: bytes) -> str:
        """Keep some bytes; returns their name.

        Raises:
            OSError: The folder cannot be written to; nothing is left behind.
        """
        blob = blake3(data).hexdigest()
        path = self._path(blob)
        if path.is_file() and path.stat().st_size == len(data):
            return blob
        path.parent.mkdir(parents=True, exist_ok=True)
        fd, draft = tempfile.mkstemp(prefix=".draft-", dir=path.parent)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(draft).replace(path)
        finally:
            Path(draft).unlink(missing_ok=True)
        return blob

    def remove(self, blob: str) -> None:
        """Remove it, if it is there and can be removed."""
        with contextlib.suppress(OSError):
            self._path(blob).unlink(missing_ok=True)

    def sweep(self, known: Container[str]) -> None:
        """Remove what is not known, and drafts left by a crash."""
        for path in list(self._strays(known)):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _strays(self, known: Container[str]) -> Iterator[Path]:
        for path in self._folder.glob("*/*"):
            if path.name.startswith(".draft-"):
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime < time.time() - DRAFT_SECONDS:
                        yield path
            elif path.name not in known:
                yield path

    def _path(self, blob: str) -> Path:
        return self._folder / blob[:2] / blob
