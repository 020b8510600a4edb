"""The nodes of a run: those of its plan, and those that running nodes add (bound, keyed, new ids)."""

from collections.abc import Container, Iterable, Mapping
from functools import cached_property
from typing import Any

import networkx as nx

from engine.cache import KeyParts, Result
from engine.graph import GraphNode, Link, bind_node, is_link, shaped
from engine.keys import address, key_parts
from engine.plan import Plan
from engine.ports import Env, Written
from engine.problems import NodeFailure
from engine.record import CHUNK, Record, Recorder
from engine.registry import Registry
from engine.running import RunInfo
from engine.steps import Subgraph
from engine.trail import Note, Pinned, Trail


class RunNodes:
    """Every node of a run by id, with its key.

    Args:
        trails: How the results that the run has had came about, by id.
        pinned: The rungs at which model calls are to be batched.
    """

    def __init__(self, plan: Plan, registry: Registry, env: Env) -> None:
        self.nodes: dict[str, GraphNode] = dict(plan.graph.nodes)
        self.keys: dict[str, str] = dict(plan.keys)
        self.parts: dict[str, KeyParts] = dict(plan.parts)
        self.trails: dict[str, Trail | None] = {}
        self.pinned = env[Pinned] if Pinned in env else Pinned()
        self._plan, self._registry, self._env = plan, registry, env
        self._recorder = Recorder(plan, env)
        self._added: dict[str, Mapping[str, Any]] = {}
        self._parents: dict[str, str] = {}
        self._tops: dict[str, str] = {}
        self._displays: dict[str, str] = {}

    @cached_property
    def hidden(self) -> dict[str, Any]:
        """What hidden inputs get, by their source; made when the first node runs."""
        said = self._env[RunInfo].hidden if RunInfo in self._env else {}
        extra = {k: Written(v) if isinstance(v, dict) else v for k, v in self._plan.extra.items()}
        return {"PROMPT": Written(self._plan.graph.workflow.as_api()), "EXTRA_PNGINFO": extra, **said}

    def hidden_of(self, node: GraphNode) -> Mapping[str, Any]:
        """What a node's hidden inputs get: what it writes says of its own inputs how they came about."""
        if all(value.hidden != "EXTRA_PNGINFO" for value in node.node.inputs):
            return self.hidden
        made = self._made_of([node.id])
        return {**self.hidden, "EXTRA_PNGINFO": {**(self.hidden["EXTRA_PNGINFO"] or {}), CHUNK: made}}

    def record(self, outputs: Iterable[str]) -> Record:
        """What made that which these output nodes show."""
        return Record(**self._made_of(outputs))

    def _made_of(self, outputs: Iterable[str]) -> dict[str, Any]:
        ids = tuple(outputs)
        sources = {x.node_id for id in ids for x in self.nodes[id].links.values()} | {*ids}
        trails = tuple(t for t in map(self.trails.get, sorted(sources)) if t)
        return self._recorder.facts(map(self.top, ids), Trail("", Note(), trails).notes())

    def traced(self, id: str, result: Result, note: Note) -> Result:
        """A result that says how it and all that it was made of came about."""
        found = (self.trails.get(link.node_id) for link in self.nodes[id].links.values())
        trail = Trail(self.keys[id], note, tuple(t for t in found if t is not None))
        return Result(result.outputs, result.ui, result.cost, trail)

    @cached_property
    def made(self) -> str:
        """Tells the surroundings of this run from others: versions, device."""
        return self._recorder.surroundings.digest

    @property
    def ids(self) -> list[str]:
        """The ids of all nodes, those of the workflow first."""
        return [*self._plan.graph.workflow.nodes, *self._added]

    def saved(self, id: str) -> dict[str, Any]:
        """A node as API-format JSON: as it stands in the workflow, or as it was added.

        Raises:
            KeyError: There is none.
        """
        if id in self._added:
            return dict(self._added[id])
        node = self._plan.graph.workflow.nodes[id]
        return {"class_type": node.class_type, "inputs": dict(node.inputs)}

    def parent(self, id: str) -> str | None:
        """The node that added this one, or None for one of the workflow."""
        return self._parents.get(id)

    def top(self, id: str) -> str:
        """The node of the workflow that an added node came from; itself for one of the workflow."""
        return self._tops.get(id, id)

    def display(self, id: str) -> str:
        """The node that stands for an added one in what is shown."""
        return self._displays.get(id, id)

    def grow(self, parent: str, ask: Subgraph) -> list[str]:
        """Add the nodes that a running node asks for; returns the ids of the output nodes among them.

        Raises:
            NodeFailure: They cannot be added, and none is.
        """
        added = expanded(ask, self._registry, self.nodes)
        known = {**added}
        for id, node in added.items():
            for link in node.links.values():
                self._check(link, known, f"node {id} that it adds")
        for link in wanted_links(ask):
            self._check(link, known, "what it asks for")
        self.nodes |= added
        for id, node in added.items():
            self._added[id], self._parents[id] = ask.nodes[id], parent
            self._tops[id] = self.top(parent)
            self._displays[id] = self.display(ask.nodes[id].get("override_display_id") or parent)
            self.parts[id] = key_parts(node, self.keys, self._env)
            self.keys[id] = address(self.parts[id])
        return [id for id, node in added.items() if node.node.is_output]

    def _check(self, link: Link, added: Mapping[str, GraphNode], who: str) -> None:
        source = added.get(link.node_id) or (self.nodes[link.node_id] if link.node_id in self.keys else None)
        if source is None:
            raise NodeFailure(f"{who} links to {link.node_id!r}, which is not there")
        if link.slot >= len(source.node.outputs):
            raise NodeFailure(
                f"{who} links to output {link.slot} of {link.node_id}, which has no such output"
            )


def wanted_links(ask: Subgraph) -> list[Link]:
    """The links among a subgraph's results."""
    return [Link(r[0], int(r[1])) for r in ask.results if is_link(r)]


def expanded(ask: Subgraph, registry: Registry, taken: Container[str]) -> dict[str, GraphNode]:
    """The nodes of a subgraph, sources before consumers.

    Args:
        taken: Ids that the run has already.

    Raises:
        NodeFailure: An id is taken, a class is unknown, a link is malformed, or they depend on themselves.
    """
    if doubled := [id for id in ask.nodes if id in taken]:
        raise NodeFailure(
            f"the ids {doubled[:5]} are taken already", "added nodes need ids that are new in the run"
        )
    added: dict[str, GraphNode] = {}
    for id, saved in ask.nodes.items():
        name: Any = saved.get("class_type") if isinstance(saved, Mapping) else None
        declared = registry.nodes.get(name) if isinstance(name, str) else None
        if declared is None:
            raise NodeFailure(f"it adds a node of the unknown class {name!r}")
        inputs = saved.get("inputs") or {}
        shape, problems = shaped(id, declared, inputs)
        added[id], wrong = bind_node(id, shape, inputs)
        if problems := problems + wrong:
            raise NodeFailure(str(problems[0]))
    return {id: added[id] for id in _sources_first(added)}


def _sources_first(added: Mapping[str, GraphNode]) -> list[str]:
    dag: nx.DiGraph[str] = nx.DiGraph()
    dag.add_nodes_from(added)
    dag.add_edges_from(
        (x.node_id, id) for id, n in added.items() for x in n.links.values() if x.node_id in added
    )
    try:
        return list(nx.topological_sort(dag))
    except nx.NetworkXUnfeasible:
        raise NodeFailure(
            "Dependency cycle detected", "the nodes that it adds depend on themselves"
        ) from None
