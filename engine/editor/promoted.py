"""Values that an instance of a subgraph has of its own: for its inputs, and for widgets of nodes within."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.editor.links import Scope
from engine.editor.saved import INPUTS, SavedGraph, SavedNode, entries

OWN = "-1"
"""What stands for the subgraph itself in the list of promoted widgets."""


def promoted(
    scope: Scope, node: SavedNode, shown: Sequence[str]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The values of an instance: by the name of the subgraph's input, and by inner node id and widget.

    Args:
        scope: Where the instance stands; what that one has for widgets of the instance goes first.
        shown: The inputs of the subgraph that lead to widgets.
    """
    given: dict[str, Any] = {}
    hosted: dict[str, dict[str, Any]] = {}
    for id, name, value in _values(node, shown):
        _put(id, name, value, given, hosted)
    for name, value in scope.hosted.get(node.id, {}).items():
        inner, colon, rest = name.partition(": ")
        _put(inner if colon else OWN, rest if colon else name, value, given, hosted)
    return given, hosted


def _put(id: str, name: str, value: Any, given: dict[str, Any], hosted: dict[str, dict[str, Any]]) -> None:
    if id == OWN:
        given[name] = value
    else:
        hosted.setdefault(id, {})[name] = value


def _values(node: SavedNode, shown: Sequence[str]) -> Iterator[tuple[str, str, Any]]:
    """Inner node id ("-1" for the subgraph's own input), widget, value."""
    listed = node.properties.get("proxyWidgets")
    values = node.values if isinstance(node.values, list) else []
    if isinstance(listed, list):
        for entry, value in zip(listed, values, strict=False):
            if isinstance(entry, list) and len(entry) >= 2 and value is not None and _is_sent(entry[1]):
                yield str(entry[0]), str(entry[1]), value
    else:
        yield from ((OWN, name, value) for name, value in zip(shown, values, strict=False))
    named = {**node.named, **(node.values if isinstance(node.values, dict) else {})}
    yield from ((OWN, name, value) for name, value in named.items())
    for lost in entries(node.properties.get("proxyWidgetErrorQuarantine")):
        entry = lost.get("originalEntry") if isinstance(lost, dict) else None
        if isinstance(entry, list) and len(entry) >= 2 and str(entry[0]) == OWN and "hostValue" in lost:
            yield OWN, str(entry[1]), lost["hostValue"]


def _is_sent(name: Any) -> bool:
    """Whether it is no widget that only the editor has: what to do with a seed after a run, a preview."""
    return name != "control_after_generate" and not str(name).startswith("$$")


def widget_inputs(graphs: Mapping[str, SavedGraph]) -> dict[str, list[str]]:
    """By subgraph, the names of its inputs that lead to a widget of a node within, however deep."""
    found: dict[str, set[str]] = {id: set() for id in graphs}
    above: dict[tuple[str, str], list[tuple[str, str]]] = {}
    waiting: list[tuple[str, str]] = []
    for id, graph in graphs.items():
        for link_id in graph.leaving.get(INPUTS, ()):
            link = graph.links[link_id]
            node = graph.nodes.get(link.target)
            fed = next((slot for slot in node.inputs if slot.link == link_id), None) if node else None
            if node is None or fed is None or not 0 <= link.origin_slot < len(graph.inputs):
                continue
            name = graph.inputs[link.origin_slot]
            above.setdefault((node.type, fed.name), []).append((id, name))
            if fed.widget:
                waiting.append((id, name))
    while waiting:
        id, name = waiting.pop()
        if name not in found[id]:
            found[id].add(name)
            waiting += above.get((id, name), ())
    return {id: [name for name in graph.inputs if name in found[id]] for id, graph in graphs.items()}
