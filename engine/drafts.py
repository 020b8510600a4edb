"""Write files so that they are there whole or not at all: a synced draft, then its name."""

import os
import re
import socket
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

NUMBER = re.compile(r"(?<=_)(\d{1,18})_")
DRAFT = ".draft-"
"""How the names of drafts begin, before their machine and process; a server sweeps what a kill leaves."""
ABANDONED_S = 86_400.0
"""Age at which the draft of another machine, in a folder that both share, is nobody's any more."""
MACHINE = f"{zlib.crc32(socket.gethostname().encode()):08x}"
"""Tells the machines apart that write to one folder."""


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that after a crash it is there whole or as it was before.

    Raises:
        OSError: The folder cannot be written to; nothing is left behind.
    """
    make_folder(path.parent)
    written = draft(path.parent, path.suffix, content)
    try:
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder, and those that it is in, so that they survive power loss.

    Raises:
        OSError: It cannot be made.
    """
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive power loss."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class NameBook(Protocol):
    """Keeps the names of a job's outputs, so that a job that is begun again gives them the same names."""

    def reserved(self, sha256: str, folder: Path, stem: str) -> str | None:
        """The path that an earlier attempt reserved for this content in `folder`, its name beginning so."""
        ...

    def reserve(self, path: str, sha256: str) -> None:
        """Note, lastingly, that a file of this content will appear at this path."""
        ...


def create(path: str, content: bytes) -> None:
    """Write a new file that need not survive a power cut.

    Raises:
        FileExistsError: The name is taken; the file there stays as it is.
        OSError: It cannot be written; nothing is left behind.
    """
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)  # half the calls of `open`
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(fd, left) :]
    except BaseException:
        Path(path).unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


def draft(folder: Path, suffix: str, content: bytes | Callable[[Path], object], synced: bool = True) -> Path:
    """A file under a hidden name, to be linked or renamed to its lasting one.

    Args:
        synced: Whether its content survives a power cut from now on.

    Raises:
        OSError: It cannot be written; nothing is left behind.
    """
    fd, name = tempfile.mkstemp(prefix=f"{DRAFT}{MACHINE}-{os.getpid()}-", suffix=suffix, dir=folder)
    path = Path(name)
    try:
        if isinstance(content, bytes):
            with os.fdopen(fd, "wb") as file:
                file.write(content)
                file.flush()
                if synced:
                    os.fsync(file.fileno())
        else:
            os.close(fd)
            content(path)
            if synced:
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        path.chmod(0o644)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def last_numbers(folder: Path) -> dict[str, int]:
    """The highest number of the files `stem00001_…` of each stem in a folder, by the stem in lower case."""
    found: dict[str, int] = {}
    for path in folder.iterdir():
        for match in NUMBER.finditer(path.name):
            stem = path.name[: match.start()].lower()
            found[stem] = max(found.get(stem, 0), int(match[1]))
    return found


def sweep(folder: Path) -> int:
    """Remove the drafts that ended processes left in a folder and below; gives how many there were."""
    found = [p for p in folder.rglob(f"{DRAFT}*") if p.is_file() and not _is_being_written(p)]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def _is_being_written(path: Path) -> bool:
    """Whether the process that began a draft is there still, as far as can be seen from here."""
    machine, _, rest = path.name.removeprefix(DRAFT).partition("-")
    try:
        if machine != MACHINE:
            return time.time() - path.stat().st_mtime < ABANDONED_S
        os.kill(int(rest.partition("-")[0]), 0)
    except (ValueError, ProcessLookupError, FileNotFoundError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
