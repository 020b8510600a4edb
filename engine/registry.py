"""Node packs found by entry point: their nodes by class name, their folders, their services."""

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any

from engine.node import DeclarationError, Node

ENTRY_POINTS = "latentgraph.packs"


@dataclass(frozen=True)
class Pack:
    """A package of nodes, as its entry point (`latentgraph.packs`) names it.

    Args:
        modules: Modules whose module-level nodes belong to the pack; imported when the pack is loaded.
        items: Files that come with the pack, by folder role and by the name people choose.
        workflows: A folder of workflows that come with the pack; they run by their bare name.
        provides: Makes what the pack's nodes take as `Given`, from what the engine gives.
        version: Goes into the record of a run.
    """

    name: str
    modules: tuple[str, ...]
    items: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)
    workflows: Path | None = None
    provides: Callable[[], Iterable[object]] = tuple
    version: str = ""


@dataclass(frozen=True)
class Registry:
    """Nodes by class name; immutable, so a pack that fails to load leaves it as it was."""

    nodes: Mapping[str, Node[..., Any]] = field(default_factory=dict)
    packs: tuple[Pack, ...] = ()

    def with_nodes(self, *nodes: Node[..., Any]) -> "Registry":
        """A registry that knows these nodes too.

        Raises:
            DeclarationError: A class name is taken by another node.
        """
        known = dict(self.nodes)
        for n in nodes:
            if known.setdefault(n.name, n) is not n:
                raise DeclarationError(f"two nodes are called {n.name!r}")
        return Registry(MappingProxyType(known), self.packs)

    def with_pack(self, pack: Pack) -> "Registry":
        """A registry that knows the nodes of a pack too; imports its modules."""
        found: list[Node[..., Any]] = []
        for module in pack.modules:
            found += [x for x in vars(importlib.import_module(module)).values() if isinstance(x, Node)]
        grown = self.with_nodes(*found)
        return Registry(grown.nodes, (*self.packs, pack))

    @property
    def items(self) -> dict[str, dict[str, Path]]:
        """The files that come with the packs, by role and name."""
        merged: dict[str, dict[str, Path]] = {}
        for pack in self.packs:
            for role, named in pack.items.items():
                merged.setdefault(role, {}).update(named)
        return merged


def installed() -> Registry:
    """The registry of all installed packs.

    Raises:
        DeclarationError: A pack's declarations contradict each other.
    """
    registry = Registry()
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda p: p.name):
        registry = registry.with_pack(point.load())
    return registry
