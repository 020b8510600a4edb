"""What a run will do: which nodes run, which are served by which cache tier, and why the others are not."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.cache import KeyParts, Tiers
from engine.cache.disk import DiskTier
from engine.check import check
from engine.files import Files
from engine.graph import Graph, bind
from engine.keys import address, changes, keys_of
from engine.ports import Env, OneOf
from engine.problems import NodeFailure, WorkflowError
from engine.registry import Registry
from engine.workflow import Workflow


@dataclass(frozen=True)
class Plan:
    """A checked graph with its keys, and what its targets need.

    Args:
        targets: Ids of the output nodes to run.
        parts: The key parts of each needed node.
        keys: The key of each needed node.
        runs: Ids of nodes that run, sources first; nodes behind lazy links are left out until asked for.
        served: For nodes whose result is at hand, the tier that has it; "run" where a twin with
            the same key runs.
        lazy: Ids that may run if a lazy input asks for them.
        extra: Goes into outputs beside the workflow (`extra_pnginfo`).
    """

    graph: Graph
    targets: tuple[str, ...]
    parts: Mapping[str, KeyParts]
    keys: Mapping[str, str]
    runs: tuple[str, ...]
    served: Mapping[str, str]
    lazy: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def why(self, id: str, tiers: Tiers) -> str:
        """Why a node runs: what changed since its last result, as far as the cache remembers."""
        parts = self.parts[id]
        disk = next((t for t in tiers.tiers if isinstance(t, DiskTier)), None)
        if self.graph.nodes[id].node.volatile:
            return "runs every time"
        before = disk.last_parts(parts.class_type, parts.node_id) if disk else None
        if before is None:
            return "no earlier result of this node"
        if address(before) == self.keys[id]:
            return "its result is not kept: quick to make, or of a type that is not stored"
        return "; ".join(changes(parts, before))

    def files(self, ids: Iterable[str] | None = None) -> list[tuple[str, str]]:
        """The files that these nodes (by default those that run) name, as (role, name), each once."""
        found: set[tuple[str, str]] = set()
        for id in self.runs if ids is None else ids:
            node = self.graph.nodes[id]
            for value in node.node.inputs:
                one_of, name = value.fact(OneOf), node.literals.get(value.name)
                if one_of and one_of.role and isinstance(name, str):
                    found.add((one_of.role, name))
        return sorted(found)

    def seconds(self, usual: Callable[[str], float | None]) -> float | None:
        """What the running nodes take, estimated from what their classes took; None if one is unknown."""
        costs = {c: usual(c) for c in {self.graph.nodes[id].node.name for id in self.runs}}
        known = [costs[self.graph.nodes[id].node.name] for id in self.runs]
        return None if None in known else sum(c for c in known if c is not None)


def make_plan(
    workflow: Workflow, registry: Registry, env: Env, tiers: Tiers, targets: Iterable[str] | None = None
) -> Plan:
    """Bind and check a workflow, key its nodes, and walk from the targets backwards to what is at hand.

    Args:
        targets: Output nodes to run; None means all.

    Raises:
        WorkflowError: With all of its problems.
    """
    wanted = None if targets is None else tuple(targets)
    checked = check(bind(workflow, registry), env, wanted)
    if checked.problems:
        raise WorkflowError(checked.problems)
    graph = checked.graph
    return plan_checked(graph, graph.outputs if wanted is None else wanted, env, tiers)


def plan_checked(graph: Graph, targets: Iterable[str], env: Env, tiers: Tiers) -> Plan:
    """The plan of a graph in which nothing is wrong."""
    chosen = tuple(targets)
    return plan_of(graph, chosen, *keys_of(graph, graph.needed(chosen), env), tiers, env)


def plan_of(
    graph: Graph,
    targets: Iterable[str],
    parts: Mapping[str, KeyParts],
    keys: Mapping[str, str],
    tiers: Tiers,
    env: Env,
) -> Plan:
    """What the targets of a checked graph need: the walk back to what is at hand.

    Args:
        parts: Of the targets and all that is upstream of them, sources first.
    """
    chosen = tuple(targets)
    runs, served, lazy = _walk(graph, chosen, keys, tiers, env)
    editor = graph.workflow.editor
    extra = {} if editor is None else {"workflow": editor}
    in_order = tuple(id for id in parts if id in runs)
    return Plan(graph, chosen, parts, keys, in_order, served, tuple(sorted(lazy)), extra)


def _walk(
    graph: Graph, targets: Iterable[str], keys: Mapping[str, str], tiers: Tiers, env: Env
) -> tuple[set[str], dict[str, str], set[str]]:
    runs: set[str] = set()
    lazy: set[str] = set()
    served: dict[str, str] = {}
    leaders: dict[str, str] = {}
    stack = list(targets)[::-1]
    while stack:
        id = stack.pop()
        if id in runs or id in served:
            continue
        tier = "run" if keys[id] in leaders else tiers.where(keys[id])
        if (
            tier != "run"
            and tier
            and graph.nodes[id].node.is_output
            and not outputs_there(tiers, keys[id], env)
        ):
            tier = None
        if tier:
            served[id] = tier
            continue
        runs.add(id)
        leaders[keys[id]] = id
        node = graph.nodes[id]
        for port, link in node.links.items():
            value = node.node.input(port)
            if value and value.lazy:
                lazy.add(link.node_id)
            else:
                stack.append(link.node_id)
    return runs, served, lazy - runs - served.keys()


def outputs_there(tiers: Tiers, key: str, env: Env) -> bool:
    """Whether the files that a kept result shows are still there, unchanged."""
    found = tiers.get(key)
    return found is not None and files_there(found[0].ui, env)


def files_there(ui: Mapping[str, list[Any]], env: Env) -> bool:
    """Whether every file that a result shows is still there with the same content."""
    if Files not in env:
        return True
    files = env[Files]
    for entry in (e for entries in ui.values() for e in entries):
        if isinstance(entry, dict) and "sha256" in entry:
            try:
                path = files.saved(entry)
                if path is None or files.sha256(path) != entry["sha256"]:
                    return False
            except (NodeFailure, OSError):
                return False
    return True
