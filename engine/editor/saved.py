"""The editor's JSON as plain values: nodes, links and subgraph definitions, in either version of the form."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from engine.problems import Problem, WorkflowError

MAX_NODES = 50_000
"""Nodes of a workflow with all of its groups and subgraphs laid open."""
MUTED, BYPASSED = 2, 4
"""Modes of nodes that do not run; the others all do."""
SET = "SetNode"
INPUTS, OUTPUTS = "-10", "-20"
"""Ids that links inside a subgraph have for its own inputs and outputs."""


@dataclass(frozen=True)
class Slot:
    """An input or output of a node as saved.

    Args:
        link: Of an input: the id of its link.
        widget: Of an input: the name of the widget that it stands for; "" where it is only a socket.
    """

    name: str
    type: str
    link: str | None = None
    widget: str = ""


@dataclass(frozen=True)
class SavedLink:
    """From the output of one node to the input of another, both slots counted from 0."""

    origin: str
    origin_slot: int
    target: str
    target_slot: int


@dataclass(frozen=True)
class SavedNode:
    """A node as saved; `values` are those of its widgets, in their order or by name."""

    id: str
    type: str
    title: str = ""
    mode: int = 0
    inputs: tuple[Slot, ...] = ()
    outputs: tuple[Slot, ...] = ()
    values: list[Any] | dict[str, Any] = field(default_factory=list)
    named: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, Any] = field(default_factory=dict)

    @property
    def runs(self) -> bool:
        """Whether it is neither muted nor bypassed."""
        return self.mode not in (MUTED, BYPASSED)

    @property
    def ordered(self) -> list[Any]:
        """The values of its widgets in their order."""
        return self.values if isinstance(self.values, list) else [*self.values.values()]

    def input(self, name: str) -> Slot | None:
        """The first input of a name."""
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> dict[str, Slot]:
        return {slot.name: slot for slot in reversed(self.inputs)}


@dataclass(frozen=True)
class SavedGraph:
    """Nodes and links of one level: the workflow, or the inside of a subgraph.

    Args:
        inputs: Of a subgraph: the names of its inputs, in order.
        groups: The definitions of old group nodes, by name, as saved.
        everywhere: The links that the pack "use everywhere" lists beside the others, as saved.
    """

    nodes: Mapping[str, SavedNode]
    links: Mapping[str, SavedLink]
    inputs: tuple[str, ...] = ()
    groups: Mapping[str, Any] = field(default_factory=dict)
    everywhere: Any = None

    @cached_property
    def sets(self) -> dict[str, SavedNode]:
        """The nodes that set something under a name, by that."""
        nodes = [n for n in self.nodes.values() if n.type == SET and n.runs and n.inputs and n.ordered]
        return {str(node.ordered[0]): node for node in nodes}

    @cached_property
    def outputs(self) -> dict[int, str]:
        """Of a subgraph: the ids of the links that feed its outputs, by slot."""
        return {link.target_slot: id for id, link in self.links.items() if link.target == OUTPUTS}

    @cached_property
    def leaving(self) -> dict[str, list[str]]:
        """The ids of the links that begin at each node."""
        found: dict[str, list[str]] = {}
        for id, link in self.links.items():
            found.setdefault(link.origin, []).append(id)
        return found


@dataclass(frozen=True)
class Saved:
    """A whole file: its graph, and its subgraphs by id."""

    graph: SavedGraph
    subgraphs: Mapping[str, SavedGraph]


def too_many() -> WorkflowError:
    """What a workflow of more than `MAX_NODES` is refused with."""
    problem = Problem("too_large", f"more than {MAX_NODES} nodes with all groups and subgraphs laid open")
    return WorkflowError([problem], "ui")


def is_editor_form(value: Any) -> bool:
    """Whether decoded JSON is a workflow in the editor's own form."""
    return isinstance(value, dict) and isinstance(value.get("nodes"), list)


def saved(value: Mapping[str, Any], source: str) -> Saved:
    """Read a workflow in the editor's form; what is only drawn is left out.

    Raises:
        WorkflowError: With everything that is no node or no link.
    """
    problems: list[Problem] = []
    subgraphs: dict[str, SavedGraph] = {}
    for definition in _definitions(value):
        name = f"subgraph {definition.get('name') or definition['id']}"
        subgraphs[str(definition["id"])] = _graph(definition, name, problems)
    graph = _graph(value, source, problems)
    if problems:
        raise WorkflowError(problems, "ui")
    return Saved(graph, subgraphs)


def _definitions(value: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All definitions of subgraphs; those inside of others too."""
    waiting = [value]
    while waiting:
        held = waiting.pop().get("definitions")
        found = held.get("subgraphs") if isinstance(held, dict) else None
        for definition in found if isinstance(found, list) else ():
            if isinstance(definition, dict) and "id" in definition:
                yield definition
                waiting.append(definition)


def _graph(value: Mapping[str, Any], where: str, problems: list[Problem]) -> SavedGraph:
    nodes: dict[str, SavedNode] = {}
    for place, saved_node in enumerate(entries(value.get("nodes"))):
        if saved_node is None or _is_remark(saved_node):
            continue
        node = node_of(saved_node)
        if node is None:
            message = f"{where}: entry {place} of nodes is no node, found {saved_node!r:.60}"
            problems.append(Problem("invalid_prompt", message, hint="a node has an id and a type"))
        else:
            nodes[node.id] = node
    links = dict(_links(value.get("links"), where, problems))
    names = tuple(str(i.get("name", "")) for i in entries(value.get("inputs")) if isinstance(i, dict))
    extra = named(value.get("extra"))
    return SavedGraph(nodes, links, names, named(extra.get("groupNodes")), extra.get("ue_links"))


def _is_remark(value: Any) -> bool:
    """Whether an entry is a note that people add by hand ("_comment")."""
    keys = value if isinstance(value, dict) else value[:1] if isinstance(value, list) else [""]
    return all(isinstance(key, str) and key.startswith("_") for key in keys)


def node_of(value: Any) -> SavedNode | None:
    """A node as saved; None for what is none."""
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return None
    if not isinstance(value.get("id"), str | int):
        return None
    values, title = value.get("widgets_values"), value.get("title")
    return SavedNode(
        str(value["id"]),
        value["type"],
        title if isinstance(title, str) else "",
        value["mode"] if isinstance(value.get("mode"), int) else 0,
        tuple(_slots(value.get("inputs"))),
        tuple(_slots(value.get("outputs"))),
        values if isinstance(values, list | dict) else [],
        named(value.get("widgets_values_named")),
        named(value.get("properties")),
    )


def _slots(value: Any) -> Iterator[Slot]:
    for slot in entries(value):
        if isinstance(slot, dict):
            link, widget = slot.get("link"), named(slot.get("widget"))
            type = slot.get("type")
            yield Slot(
                str(slot.get("name", "")),
                type if isinstance(type, str) else "*",
                None if link is None else str(link),
                str(widget.get("name") or slot.get("name")) if widget else "",
            )


def _links(value: Any, where: str, problems: list[Problem]) -> Iterator[tuple[str, SavedLink]]:
    for place, link in enumerate(entries(value)):
        if link is None or _is_remark(link):
            continue
        if isinstance(link, dict):
            names = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
            link = [link.get(name) for name in names]
        if isinstance(link, list) and len(link) >= 5 and all(isinstance(x, str | int) for x in link[:5]):
            id, origin, origin_slot, target, target_slot = link[:5]
            if str(origin_slot).isdigit() and str(target_slot).lstrip("-").isdigit():
                yield str(id), SavedLink(str(origin), int(origin_slot), str(target), int(target_slot))
                continue
        message = f"{where}: entry {place} of links is no link, found {link!r:.60}"
        problems.append(Problem("bad_linked_input", message, hint="save the workflow again in the editor"))


def entries(value: Any) -> list[Any]:
    """A list as saved; an empty one for anything else."""
    return value if isinstance(value, list) else []


def named(value: Any) -> dict[str, Any]:
    """An object as saved; an empty one for anything else."""
    return value if isinstance(value, dict) else {}
