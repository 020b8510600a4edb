"""The NetworkX DAG of a workflow: nodes bound to their declarations, literals and links told apart."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import networkx as nx

from engine.node import Node
from engine.order import sources_first
from engine.problems import Near, NodeFailure, Problem
from engine.registry import Registry
from engine.workflow import Workflow

MAX_SLOT = 2**31


@dataclass(frozen=True)
class Link:
    """A link to an output: `["4", 0]` in a workflow."""

    node_id: str
    slot: int


@dataclass(frozen=True)
class GraphNode:
    """A node of a graph: its declaration, and each declared input's literal or link."""

    id: str
    node: Node[..., Any]
    literals: Mapping[str, Any]
    links: Mapping[str, Link]
    title: str = ""


@dataclass(frozen=True)
class Graph:
    """A workflow bound to node declarations.

    Args:
        nodes: By id; nodes whose class is unknown are left out and stand in `problems`.
        dag: One edge for each pair of linked nodes, from source to consumer.
        problems: What could not be bound.
    """

    nodes: Mapping[str, GraphNode]
    dag: "nx.DiGraph[str]"
    problems: tuple[Problem, ...] = ()
    workflow: Workflow = field(default_factory=lambda: Workflow({}))

    @property
    def outputs(self) -> tuple[str, ...]:
        """The ids of the output nodes, in the order of the file."""
        return tuple(id for id, n in self.nodes.items() if n.node.is_output)

    def needed(self, targets: Iterable[str]) -> list[str]:
        """The targets and everything upstream of them, sources first.

        Raises:
            networkx.NetworkXUnfeasible: They depend on themselves.
        """
        wanted = self.upstream(targets)
        order = self.sources_first(wanted)
        if len(order) < len(wanted):
            raise nx.NetworkXUnfeasible("they depend on themselves")
        return order

    def upstream(self, targets: Iterable[str]) -> list[str]:
        """The same in the order of the file; in no more time than there is upstream of them."""
        wanted: set[str] = set()
        stack = [t for t in targets if t in self.nodes]
        while stack:
            id = stack.pop()
            if id not in wanted:
                wanted.add(id)
                stack += self.dag.pred[id]
        return sorted(wanted, key=self._places.__getitem__)

    @cached_property
    def makers(self) -> dict[str, str]:
        """By type, the first node that gives it."""
        found: dict[str, str] = {}
        for node in self.nodes.values():
            for output in node.node.outputs:
                found.setdefault(output.kind, node.id)
        return found

    @cached_property
    def _places(self) -> dict[str, int]:
        return {id: place for place, id in enumerate(self.dag)}

    def sources_first(self, ids: Iterable[str]) -> list[str]:
        """Nodes, each after those that it needs; those in or behind a loop are left out.

        Args:
            ids: Node ids with all that is upstream of them, in the order of the file.
        """
        return sources_first(ids, self.dag.predecessors, self.dag.successors)


def bind(workflow: Workflow, registry: Registry) -> Graph:
    """Look up each node's class, tell links from literals, make the DAG; O(nodes + links)."""
    nodes: dict[str, GraphNode] = {}
    problems: list[Problem] = []
    dag: nx.DiGraph[str] = nx.DiGraph()
    dag.add_nodes_from(workflow.nodes)
    near, hints = Near(), dict[str, str]()
    for id, saved in workflow.nodes.items():
        declared = registry.nodes.get(saved.class_type)
        if declared is None:
            if saved.class_type not in hints:  # of a pack that is missing, many nodes are
                hints[saved.class_type] = near.to(saved.class_type, registry.nodes)
            hint = hints[saved.class_type]
            problems.append(
                Problem(
                    "missing_node_type",
                    f"no node class is called {saved.class_type!r}",
                    id,
                    saved.class_type,
                    hint=hint or "`latentgraph nodes` lists all classes",
                    value=saved.class_type,
                )
            )
            continue
        shape, wrong = shaped(id, declared, saved.inputs)
        problems += wrong
        nodes[id], wrong = bind_node(id, shape, saved.inputs, saved.title)
        problems += wrong
        for link in nodes[id].links.values():
            dag.add_edge(link.node_id, id)
    return Graph(nodes, dag, tuple(problems), workflow)


def shaped(
    id: str, declared: Node[..., Any], inputs: Mapping[str, Any]
) -> tuple[Node[..., Any], list[Problem]]:
    """The interface that a node has with these inputs."""
    if declared.shape is None:
        return declared, []
    try:
        return declared.shape(inputs), []
    except NodeFailure as failure:
        return declared, [Problem("bad_node", failure.message, id, declared.name, hint=failure.hint)]


def bind_node(
    id: str, declared: Node[..., Any], inputs: Mapping[str, Any], title: str = ""
) -> tuple[GraphNode, list[Problem]]:
    """Tell the literals of a node from its links; inputs that the class does not declare are left out."""
    literals: dict[str, Any] = {}
    links: dict[str, Link] = {}
    problems: list[Problem] = []
    for value in declared.inputs:
        if value.name not in inputs or value.hidden:
            continue
        found = inputs[value.name]
        if isinstance(found, dict) and set(found) == {"__value__"}:
            literals[value.name] = found["__value__"]
        elif not isinstance(found, list):
            literals[value.name] = found
        elif is_link(found):
            links[value.name] = Link(found[0], int(found[1]))
        else:
            problems.append(
                Problem(
                    "bad_linked_input",
                    f"a link is [node id, slot], found {found!r:.60}",
                    id,
                    declared.name,
                    value.name,
                    hint='write e.g. ["4", 0]; a list as a value is {"__value__": [...]}',
                )
            )
    return GraphNode(id, declared, literals, links, title), problems


def is_link(value: Any) -> bool:
    """Whether a JSON value is a link, `[id, slot]`."""
    if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)):
        return False
    slot = value[1]
    whole = isinstance(slot, int) if not isinstance(slot, float) else slot.is_integer()
    return whole and not isinstance(slot, bool) and slot >= 0
