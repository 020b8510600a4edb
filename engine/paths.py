"""Paths of files that workflows and clients name: never outside of their folder."""

import contextlib
import os
import stat
import time
from pathlib import Path

from engine.problems import NodeFailure

KNOWN_S = 1.0
"""Seconds for which a folder is taken to be where it was found; every job asks for it."""
_RESOLVED: dict[str, tuple[Path, float]] = {}


def inside(folder: Path, name: str, follow: bool = True, root: Path | None = None) -> Path:
    """The path of `name` under `folder`.

    Args:
        follow: Whether a symbolic link may not lead out either; people link model files from elsewhere.
        root: The folder with its links followed, where that is known.

    Raises:
        NodeFailure: It leads out of the folder.
    """
    base = str(root or folder.resolve())
    try:  # in texts: pathlib takes several times as long, and every output passes here
        if "\0" in name:  # some versions of `normpath` end there
            raise ValueError
        path = os.path.normpath(f"{base}{os.sep}{name}" if not name.startswith(os.sep) else name)
        if follow and (".." in name or _leads_on(path, base)):
            path = str((Path(base) / name).resolve())
        os.fsencode(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise NodeFailure(f"{name!r} is no usable file name") from error
    if path != base and not path.startswith(base.rstrip(os.sep) + os.sep):
        raise NodeFailure(f"{name!r} leads out of {folder}", "use a name inside the folder")
    return Path(path)


def _leads_on(path: str, root: str) -> bool:
    """Whether anything on the way from a folder to a path in it is a symbolic link."""
    while len(path) > len(root):
        with contextlib.suppress(OSError):  # there is nothing
            if stat.S_ISLNK(os.lstat(path).st_mode):
                return True
        path = os.path.split(path)[0]
    return False


def resolved(folder: Path) -> Path:
    """A folder with its links followed, as it was `KNOWN_S` ago at most."""
    here = str(folder)
    if not here.startswith(os.sep):  # the working directory may be another
        here = str(folder.absolute())
    known, found = _RESOLVED.get(here, (folder, 0.0))
    if (now := time.monotonic()) - found > KNOWN_S or not found:
        known = folder.resolve()
        _RESOLVED[here] = known, now
    return known
