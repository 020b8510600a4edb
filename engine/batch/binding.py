"""The jobs of a batch bound, checked and keyed: what they have in common is done once."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from engine.batch.rungs import Shapes
from engine.cache import KeyParts, Tiers
from engine.check import check, check_node
from engine.graph import Graph, GraphNode, bind, bind_node
from engine.keys import address, key_parts
from engine.literals import Choices
from engine.plan import Plan, plan_of
from engine.problems import Problem
from engine.runner import Engine
from engine.workflow import Workflow, WorkflowNode


@dataclass(frozen=True)
class Bound:
    """A job's graph, checked, with the key and the shape (see `engine.batch.rungs`) of each needed node."""

    graph: Graph
    parts: Mapping[str, KeyParts]
    keys: Mapping[str, str]
    shapes: Mapping[str, int]


@dataclass(frozen=True)
class _Form:
    """What jobs have in common that differ in literals only.

    Args:
        order: The needed nodes, sources first; empty where something is wrong with the form itself.
        problems: What is wrong whatever the literals.
    """

    number: int
    graph: Graph
    order: tuple[str, ...]
    needed: frozenset[str]
    problems: tuple[Problem, ...]
    missing: frozenset[str]
    reported: frozenset[tuple[str, str]]


class Binder:
    """Binds workflows that have most of their nodes in common, as the same objects.

    A node is bound and checked once for each set of its inputs, and keyed once for each set of keys that it
    is linked to; a graph is made once for each way in which nodes are linked.

    Args:
        template: The workflow that all others were made from.
    """

    def __init__(self, template: Workflow, engine: Engine) -> None:
        self._template, self._registry, self._env = template, engine.registry, engine.env
        self._tiers = _Recalled(engine.tiers)
        self._choices = Choices(engine.env)
        self._shapes = Shapes()
        self._forms: dict[Any, _Form] = {}
        self._nodes: dict[tuple[int, str, int], tuple[GraphNode, list[Problem]]] = {}
        self._keyed: dict[Any, tuple[KeyParts, str, int]] = {}

    def bind(self, workflow: Workflow) -> Bound | list[Problem]:
        """A workflow's graph with its keys, or everything that is wrong with it."""
        changed = [id for id, node in workflow.nodes.items() if node is not self._template.nodes.get(id)]
        form = self._form(workflow, changed)
        nodes = dict(form.graph.nodes)
        problems = list(form.problems)
        for id in changed:
            if id in nodes and (form.problems or id in form.needed):
                nodes[id], found = self._node(form, id, workflow.nodes[id])
                problems += found
        if problems:
            return problems
        parts: dict[str, KeyParts] = {}
        keys: dict[str, str] = {}
        shapes: dict[str, int] = {}
        for id in form.order:
            parts[id], keys[id], shapes[id] = self._key(nodes[id], keys, shapes)
        return Bound(replace(form.graph, nodes=nodes, workflow=workflow), parts, keys, shapes)

    def plan(self, bound: Bound) -> Plan:
        """What a job would do by itself."""
        return plan_of(bound.graph, bound.graph.outputs, bound.parts, bound.keys, self._tiers, self._env)

    def has(self, key: str) -> bool:
        """Whether the cache has a result."""
        return self._tiers.where(key) is not None

    def _form(self, workflow: Workflow, changed: list[str]) -> _Form:
        key = tuple((id, self._links(workflow.nodes[id])) for id in changed)
        if key not in self._forms:
            self._forms[key] = self._new_form(workflow, frozenset(changed))
        return self._forms[key]

    def _links(self, saved: WorkflowNode) -> Any:
        """What decides how a node is linked: which inputs it has, and where they lead."""
        declared = self._registry.nodes.get(saved.class_type)
        if declared is not None and declared.shape is not None:  # any input may change its ports
            return json.dumps([saved.class_type, saved.inputs], sort_keys=True)
        inputs = sorted(saved.inputs.items())
        return saved.class_type, *((port, repr(v) if isinstance(v, list) else None) for port, v in inputs)

    def _new_form(self, workflow: Workflow, changed: frozenset[str]) -> _Form:
        graph = bind(workflow, self._registry)
        checked = check(graph, self._env)
        missing = frozenset(p.node_id for p in graph.problems if p.code == "missing_node_type")
        reported = frozenset((p.node_id, p.input) for p in graph.problems)
        form = _Form(len(self._forms), checked.graph, (), frozenset(), (), missing, reported)
        of_literals = {
            p for id in changed if id in graph.nodes for p in self._node(form, id, workflow.nodes[id])[1]
        }
        problems = tuple(p for p in checked.problems if p not in of_literals)
        order = () if problems else tuple(checked.graph.needed(checked.graph.outputs))
        return replace(form, order=order, needed=frozenset(order), problems=problems)

    def _node(self, form: _Form, node_id: str, saved: WorkflowNode) -> tuple[GraphNode, list[Problem]]:
        at = (form.number, node_id, id(saved))
        if at not in self._nodes:
            node, _ = bind_node(node_id, form.graph.nodes[node_id].node, saved.inputs, saved.title)
            self._nodes[at] = check_node(
                form.graph, node, self._choices, self._env, form.missing, form.reported
            )
        return self._nodes[at]

    def _key(
        self, node: GraphNode, keys: Mapping[str, str], shapes: Mapping[str, int]
    ) -> tuple[KeyParts, str, int]:
        at = (id(node), *(keys[link.node_id] for link in node.links.values()))
        known = self._keyed.get(at)
        if known is None:
            parts = key_parts(node, keys, self._env)
            known = parts, address(parts), self._shapes.of(node, parts, shapes)
            if parts.lasts != "run":
                self._keyed[at] = known
        return known


class _Recalled(Tiers):
    """Tiers that are asked once for each key."""

    def __init__(self, tiers: Tiers) -> None:
        super().__init__(tiers.tiers)
        self._known: dict[str, str | None] = {}

    def where(self, key: str) -> str | None:
        """The name of the first tier that has the key, or None."""
        if key not in self._known:
            self._known[key] = super().where(key)
        return self._known[key]
