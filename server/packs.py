"""What custom node packs bring for editors: scripts, example workflows, translations."""

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.registry import Registry

log = logging.getLogger(__name__)

EXAMPLES = ("example_workflows", "example", "examples", "workflow", "workflows")
LOCALE_PARTS = ("main", "nodeDefs", "commands", "settings")


@dataclass(frozen=True)
class WebPack:
    """One custom pack as editors see it.

    Args:
        folder: Where the pack is.
        web: Its scripts, where it has any (`WEB_DIRECTORY`).
    """

    name: str
    folder: Path
    web: Path | None = None


def scripts(packs: Iterable[WebPack]) -> list[str]:
    """The scripts that an editor loads, by the path of their route."""
    return [f"/extensions/{pack.name}/{path}" for pack in packs if pack.web for path in _scripts(pack.web)]


def _scripts(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.js") if path.is_file())


def templates(registry: Registry, packs: Iterable[WebPack]) -> dict[str, dict[str, Path]]:
    """The workflows that come along, by pack and by name."""
    folders = [(pack.name, pack.workflows) for pack in registry.packs if pack.workflows]
    folders += [(pack.name, pack.folder / name) for pack in packs for name in EXAMPLES]
    found: dict[str, dict[str, Path]] = {}
    for pack, folder in folders:
        if named := {path.stem: path for path in sorted(folder.glob("*.json"))}:
            found.setdefault(pack, {}).update(named)
    return found


def translations(packs: Iterable[WebPack]) -> dict[str, Any]:
    """The packs' own words by language, those of several packs joined."""
    joined: dict[str, Any] = {}
    for pack in packs:
        for language, part, words in _locales(pack.folder / "locales"):
            mine = joined.setdefault(language, {})
            _join(mine if part == "main" else mine.setdefault(part, {}), words)
    return joined


def _locales(folder: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for language in sorted(folder.iterdir()) if folder.is_dir() else ():
        for part in LOCALE_PARTS:
            path = language / f"{part}.json"
            try:
                words = json.loads(path.read_bytes())
            except FileNotFoundError:
                continue
            except (OSError, ValueError, RecursionError) as error:
                log.warning("%s cannot be read: %s", path, error)
                continue
            if isinstance(words, dict):
                yield language.name, part, words


def _join(into: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        mine = into.get(key)
        if isinstance(mine, dict) and isinstance(value, dict):
            _join(mine, value)
        else:
            into[key] = value
