"""A workflow in the editor's own form (version 0.4), laid out in columns, for editors that read no other."""

from collections.abc import Mapping
from typing import Any

from engine.editor.widgets import visible
from engine.graph import Graph, GraphNode, bind
from engine.literals import Choices
from engine.node import REQUIRED, Value
from engine.ports import Env, Hint, OneOf
from engine.registry import Registry
from engine.workflow import Workflow

WIDTH, GAP_X, GAP_Y = 300, 80, 60
TITLE_BAR, ROW, TEXT_BOX = 60, 26, 120
"""Pixels of an editor's node: its title with margins, a port or a widget, a text of several lines."""


def as_editor(workflow: Workflow, registry: Registry, env: Env) -> dict[str, Any]:
    """The workflow as editors save it; nodes of unknown classes are left out.

    Raises:
        networkx.NetworkXUnfeasible: Some nodes depend on themselves.
    """
    graph, choices = bind(workflow, registry), Choices(env)
    ids = _numbers(graph)
    sorted_ids = [id for id in graph.needed(graph.nodes) if id in graph.nodes]
    order = {id: place for place, id in enumerate(sorted_ids)}
    heights = {id: _height(node) for id, node in graph.nodes.items()}
    places = _places(graph, sorted_ids, heights)
    links = _links(graph, ids)
    nodes = [
        {
            "id": ids[id],
            "type": node.node.name,
            "pos": places[id],
            "size": [WIDTH, heights[id]],
            "flags": {},
            "order": order[id],
            "mode": 0,
            "inputs": _inputs(node, ids[id], links),
            "outputs": [
                {"name": v.name, "type": v.kind, "links": _leaving(ids[id], slot, links)}
                for slot, v in enumerate(node.node.outputs)
            ],
            "properties": {"Node name for S&R": node.node.name},
            "widgets_values": _widgets(node, choices),
            **({"title": node.title} if node.title else {}),
        }
        for id, node in graph.nodes.items()
    ]
    return {
        "last_node_id": max(ids.values(), default=0),
        "last_link_id": len(links),
        "nodes": nodes,
        "links": links,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def _numbers(graph: Graph) -> dict[str, int]:
    """The nodes' ids as numbers: their own where all are, else counted."""
    if all(id.isascii() and id.isdigit() and str(int(id)) == id for id in graph.nodes):
        return {id: int(id) for id in graph.nodes}
    return {id: number for number, id in enumerate(graph.nodes, 1)}


def _slots(node: GraphNode) -> list[Value]:
    """What has a socket: all that is no widget, and widgets that a link feeds."""
    return [v for v in visible(node.node) if not v.is_widget or v.name in node.links]


def _links(graph: Graph, ids: Mapping[str, int]) -> list[list[Any]]:
    """`[link, origin, slot, target, slot, type]` of all links between the graph's nodes."""
    found: list[list[Any]] = []
    for id, node in graph.nodes.items():
        for place, value in enumerate(_slots(node)):
            link = node.links.get(value.name)
            source = graph.nodes.get(link.node_id) if link else None
            if link and source and link.slot < len(source.node.outputs):
                kind = source.node.outputs[link.slot].kind
                found.append([len(found) + 1, ids[link.node_id], link.slot, ids[id], place, kind])
    return found


def _inputs(node: GraphNode, number: int, links: list[list[Any]]) -> list[dict[str, Any]]:
    arriving = {link[4]: link[0] for link in links if link[3] == number}
    return [
        {"name": v.name, "type": v.kind, "link": arriving.get(place)}
        | ({"widget": {"name": v.name}} if v.is_widget else {})
        for place, v in enumerate(_slots(node))
    ]


def _leaving(number: int, slot: int, links: list[list[Any]]) -> list[int]:
    return [link[0] for link in links if link[1:3] == [number, slot]]


def _widgets(node: GraphNode, choices: Choices) -> list[Any]:
    """The widgets' values in order, with those that editors add of their own."""
    values: list[Any] = []
    buttons: list[Any] = []  # for uploads: the editor puts them behind everything else
    for value in visible(node.node):
        if not value.is_widget:
            continue
        values.append(node.literals.get(value.name, _neutral(value, choices)))
        hints = {fact.key for fact in value.facts if isinstance(fact, Hint) and fact.value}
        if "control_after_generate" in hints:
            values.append("fixed")
        if "image_upload" in hints:
            buttons.append("image")
    return values + buttons


def _neutral(value: Value, choices: Choices) -> Any:
    """What a widget shows of itself when nobody has set it."""
    if value.default not in (REQUIRED, None):
        return value.default
    if one_of := value.fact(OneOf):
        return next(iter(choices.of(one_of)), None)
    return {"INT": 0, "FLOAT": 0.0, "BOOLEAN": False}.get(value.kind, "")


def _height(node: GraphNode) -> int:
    shown = visible(node.node)
    texts = sum(1 for v in shown for f in v.facts if isinstance(f, Hint) and f.key == "multiline" and f.value)
    sockets = max(sum(not v.is_widget for v in shown), len(node.node.outputs))
    return TITLE_BAR + ROW * (sockets + sum(v.is_widget for v in shown)) + TEXT_BOX * texts


def _places(graph: Graph, order: list[str], heights: Mapping[str, int]) -> dict[str, list[int]]:
    """The nodes in columns, counted from the end: each just left of the first that it feeds."""
    before_end: dict[str, int] = {}
    for id in reversed(order):
        fed = (before_end[s] + 1 for s in graph.dag.successors(id) if s in before_end)
        before_end[id] = max(fed, default=0)
    last = max(before_end.values(), default=0)
    filled: dict[int, int] = {}
    places: dict[str, list[int]] = {}
    for id in order:
        column = last - before_end[id]
        top = filled.get(column, 0)
        places[id] = [column * (WIDTH + GAP_X), top]
        filled[column] = top + heights[id] + GAP_Y
    return places
