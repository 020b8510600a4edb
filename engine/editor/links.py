"""Where a link really comes from, through all that is only drawn: reroutes, bypassed nodes, subgraphs."""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from engine.editor.saved import BYPASSED, INPUTS, MUTED, SET, SavedGraph, SavedLink, SavedNode

PRIMITIVE, GET = "PrimitiveNode", "GetNode"
REROUTES = ("Reroute", "Reroute (rgthree)", SET)
DRAWN = frozenset(
    (
        PRIMITIVE, GET, *REROUTES, "Note", "MarkdownNote", "Label (rgthree)", "Bookmark (rgthree)",
        "Fast Muter (rgthree)", "Fast Bypasser (rgthree)", "Fast Groups Muter (rgthree)",
        "Fast Groups Bypasser (rgthree)", "Fast Actions Button (rgthree)", "Node Collector (rgthree)",
        "Node Combiner (rgthree)", "Mute / Bypass Relay (rgthree)", "Mute / Bypass Repeater (rgthree)",
        "Random Unmuter (rgthree)",
    )
)  # fmt: skip
"""Nodes that exist in the editor only, its own and those of widespread packs."""


@dataclass(frozen=True)
class Output:
    """The output of a node that runs, by its id in the API form."""

    node_id: str
    slot: int


@dataclass(frozen=True)
class Literal:
    """A value in place of a link."""

    value: Any


Origin: TypeAlias = Output | Literal | None


@dataclass(eq=False)
class Scope:
    """One level of a workflow: its top, or the inside of one instance of a subgraph.

    Args:
        path: What precedes the ids of its nodes in the API form: "" or "75:".
        given: The values of the subgraph's inputs that no link feeds, by name.
        hosted: Values that the instance has for widgets of nodes within, by node id, then by widget.
        inside: The scopes of the subgraphs in it, by the instance's id.
        known: Where links come from, as far as that was asked, by link and wanted type.
    """

    graph: SavedGraph
    path: str = ""
    parent: "Scope | None" = None
    instance: SavedNode | None = None
    given: dict[str, Any] = field(default_factory=dict)
    hosted: dict[str, dict[str, Any]] = field(default_factory=dict)
    inside: dict[str, "Scope"] = field(default_factory=dict)
    known: dict[tuple[str, str], "Origin"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        outer: frozenset[str] = self.parent.within if self.parent else frozenset()
        self.within: frozenset[str] = outer | ({self.instance.type} if self.instance else set())


_Step: TypeAlias = Origin | tuple[Scope, str | None]


def origin_of(scope: Scope, link_id: str | None, wanted: str) -> Origin:
    """What a link brings; None for nothing: it ends at a muted node, or nowhere.

    Args:
        wanted: The type of the input that it ends at.
    """
    passed: dict[tuple[int, str], Scope] = {}
    found: _Step = scope, link_id
    while isinstance(found, tuple):
        scope, link_id = found
        link = scope.graph.links.get(link_id) if link_id is not None else None
        if link_id is None or link is None or (id(scope), link_id) in passed:
            found = None
        elif (link_id, wanted) in scope.known:
            found = scope.known[link_id, wanted]
        else:
            passed[id(scope), link_id] = scope
            outside = link.origin == INPUTS
            found = _outside(scope, link) if outside else _before(scope, link, wanted)
    for (_, each), level in passed.items():
        level.known[each, wanted] = found
    return found


def _outside(scope: Scope, link: SavedLink) -> _Step:
    """What feeds an input of the subgraph that this is the inside of."""
    names, slot = scope.graph.inputs, link.origin_slot
    if scope.parent is None or scope.instance is None or not 0 <= slot < len(names):
        return None
    fed = scope.instance.input(names[slot])
    if fed is not None and fed.link in scope.parent.graph.links:
        return scope.parent, fed.link
    return Literal(scope.given[names[slot]]) if names[slot] in scope.given else None


def _before(scope: Scope, link: SavedLink, wanted: str) -> _Step:
    """What an output gives, or where that comes from in turn."""
    id, slot = link.origin, link.origin_slot
    node = scope.graph.nodes.get(id)
    if node is None or node.mode == MUTED:
        return None
    if node.mode == BYPASSED:
        return scope, _passed(node, slot, wanted)
    if node.type in REROUTES:
        return scope, node.inputs[0].link if node.inputs else None
    if node.type == PRIMITIVE:
        values = [*scope.hosted.get(id, {}).values(), *node.ordered]
        return Literal(values[0]) if values else None
    if node.type == GET:
        return _set(scope, str(node.ordered[0])) if node.ordered else None
    if id in scope.inside:
        inner = scope.inside[id]
        return inner, inner.graph.outputs.get(slot)
    return Output(scope.path + id, slot)


def _set(scope: Scope, name: str) -> _Step:
    """What was set under a name, here or further out."""
    level: Scope | None = scope
    while level is not None:
        if name in level.graph.sets:
            return level, level.graph.sets[name].inputs[0].link
        level = level.parent
    return None


def _passed(node: SavedNode, slot: int, wanted: str) -> str | None:
    """The link of the input that a bypassed node hands on at an output."""
    if wanted in ("*", ""):
        chosen = node.inputs[slot : slot + 1] or node.inputs[:1]
        return chosen[0].link if chosen else None
    given = node.outputs[slot].type if slot < len(node.outputs) else "*"
    fitting = [i for i in node.inputs if _fits(i.type, given) and _fits(i.type, wanted)]
    same = [i for i in node.inputs if i.type == wanted]
    opposite = [i for i in node.inputs[slot : slot + 1] if i in fitting]
    return next((i.link for i in (*opposite, *same, *fitting)), None)


def _fits(one: str, other: str) -> bool:
    """Whether types may be linked: equal in any case, "*", or a common member of comma lists."""
    if {one, other} & {"*", "", "0"}:
        return True
    return bool({t.strip().lower() for t in one.split(",")} & {t.strip().lower() for t in other.split(",")})
