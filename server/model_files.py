"""Model files as the editor lists them: folders, sizes, times, their own metadata, cover pictures."""

import base64
import binascii
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.files import WEIGHT_SUFFIXES, Files
from engine.folders import listed, model_parts
from engine.problems import NodeFailure
from server.inert import media_type
from server.paths import TYPES, Refused, checked, path_in

_COVER_BYTES = 8 * 2**20
"""Largest header that a cover picture is looked for in."""


def model_roles(files: Files) -> list[str]:
    """The roles that hold models."""
    return [role for role in files.folders if role not in TYPES]


def model_names(files: Files, role: str) -> list[str]:
    """What can be chosen for a role: relative names of files, and model folders."""
    return files.names(role, _suffixes(role))


def model_file(files: Files, role: str, name: str) -> Path | None:
    """A model file by role and relative name, if it is there."""
    if role not in model_roles(files):
        return None
    try:
        checked(name.replace("\\", "/"))
        path = files.find(role, name)
        return path if path.is_file() else None
    except (NodeFailure, OSError, Refused):
        return None


def model_list(files: Files, role: str) -> list[dict[str, Any]]:
    """The models of a role with the index of their folder, their size in bytes and their times."""
    found = [_entry(name, 0, path) for name, path in files.items.get(role, {}).items()]
    for index, folder in enumerate(files.folders[role]):
        found += [_entry(name, index, folder / name) for name in sorted(listed(folder, _suffixes(role)))]
    return [entry for entry in found if entry is not None]


def metadata(path: Path, most: int) -> dict[str, Any] | None:
    """The `__metadata__` of a safetensors file whose header has at most so many bytes."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= most else None
    except (OSError, ValueError, RecursionError):
        return None
    found = header.get("__metadata__") if isinstance(header, dict) else None
    return found if isinstance(found, dict) else None


def covers(folder: Path, name: str) -> Iterator[Path | bytes]:
    """Pictures of a model: `<base>.<picture>`, `<base>.preview.<picture>`, those inside the file.

    Raises:
        Refused: The name leads out of the folder.
    """
    path = path_in(folder, name.replace("\\", "/"), follow=False)
    try:
        beside = sorted(path.parent.iterdir()) if path != folder.resolve() else []
    except OSError:
        return
    for near in beside:
        mine = near.stem in (path.stem, f"{path.stem}.preview") and near.is_file()
        if mine and media_type(near.name).startswith("image/"):
            yield near
    weights = path.with_suffix(".safetensors")
    if weights in beside:
        yield from _inside((metadata(weights, _COVER_BYTES) or {}).get("ssmd_cover_images"))


def _inside(covers: object) -> Iterator[bytes]:
    try:
        found = json.loads(covers) if isinstance(covers, str) else []
        for one in found if isinstance(found, list) else []:
            yield base64.b64decode(one)
    except (ValueError, TypeError, RecursionError, binascii.Error):
        return


def _suffixes(role: str) -> tuple[str, ...]:
    return (".yaml", ".yml") if role == "configs" else WEIGHT_SUFFIXES


def _entry(name: str, index: int, path: Path) -> dict[str, Any] | None:
    try:
        stat = path.stat()
        size = sum(p.stat().st_size for p in model_parts(path)) if path.is_dir() else stat.st_size
    except OSError:  # gone since, or a link to nowhere
        return None
    times = {"modified": stat.st_mtime, "created": stat.st_ctime}
    return {"name": name, "pathIndex": index, **times, "size": size}
