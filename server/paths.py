"""The one place that turns the names that clients send into paths inside a folder, or refuses them."""

import re
from pathlib import Path
from urllib.parse import unquote

from engine.drafts import DRAFT
from engine.files import Files
from engine.paths import inside
from engine.problems import NodeFailure

TYPES = ("input", "output", "temp")
LONGEST = 1024
"""Bytes that a relative name may have; one folder or file in it may have 255."""
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])\s*(\..*)?", re.IGNORECASE | re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TAG = re.compile(r"(.?)\[(input|output|temp)\]$", re.DOTALL)


class Refused(Exception):
    """A name that is not used, and why."""


class Outside(Refused):
    """A name that would lead out of its folder."""


def path_in(folder: Path, name: str, *, follow: bool = True) -> Path:
    """The path that a client's relative name means; empty parts and `.` are left out, "" is the folder.

    Args:
        follow: Whether a symbolic link may not lead out either; people link model files from elsewhere.

    Raises:
        Refused: It leads out of the folder, or is no name for a file on every system.
    """
    checked(name)
    kept = "/".join(part for part in name.split("/") if part not in ("", "."))
    try:
        return inside(folder, kept, follow)
    except NodeFailure as failure:
        raise Outside(f"{name!r} leads out of its folder; use a name inside it") from failure


def checked(name: str) -> str:
    """A relative name, if whoever decodes it once or twice more still reads one that stays in its folder.

    Raises:
        Refused: It leads out of its folder, or is no name for a file on every system.
    """
    _check(reading := name)
    for _ in range(3):
        reading = unquote(reading)
        _check(reading)
    return name


def plain_name(name: str) -> str:
    """A file name without folders.

    Raises:
        Refused: It is empty, has folders, or is no name for a file on every system.
    """
    if not name or "/" in name:
        raise Refused(f"{name!r} is no plain file name; folders go into `subfolder`")
    if name == ".":
        raise Refused("'.' is no file name")
    return checked(name)


def folder_of(files: Files, type: str) -> Path:
    """The folder that a type means.

    Raises:
        Refused: There is no such type.
    """
    if type not in TYPES:
        raise Refused(f"no folder type {type!r}; use one of {', '.join(TYPES)}")
    return files.folders[type][0]


def found(files: Files, type: str, subfolder: str, filename: str) -> Path | None:
    """The file that a client names, those that come with the program before others; None: there is none.

    Raises:
        Refused: A name that is not used.
    """
    item = files.items.get(type, {}).get(filename)
    if item is not None and not subfolder:
        return item
    folder_of(files, type)
    for root in files.folders[type]:
        path = path_in(root, f"{subfolder}/{filename}" if subfolder else filename)
        if _is_file(path):
            return path
    return None


def annotated(name: str) -> tuple[str, str | None]:
    """A name and the type that it ends in: `u.png [input]` is `u.png` of `input`."""
    tag = _TAG.search(name)
    return (name[: tag.start()], tag[2]) if tag else (name, None)


def shown(folder: Path, base: Path) -> str:
    """A folder as clients are told of it: relative to the base folder, or its bare name outside it."""
    folder, base = folder.absolute(), base.absolute()
    return folder.relative_to(base).as_posix() if folder.is_relative_to(base) else folder.name


def _check(name: str) -> None:
    try:
        length = len(name.encode())
    except UnicodeEncodeError as error:
        raise Refused(f"{name!r} is no valid Unicode text") from error
    parts = name.split("/")
    if length > LONGEST or any(len(part.encode()) > 255 for part in parts):
        raise Refused(f"a name of {length} bytes is too long; {LONGEST} are allowed, 255 for one part")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in parts:
        raise Outside(f"{name!r} leads out of its folder; use a name inside it")
    if "\\" in name or _CONTROL.search(name):
        raise Refused(f"{name!r} has a character that file names may not have; separate folders by '/'")
    for part in parts:
        if part not in ("", ".") and not part.strip(" ."):
            raise Refused(f"{part!r} is no file name")
        if _DEVICE.fullmatch(part) or part.lower().startswith(DRAFT):
            raise Refused(f"{part!r} is a reserved name; choose another")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False
