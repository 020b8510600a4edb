"""What the editor keeps for its user, under `user/default`: settings, saved workflows, other files."""

import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from engine.drafts import DRAFT, make_folder, sync_folder, write_whole
from server.drafts import publish
from server.paths import Refused, path_in

log = logging.getLogger(__name__)

USER = "default"
MOST_SETTINGS = 4 * 2**20
"""Bytes that all settings may take as JSON."""
_SETTINGS = "comfy.settings.json"
_LOCK = threading.Lock()
"""Settings are read, changed and written by one request at a time."""


class TooMuch(Exception):
    """Settings that take more than they may."""


@dataclass(frozen=True)
class UserData:
    """The files of the user.

    Args:
        root: Their folder; made when something is written.
    """

    root: Path

    @classmethod
    def under(cls, base: Path) -> "UserData":
        """The user's files in a base directory."""
        return cls(base / "user" / USER)

    def settings(self) -> dict[str, Any]:
        """All settings; none where the file is missing or damaged."""
        try:
            found = json.loads((self.root / _SETTINGS).read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            log.warning("the settings cannot be read: %s", error)
            return {}
        return found if isinstance(found, dict) else {}

    def change_settings(self, changes: Mapping[str, Any]) -> None:
        """Set some settings; a damaged file is moved aside, not overwritten.

        Raises:
            TooMuch: They would take more than `MOST_SETTINGS` bytes, or are nested too deeply.
            OSError: They cannot be written.
        """
        with _LOCK:
            path = self.root / _SETTINGS
            known = self.settings()
            if not known and path.is_file() and path.stat().st_size > 2:
                path.rename(path.with_name(f"{_SETTINGS}.damaged-{time.strftime('%Y%m%d-%H%M%S')}"))
            try:
                text = json.dumps({**known, **changes}, indent=4, allow_nan=False).encode()
            except (RecursionError, ValueError) as error:
                raise TooMuch("settings nested too deeply, or numbers that JSON has not") from error
            if len(text) > MOST_SETTINGS:
                raise TooMuch(f"the settings would have {len(text):,} bytes; {MOST_SETTINGS:,} are allowed")
            write_whole(path, text)

    def path(self, name: str) -> Path:
        """The path of a file or folder by its name, which may be percent-encoded once more.

        Raises:
            Refused: It leads out of the user's folder.
        """
        try:
            return path_in(self.root, unquote(name, errors="strict"))
        except UnicodeDecodeError as error:
            raise Refused("the name is no valid Unicode text") from error

    def write(self, path: Path, content: bytes, *, overwrite: bool) -> None:
        """Write a file whole.

        Raises:
            FileExistsError: It is there and shall not be overwritten.
            OSError: It cannot be written.
        """
        publish(content, path, overwrite=overwrite)

    def move(self, path: Path, to: Path, *, overwrite: bool) -> None:
        """Give a file another name.

        Raises:
            FileExistsError: There is a file of that name, which shall not be overwritten.
            OSError: It cannot be moved.
        """
        make_folder(to.parent)
        if overwrite:
            path.replace(to)
        else:
            os.link(path, to)
            path.unlink()
        sync_folder(to.parent)
        sync_folder(path.parent)

    def files(self, folder: Path, *, below: bool) -> Iterator[Path]:
        """The files in a folder, and in the folders below it if wanted; hidden ones are left out."""
        for root, dirs, files in os.walk(folder):
            dirs[:] = sorted(d for d in dirs if not d.startswith("."))
            for name in sorted(files):
                path = Path(root, name)
                if not name.startswith(".") and path.is_file():
                    yield path
            if not below:
                return

    def tree(self, folder: Path) -> list[dict[str, Any]]:
        """All that is below a folder, folders first, then by name, with paths from the user's folder."""
        found: list[dict[str, Any]] = []
        for root, dirs, files in os.walk(folder):
            named = [(d, "directory") for d in dirs] + [(f, "file") for f in files if not f.startswith(DRAFT)]
            for name, type in named:
                path = Path(root, name)
                entry = {"name": name, "path": self.relative(path), "type": type}
                found.append(entry | (_size_and_time(path) if type == "file" else {}))
        return sorted(found, key=lambda e: (e["type"] != "directory", e["name"].lower()))

    def relative(self, path: Path) -> str:
        """A path as clients name it."""
        return path.relative_to(self.root.resolve()).as_posix()


def _size_and_time(path: Path) -> dict[str, Any]:
    try:
        stat = path.stat()
    except OSError:  # gone since, or a link to nowhere
        return {}
    return {"size": stat.st_size, "modified": stat.st_mtime}
