"""Making the modules that packs import importable: ours of the ecosystem's names, and names on our own."""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from aiohttp import web

import server
from server.compat.context import go_on, interrupt
from server.compat.host import Host, set_host
from server.compat.prompt_server import BinaryEventTypes, PromptServer

SITE = Path(__file__).parent / "site-modules"
MAX_RESOLUTION = 16384


def activate(host: Host, classes: Mapping[str, type], titles: Mapping[str, str]) -> None:
    """Let packs be imported; nothing is undone, and asked again only the host and the classes change.

    Our packages `nodes` and `server` have the names of modules that packs import, so what packs look for in
    those is set on ours.

    Args:
        classes: `nodes.NODE_CLASS_MAPPINGS`.
        titles: `nodes.NODE_DISPLAY_NAME_MAPPINGS`.
    """
    set_host(host)
    if str(SITE) not in sys.path:
        sys.path.append(str(SITE))
    _name_on(server, {"PromptServer": PromptServer, "BinaryEventTypes": BinaryEventTypes, "web": web})
    names = {
        "MAX_RESOLUTION": MAX_RESOLUTION,
        "EXTENSION_WEB_DIRS": {},
        "interrupt_processing": _interrupt_processing,
        "before_node_execution": go_on,
        **classes,
    }
    own = importlib.import_module("nodes")
    _name_on(own, names)
    _name_on(own, {"NODE_CLASS_MAPPINGS": {}, "NODE_DISPLAY_NAME_MAPPINGS": {}})
    for name, cls in classes.items():
        make_known(name, cls, titles[name])


def make_known(name: str, cls: type, title: str) -> None:
    """Add a class to what packs see as all nodes."""
    own: Any = importlib.import_module("nodes")
    own.NODE_CLASS_MAPPINGS[name] = cls
    own.NODE_DISPLAY_NAME_MAPPINGS[name] = title


def _interrupt_processing(value: bool = True) -> None:
    if value:
        interrupt()


def _name_on(module: ModuleType, names: Mapping[str, Any]) -> None:
    for name, value in names.items():
        if not hasattr(module, name):
            setattr(module, name, value)
