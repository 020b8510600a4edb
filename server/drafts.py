"""Gives what clients sent its lasting name: whole or not at all, and not over another unless asked."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

from engine.drafts import draft, make_folder, sync_folder


def publish(source: Path | bytes, path: Path, *, overwrite: bool) -> None:
    """Name a finished file, or bytes; through a crash, the old file stands there or the new one.

    Raises:
        FileExistsError: The name is taken and shall not be overwritten.
        OSError: The folder cannot be written to; nothing is left behind.
    """
    make_folder(path.parent)
    if isinstance(source, bytes):
        written = draft(path.parent, path.suffix, source)
    else:  # a copy, as `source` may be on another disk
        written = draft(path.parent, path.suffix, lambda near: _linked(source, near))
    try:
        if overwrite:
            written.replace(path)
        else:
            os.link(written, path)
    finally:
        written.unlink(missing_ok=True)
    sync_folder(path.parent)


@contextmanager
def disk_answers() -> Iterator[None]:
    """Answer what the disk refuses: 400 where the name is at fault, 507 where the disk is."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
            raise web.HTTPBadRequest(text="a file stands where a folder is needed, or a folder") from error
        if error.errno == errno.ENAMETOOLONG:
            raise web.HTTPBadRequest(text="the name is too long") from error
        raise web.HTTPInsufficientStorage(text=f"it could not be written: {error.strerror}") from error


def _linked(source: Path, near: Path) -> None:
    """Put a file's content under another name: for nothing on the same disk, else by copying."""
    if source.stat().st_dev != near.stat().st_dev:
        shutil.copyfile(source, near)
        return
    near.unlink()
    os.link(source, near)
