"""May a prompt be run? Bound and checked; the outputs that can run do, the others are told why not."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import networkx as nx

from engine.check import check
from engine.graph import Graph, bind
from engine.ports import Env
from engine.problems import Problem, WorkflowError
from engine.registry import Registry
from engine.workflow import Workflow, from_json
from server.limits import too_big
from server.nodeerrors import NodeErrors, downstream, node_errors, top_error

FEW = 40
"""Nodes up to which a prompt is checked in under a millisecond: less than a change of threads takes."""


@dataclass(frozen=True)
class Admitted:
    """A prompt that may run.

    Args:
        targets: The output nodes to run.
        errors: What is wrong with the outputs that are left out, in the classic form.
        checked: Its graph with coerced literals, where nothing is left out and it is small.
    """

    workflow: Workflow
    targets: tuple[str, ...]
    errors: NodeErrors
    checked: Graph | None = None


class Inadmissible(Exception):
    """A prompt that cannot run.

    Args:
        error: The classic top-level error.
        errors: The classic errors by node.
        problems: The same as the engine's problems.
    """

    def __init__(self, error: Mapping[str, Any], errors: NodeErrors, problems: Iterable[Problem]) -> None:
        self.error, self.errors, self.problems = error, errors, tuple(problems)
        super().__init__(str(error.get("message", "")))


def admit(
    prompt: Any, registry: Registry, env: Env, targets: Collection[str] | None, megapixels: float, nodes: int
) -> Admitted:
    """Check a prompt; blocking, O(nodes + links) for a sound one.

    Args:
        targets: Output nodes to run; ids that are no output nodes are passed over. None means all.
        megapixels: Most pixels of a picture that a node may be asked for.
        nodes: Most nodes.

    Raises:
        Inadmissible: No output can run; with everything that is wrong.
    """
    if isinstance(prompt, dict) and len(prompt) > nodes:
        raise _too_many(len(prompt), nodes)
    try:
        workflow = from_json(prompt, "the prompt")
    except WorkflowError as error:
        raise _inadmissible(error.problems) from error
    graph = bind(workflow, registry)
    wanted = tuple(t for t in graph.outputs if targets is None or t in targets)
    if missing := [p for p in graph.problems if p.code == "missing_node_type"]:
        others = check(graph, env, wanted).problems if wanted else ()
        raise _inadmissible(dict.fromkeys((*missing, *others)), graph)
    if not wanted:
        raise _inadmissible([Problem("prompt_no_outputs", "no node of the prompt is an output to run")])
    checked = check(graph, env, wanted)
    problems = [*checked.problems, *too_big(checked.graph, megapixels)]
    if not problems:
        return Admitted(workflow, wanted, {}, checked.graph if len(graph.nodes) <= FEW else None)
    spoilt = downstream(graph, {p.node_id for p in problems})
    errors = node_errors(graph, problems, wanted)
    sound = tuple(t for t in wanted if t not in spoilt)
    if not sound:
        raise Inadmissible(top_error(problems, errors, wanted), errors, problems)
    return Admitted(workflow, sound, errors)


def converted(form: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """The API form of a prompt in the editor's own form; blocking.

    Raises:
        Inadmissible: It cannot be read; with everything that is wrong.
    """
    try:
        return from_json(form, "the prompt", classes=registry.nodes).as_api()
    except WorkflowError as error:
        raise _inadmissible(error.problems) from error


def _inadmissible(problems: Iterable[Problem], graph: Graph | None = None) -> Inadmissible:
    found = list(problems)
    errors = node_errors(graph or Graph({}, nx.DiGraph()), found, graph.outputs if graph else ())
    return Inadmissible(top_error(found, errors, ()), errors, found)


def _too_many(found: int, most: int) -> Inadmissible:
    return _inadmissible([Problem("too_large", f"the prompt has {found} nodes; at most {most} are taken")])
