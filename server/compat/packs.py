"""Custom node packs in folders: imported, their nodes wrapped, what they bring for editors noted."""

import importlib.util
import inspect
import logging
import runpy
import sys
import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from engine.registry import Registry
from server.compat.activation import activate, make_known
from server.compat.context import finish
from server.compat.host import Host
from server.compat.native import native_classes
from server.compat.wrap import wrapped

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Foreign:
    """A node class of a pack, as it stands in the pack.

    Args:
        title: What people see.
        module: Whose it is, "custom_nodes.<pack>".
    """

    cls: type
    title: str
    module: str


@dataclass(frozen=True)
class LoadedPack:
    """A pack that was found.

    Args:
        folder: Its folder; for a pack in one file, the file.
        web: Its scripts for editors, where it has any.
        nodes: Its class names.
        error: Why it could not be imported; empty if it was.
    """

    name: str
    folder: Path
    web: Path | None = None
    nodes: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Packs:
    """What the packs of some folders give.

    Args:
        registry: The nodes that were known, and those of the packs.
        classes: The packs' classes by class name.
    """

    registry: Registry
    packs: tuple[LoadedPack, ...] = ()
    classes: Mapping[str, Foreign] = field(default_factory=dict)


def load_packs(folders: Iterable[Path], registry: Registry, host: Host) -> Packs:
    """Import the packs in some folders; one that cannot be imported is logged and left out.

    Packs are code and run with all rights of this process: only folders that the user names belong here.
    Class names that are known already stay as they are.

    Args:
        folders: Each entry is a pack: a package or a `.py` file.
    """
    found = [path for folder in folders for path in _entries(folder)]
    if not found:
        return Packs(registry)
    titles = {name: node.title for name, node in registry.nodes.items()}
    activate(host, native_classes(registry, host.env), titles)
    for path in found:
        _prestart(path)
    packs: list[LoadedPack] = []
    classes: dict[str, Foreign] = {}
    for path in found:
        pack, given = _load(path)
        kept = {n: f for n, f in given.items() if n not in registry.nodes}
        for name in given.keys() - kept.keys():
            log.warning("pack %s: a node is called %s already; the pack's is left out", pack.name, name)
        registry = registry.with_nodes(*(wrapped(name, f.cls, f.title) for name, f in kept.items()))
        for name, foreign in kept.items():
            make_known(name, foreign.cls, foreign.title)
        classes |= kept
        packs.append(LoadedPack(pack.name, path, pack.web, tuple(kept), pack.error))
    return Packs(registry, tuple(packs), classes)


def _entries(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        log.warning("there is no folder %s of custom nodes", folder)
        return
    for path in sorted(folder.resolve().iterdir()):
        hidden = path.name.startswith((".", "__")) or path.name.endswith(".disabled")
        if not hidden and (path.is_dir() or path.suffix == ".py"):
            yield path


def _prestart(path: Path) -> None:
    """Run what a pack wants run before anything is imported."""
    script = path / "prestartup_script.py"
    if script.is_file():
        try:
            runpy.run_path(str(script), run_name=_module_name(script))
        except (Exception, SystemExit):
            log.exception("%s raises", script)


def _module_name(path: Path) -> str:
    return str(path).replace(".", "_x_")


def _load(path: Path) -> tuple[LoadedPack, dict[str, Foreign]]:
    name, started = path.stem if path.is_file() else path.name, time.perf_counter()
    try:
        module = _imported(path)
        classes = dict(_classes(module, f"custom_nodes.{name}"))
        pack = LoadedPack(name, path, _web(module, path))
    except (Exception, SystemExit) as error:
        log.exception("the pack %s cannot be loaded", path)
        return LoadedPack(name, path, error=f"{type(error).__name__}: {error}"), {}
    log.info("pack %s: %d nodes in %.1f s", name, len(classes), time.perf_counter() - started)
    return pack, classes


def _imported(path: Path) -> ModuleType:
    name = _module_name(path)
    source = path if path.is_file() else path / "__init__.py"
    if not source.is_file():
        raise ImportError(f"{path} has no __init__.py")
    inside = None if path.is_file() else [str(path)]
    spec = importlib.util.spec_from_file_location(name, source, submodule_search_locations=inside)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _classes(module: ModuleType, where: str) -> Iterator[tuple[str, Foreign]]:
    """The node classes of a pack, whichever way it names them."""
    mapping: Mapping[str, type] | None = getattr(module, "NODE_CLASS_MAPPINGS", None)
    titles: Mapping[str, str] = getattr(module, "NODE_DISPLAY_NAME_MAPPINGS", None) or {}
    if mapping is not None:
        for name, cls in mapping.items():
            yield name, Foreign(cls, str(titles.get(name, name)), where)
        return
    entry: Any = getattr(module, "comfy_entrypoint", None)
    if entry is None:
        raise ImportError("it has neither NODE_CLASS_MAPPINGS nor comfy_entrypoint")
    extension = _awaited(entry())
    if hasattr(extension, "on_load"):
        _awaited(extension.on_load())
    for cls in _awaited(extension.get_node_list()):
        schema = cls.GET_SCHEMA()
        cls.RELATIVE_PYTHON_MODULE = where
        yield schema.node_id, Foreign(cls, schema.display_name or schema.node_id, where)


def _awaited(value: Any) -> Any:
    return finish(value) if inspect.iscoroutine(value) else value


def _web(module: ModuleType, path: Path) -> Path | None:
    """The folder of scripts for editors: named by the module, or in the pack's project file."""
    home = path.parent if path.is_file() else path
    named = getattr(module, "WEB_DIRECTORY", None) or _project_web(home / "pyproject.toml", path)
    web = (home / str(named)).resolve() if named else None
    return web if web and web.is_dir() and web.is_relative_to(home.resolve()) else None


def _project_web(project: Path, path: Path) -> Any:
    if path.is_file() or not project.is_file():
        return None
    try:
        return tomllib.loads(project.read_text(encoding="utf-8")).get("tool", {}).get("comfy", {}).get("web")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        log.warning("%s cannot be read: %s", project, error)
        return None
