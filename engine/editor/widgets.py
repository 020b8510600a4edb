"""The names of a node's widget values, which the editor saves as a bare list."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from engine.editor.saved import SavedGraph, SavedNode, Slot
from engine.node import REQUIRED, Node, Value
from engine.ports import Hint, OneOf

Classes: TypeAlias = Mapping[str, Node[..., Any]]
CONTROLS = ("fixed", "increment", "decrement", "randomize", "increment-wrap")
"""What an editor does with a seed after each run; saved behind it, a boolean in old files."""
SEEDS = ("seed", "noise_seed")
UPLOADS = ("image", "video", "audio", "file", "model_file")
"""The values of upload buttons, saved behind their combo or behind everything."""


@dataclass(frozen=True)
class Widget:
    """A value that the editor shows on a node.

    Args:
        control: Whether what to do with it after a run may be saved behind it.
        combo: Whether that may be followed by a text that narrows the choices.
    """

    name: str
    control: bool = False
    combo: bool = False


def visible(node: Node[..., Any]) -> list[Value]:
    """The inputs in the order of an editor: those that are needed first."""
    shown = [value for value in node.inputs if not value.hidden]
    return sorted(shown, key=lambda value: value.optional)


def widgets_of(node: Node[..., Any]) -> list[Widget]:
    """The widgets of a class, in the order of their values."""
    found = []
    for value in visible(node):
        hints = {fact.key for fact in value.facts if isinstance(fact, Hint) and fact.value}
        if value.is_widget and "forceInput" not in hints:
            seed = value.kind == "INT" and value.name in SEEDS
            found.append(Widget(value.name, seed or "control_after_generate" in hints, value.kind == "COMBO"))
    return found


def socketed(graph: SavedGraph, classes: Classes) -> SavedGraph:
    """The graph with the sockets of nodes that were written by hand without any; their links have numbers."""
    arriving: dict[str, dict[int, str]] = {}
    for id, link in graph.links.items():
        node = graph.nodes.get(link.target)
        if node is not None and not node.inputs and node.type in classes:
            arriving.setdefault(node.id, {})[link.target_slot] = id
    nodes = dict(graph.nodes)
    for id, links in arriving.items():
        sockets = [value for value in visible(classes[nodes[id].type]) if not value.is_widget]
        inputs = tuple(Slot(v.name, v.kind, links.get(place)) for place, v in enumerate(sockets))
        nodes[id] = replace(nodes[id], inputs=inputs)
    return replace(graph, nodes=nodes) if arriving else graph


def missing_of(node: SavedNode, classes: Classes, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of widgets that a class got since the node was saved, as an editor fills them in."""
    found: dict[str, Any] = {}
    for value in classes[node.type].inputs if node.type in classes else ():
        if value.is_widget and not value.optional and value.name not in inputs:
            one_of = value.fact(OneOf)
            if value.default is not REQUIRED:
                found[value.name] = value.default
            elif one_of is not None and one_of.fixed:
                found[value.name] = one_of.fixed[0]
    return found


def is_named(node: SavedNode, classes: Classes) -> bool:
    """Whether the names of a node's values are known."""
    if node.type in classes or node.named or isinstance(node.values, dict):
        return True
    return count_of(_widgets_of_slots(node.inputs), node.values) >= len(node.values)


def values_of(node: SavedNode, classes: Classes) -> dict[str, Any]:
    """The widget values of a node by name; those whose name is not known are left out.

    What the file names itself comes first, then the class; of an unknown class the inputs that stand for
    widgets tell, as new editors save all of them.
    """
    if isinstance(node.values, dict):
        return dict(node.values)
    declared = classes.get(node.type)
    if node.named:
        known = {w.name for w in widgets_of(declared)} if declared else set(node.named)
        return {name: value for name, value in node.named.items() if name in known}
    widgets = widgets_of(declared) if declared else _widgets_of_slots(node.inputs)
    return dict(_walk(widgets, node.values))


def count_of(widgets: Sequence[Widget], values: Sequence[Any]) -> int:
    """How many of the values belong to these widgets, with what the editor adds behind them."""
    return max(_places(widgets, values, len(values) - len(widgets)), default=0)


def _walk(widgets: Sequence[Widget], values: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    at = 0
    for widget, after in zip(widgets, _places(widgets, values, len(values) - len(widgets)), strict=False):
        if at < len(values):
            yield widget.name, values[at]
        at = after


def _places(widgets: Iterable[Widget], values: Sequence[Any], surplus: int) -> Iterator[int]:
    """For each widget, where the value of the next one stands.

    Args:
        surplus: How many values there are beyond one a widget.
    """
    at = 0
    for widget in widgets:
        at += 1
        if widget.control and at < len(values) and _is_control(values[at], surplus):
            at, surplus = at + 1, surplus - 1
            if widget.combo and surplus > 0 and at < len(values) and isinstance(values[at], str):
                at, surplus = at + 1, surplus - 1
        if widget.combo and surplus > 0 and at < len(values) and values[at] in UPLOADS:
            at, surplus = at + 1, surplus - 1
        yield at


def _is_control(value: Any, surplus: int) -> bool:
    return (isinstance(value, str) and value in CONTROLS) or (isinstance(value, bool) and surplus > 0)


def _widgets_of_slots(slots: Iterable[Slot]) -> list[Widget]:
    names = [slot.widget for slot in slots if slot.widget]
    return [Widget(name, name in SEEDS) for name in names]
