"""Write files so that they are there whole or not at all: a synced draft, then its name."""

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

DRAFT = ".draft-"
"""How the names of drafts begin; what a kill leaves of them is swept when a server starts."""


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that after a crash it is there whole or as it was before.

    Raises:
        OSError: The folder cannot be written to; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    written = draft(path.parent, path.suffix, content)
    try:
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive power loss."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def draft(folder: Path, suffix: str, content: bytes | Callable[[Path], object]) -> Path:
    """A synced file under a hidden name, to be linked or renamed to its lasting one.

    Raises:
        OSError: It cannot be written; nothing is left behind.
    """
    fd, name = tempfile.mkstemp(prefix=DRAFT, suffix=suffix, dir=folder)
    path = Path(name)
    try:
        if isinstance(content, bytes):
            with os.fdopen(fd, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        else:
            os.close(fd)
            content(path)
            with path.open("rb") as file:
                os.fsync(file.fileno())
        path.chmod(0o644)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def last_number(folder: Path, stem: str) -> int:
    """The highest number among the files of a stem, 0 where there is none."""
    pattern = re.compile(re.escape(stem) + r"(\d+)_.*", re.IGNORECASE)
    return max((int(m[1]) for p in folder.iterdir() if (m := pattern.fullmatch(p.name))), default=0)


def sweep(folder: Path) -> int:
    """Remove the drafts that ended processes left in a folder and below; gives how many there were."""
    found = [p for p in folder.rglob(f"{DRAFT}*") if p.is_file()]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)
