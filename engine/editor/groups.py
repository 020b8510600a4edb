"""Old group nodes: the nodes in them put in their place, as if they had never been grouped."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from engine.editor.links import DRAWN
from engine.editor.saved import (
    MAX_NODES,
    SavedGraph,
    SavedLink,
    SavedNode,
    Slot,
    entries,
    named,
    node_of,
    too_many,
)
from engine.editor.widgets import Classes, visible, widgets_of

_NAMES = ("workflow/", "workflow>")


@dataclass
class _Group:
    """One group node and its definition.

    Args:
        nodes: Those in it, by their place in the definition.
        fed: Inputs (place, slot) that a link from within feeds, and the links' ids.
        drained: Outputs (place, slot) that a link from within leaves.
    """

    node: SavedNode
    config: Mapping[str, Any]
    nodes: list[SavedNode]
    links: dict[str, SavedLink] = field(default_factory=dict)
    fed: dict[tuple[int, int], str] = field(default_factory=dict)
    drained: set[tuple[int, int]] = field(default_factory=set)
    external: set[tuple[int, int]] = field(default_factory=set)

    def shows(self, place: int, side: str, name: str) -> bool | None:
        """Whether the editor was told to show an input (by name) or output (by slot), or not to."""
        found = self.config.get(str(place), {})
        ports = found.get(side, {}) if isinstance(found, dict) else {}
        port = ports.get(name, {}) if isinstance(ports, dict) else {}
        told = port.get("visible") if isinstance(port, dict) else None
        return told if isinstance(told, bool) else None


def ungrouped(graph: SavedGraph, definitions: Mapping[str, Any], classes: Classes) -> SavedGraph:
    """The graph with the nodes of its group nodes in their place, `5:0`, `5:1` … for those of node 5."""
    nodes, links = dict(graph.nodes), dict(graph.links)
    for node in graph.nodes.values():
        name = next((node.type.removeprefix(p) for p in _NAMES if node.type.startswith(p)), None)
        if name is not None and isinstance(definitions.get(name), dict):
            group = _group(node, definitions[name])
            del nodes[node.id]
            nodes |= {inner.id: inner for inner in _inner(group, classes)}
            if len(nodes) > MAX_NODES:
                raise too_many()
            links |= group.links
            outputs = list(_outputs(group))
            for id in graph.leaving.get(node.id, ()):
                if links[id].origin_slot < len(outputs):
                    place, slot = outputs[links[id].origin_slot]
                    links[id] = replace(links[id], origin=f"{node.id}:{place}", origin_slot=slot)
    return replace(graph, nodes=nodes, links=links)


def _group(node: SavedNode, definition: Mapping[str, Any]) -> _Group:
    saved = [node_of({"id": 0, **n}) for n in entries(definition.get("nodes")) if isinstance(n, dict)]
    inner = [n if n is not None else SavedNode("0", "Note") for n in saved]
    group = _Group(node, named(definition.get("config")), inner)
    for number, link in enumerate(entries(definition.get("links"))):
        ends = link[:4] if isinstance(link, list) else []
        if len(ends) == 4 and all(type(n) is int and n >= 0 for n in ends) and max(ends[::2]) < len(inner):
            source, out, target, into = ends
            id = f"{node.id} {number}"
            group.links[id] = SavedLink(f"{node.id}:{source}", out, f"{node.id}:{target}", into)
            group.fed[target, into] = id
            group.drained.add((source, out))
    for place in entries(definition.get("external")):
        at, slot = place[:2] if isinstance(place, list) and len(place) > 1 else (None, None)
        at = at.get("index") if isinstance(at, dict) else at
        if isinstance(at, int) and isinstance(slot, int):
            group.external.add((at, slot))
    return group


def _inner(group: _Group, classes: Classes) -> Iterator[SavedNode]:
    """The nodes of a group with their links and values."""
    slots = [_slots(node, place, group, classes) for place, node in enumerate(group.nodes)]
    places = list(_inputs(group, slots, classes))
    for slot, (place, name) in zip(group.node.inputs, places, strict=False):
        if slot.link is not None:
            slots[place] = [replace(s, link=slot.link) if s.name == name else s for s in slots[place]]
    for place, (node, values) in enumerate(zip(group.nodes, _values(group), strict=True)):
        mode = node.mode if group.node.runs else group.node.mode
        id = f"{group.node.id}:{place}"
        yield replace(node, id=id, inputs=tuple(slots[place]), values=values, mode=mode)


def _slots(node: SavedNode, place: int, group: _Group, classes: Classes) -> list[Slot]:
    """The inputs of a node in a group: those that it was saved with, and its class's other sockets."""
    slots = [replace(slot, link=group.fed.get((place, n))) for n, slot in enumerate(node.inputs)]
    known = {slot.name for slot in slots}
    declared = classes.get(node.type)
    more = visible(declared) if declared and node.type not in DRAWN else ()
    slots += [Slot(v.name, v.kind) for v in more if not v.is_widget and v.name not in known]
    if not slots and (place, 0) in group.fed:
        slots.append(Slot("", "*", group.fed[place, 0]))
    return slots


def _inputs(group: _Group, slots: list[list[Slot]], classes: Classes) -> Iterator[tuple[int, str]]:
    """What the inputs of the group node are, in order: sockets of all its nodes, then widgets of all."""
    own = [slot.name for slot in group.node.inputs]
    widgets: list[tuple[int, str]] = []
    for place, node in enumerate(group.nodes):
        declared = classes.get(node.type)
        order = [value.name for value in visible(declared)] if declared else []
        named = {widget.name for widget in widgets_of(declared)} if declared else set()
        ranked = sorted(slots[place], key=lambda s: order.index(s.name) if s.name in order else len(order))
        for slot in ranked:
            if slot.link is not None or group.shows(place, "input", slot.name) is False:
                continue
            if slot.widget or slot.name in named:
                shown = [name for name in own if name == slot.name or name.endswith(f" {slot.name}")]
                if shown:
                    own.remove(shown[0])
                    widgets.append((place, slot.name))
            else:
                yield place, slot.name
    yield from widgets


def _outputs(group: _Group) -> Iterator[tuple[int, int]]:
    for place, node in enumerate(group.nodes):
        for slot in range(len(node.outputs)):
            led = (place, slot) in group.drained and (place, slot) not in group.external
            told = group.shows(place, "output", str(slot))
            if told or (told is None and not led):
                yield place, slot


def _values(group: _Group) -> Iterator[list[Any] | dict[str, Any]]:
    """The values of each node in the group, cut from the group node's in turn."""
    left = list(group.node.values) if isinstance(group.node.values, list) else []
    for node in group.nodes:
        if not isinstance(node.values, list):
            yield node.values
            continue
        count = len(node.values)
        yield left[:count] + node.values[len(left[:count]) :]
        left = left[count:]
