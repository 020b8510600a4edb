"""Everything wrong with a graph, as a list of Problems; loads no weights and stops at no problem."""

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import networkx as nx

from engine.graph import Graph, GraphNode, Link
from engine.literals import Choices, coerce
from engine.node import Value
from engine.ports import Env, Loose, OneOf
from engine.problems import Near, NodeFailure, Problem, Wrong


@dataclass(frozen=True)
class Checked:
    """A graph with its literals coerced to their types, and what is wrong with it."""

    graph: Graph
    problems: tuple[Problem, ...]


def check(graph: Graph, env: Env, targets: Iterable[str] | None = None) -> Checked:
    """Find all problems of the nodes that `targets` need, and coerce their literals.

    Args:
        targets: Ids of output nodes; None means all of them.
    """
    wanted = graph.outputs if targets is None else tuple(targets)
    reach = list(_reach(graph, wanted))
    needed = frozenset(reach)
    problems = [p for p in graph.problems if p.code == "missing_node_type" or p.node_id in needed]
    problems += _unknown_targets(graph, wanted)
    if not wanted and not problems:
        problems.append(
            Problem(
                "prompt_no_outputs",
                "nothing in the workflow is an output",
                hint="add a node such as SaveImage",
            )
        )
    missing = {p.node_id for p in graph.problems if p.code == "missing_node_type"}
    problems += _cycles(graph, needed)
    nodes = dict(graph.nodes)
    choices = Choices(env)
    reported = {(p.node_id, p.input) for p in graph.problems}
    for id in reach:
        node, found = check_node(graph, nodes[id], choices, env, missing, reported)
        nodes[id] = node
        problems += found
    order = {id: i for i, id in enumerate(graph.workflow.nodes)}
    problems.sort(key=lambda p: order.get(p.node_id, -1))
    return Checked(Graph(nodes, graph.dag, graph.problems, graph.workflow), tuple(problems))


def _reach(graph: Graph, targets: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    stack = [t for t in targets if t in graph.nodes]
    while stack:
        id = stack.pop()
        if id in seen:
            continue
        seen.add(id)
        yield id
        stack += [link.node_id for link in graph.nodes[id].links.values() if link.node_id in graph.nodes]


def _unknown_targets(graph: Graph, wanted: Iterable[str]) -> Iterator[Problem]:
    near = Near()
    for id in wanted:
        if id not in graph.workflow.nodes and id not in graph.nodes:
            hint = near.to(id, graph.nodes) or "name an output node by its id"
            yield Problem("bad_setting", f"there is no node {id!r} to run", hint=hint)


def _cycles(graph: Graph, needed: Collection[str]) -> Iterator[Problem]:
    if len(graph.sources_first(graph.dag)) == len(graph.dag):  # a tenth of what follows, which looks for all
        return
    for group in nx.strongly_connected_components(graph.dag.subgraph(needed)):
        first = min(group)
        if len(group) > 1 or graph.dag.has_edge(first, first):
            loop = [edge[0] for edge in nx.find_cycle(graph.dag.subgraph(group), first)]
            path = " → ".join([*loop[:12], *(["…"] if len(loop) > 12 else []), loop[0]])
            node = graph.nodes.get(loop[0])
            yield Problem(
                "dependency_cycle",
                f"the nodes depend on themselves: {path}",
                loop[0],
                node.node.name if node else "",
                hint="cut one of these links",
            )


def check_node(
    graph: Graph,
    node: GraphNode,
    choices: Choices,
    env: Env,
    missing: Collection[str],
    reported: Collection[tuple[str, str]],
) -> tuple[GraphNode, list[Problem]]:
    """A node with its literals coerced, and what is wrong with it.

    Args:
        graph: Has what the node is linked to.
        missing: Ids of nodes of unknown classes; what is linked to them is not looked at.
        reported: Inputs, by node id and name, with a problem that was found already.
    """
    problems: list[Problem] = []
    literals: dict[str, Any] = {}
    checked_by_node = own_names(node.node.check) if node.node.check else ()

    def wrong(code: str, port: str, message: str, hint: str = "", value: str = "") -> None:
        problems.append(Problem(code, message, node.id, node.node.name, port, hint, value))

    for value in node.node.inputs:
        name = value.name
        if value.hidden:
            continue
        if name in node.links:
            if node.links[name].node_id not in missing:
                _check_link(graph, node, value, choices.near, wrong)
        elif name in node.literals:
            found = coerce(value, node.literals[name], choices, own=name in checked_by_node)
            if isinstance(found, Wrong):
                wrong(found.code, name, found.message, found.hint, _file_value(value, node.literals[name]))
            else:
                literals[name] = found
        elif not value.optional and (node.id, name) not in reported:
            wrong(
                "required_input_missing",
                name,
                f"the {value.kind} input is missing",
                _missing_hint(graph, value),
            )
    checked = GraphNode(node.id, node.node, literals, node.links, node.title)
    bad = {p.input for p in problems}
    problems += [p for p in _own_check(graph, checked, env, bad, choices.near) if p.input not in bad]
    return checked, problems


def _file_value(value: Value, literal: Any) -> str:
    one_of = value.fact(OneOf)
    return f"{one_of.role}/{literal}" if one_of and one_of.role else ""


def _missing_hint(graph: Graph, value: Value) -> str:
    if value.is_widget:
        return "set it in the workflow or with --set"
    maker = next((id for kind, id in graph.makers.items() if matches(kind, value.kind)), None)
    return "link an output of this type" + (f", e.g. of node {maker}" if maker is not None else "")


def _check_link(graph: Graph, node: GraphNode, value: Value, near: Near, wrong: Callable[..., None]) -> None:
    link = node.links[value.name]
    source = graph.nodes.get(link.node_id)
    if source is None:
        wrong(
            "bad_linked_input",
            value.name,
            f"links to node {link.node_id!r}, which is not in the workflow",
            near.to(link.node_id, graph.nodes),
        )
    elif link.slot >= len(source.node.outputs):
        outputs = ", ".join(f"{i} {o.name}" for i, o in enumerate(source.node.outputs)) or "none"
        wrong(
            "bad_linked_input",
            value.name,
            f"links to output {link.slot} of node {link.node_id} ({source.node.name})",
            f"its outputs are: {outputs}",
        )
    elif not (_unlooked(value) or matches(type_of(source.node.outputs[link.slot]), type_of(value))):
        kind = source.node.outputs[link.slot].kind
        fitting = [i for i, o in enumerate(source.node.outputs) if matches(type_of(o), type_of(value))]
        hint = f"output {fitting[0]} of that node has this type" if fitting else ""
        wrong(
            "return_type_mismatch",
            value.name,
            f"takes {value.kind}, but node {link.node_id} ({source.node.name}) gives {kind} there",
            hint,
        )


def _unlooked(value: Value) -> bool:
    loose = value.fact(Loose)
    return loose is not None and not loose.linked


def type_of(value: Value) -> Any:
    """What the type of a link is compared by: its name, or what stands for it in a `Loose` port."""
    loose = value.fact(Loose)
    return loose.type if loose else value.kind


def matches(given: Any, wanted: Any) -> bool:
    """Whether an output type may feed an input type: equal, "*", or a common member of comma lists.

    Types may override `!=`; a list of choices is a COMBO.
    """
    differ = given != wanted
    if not differ:
        return True
    if not (isinstance(given, str) and isinstance(wanted, str)):
        return "COMBO" in (given, wanted) and (isinstance(given, list) or isinstance(wanted, list))
    return "*" in (given, wanted) or bool(set(given.split(",")) & set(wanted.split(",")))


def _own_check(graph: Graph, node: GraphNode, env: Env, bad: set[str], near: Near) -> Iterator[Problem]:
    if node.node.check is None or (bad and _takes_all(node.node.check)):
        return
    types = {p: t for p, link in node.links.items() if (t := _given_type(graph, link)) is not None}
    arguments = own_arguments(node, node.node.check, env, types)
    if arguments is None:
        return
    try:
        found = list(node.node.check(**arguments))
    except NodeFailure as failure:
        found = [Wrong("", failure.message, failure.hint)]
    for w in found:
        w = Wrong("", w) if isinstance(w, str) else w
        port = node.node.input(w.port)
        value = _file_value(port, node.literals.get(w.port)) if port else ""
        code = "value_not_in_list" if value else w.code
        hint = (near.by(w.look) if w.look else "") or w.hint
        yield Problem(code, w.message, node.id, node.node.name, w.port, hint, value)


def _given_type(graph: Graph, link: Link) -> Any:
    source = graph.nodes.get(link.node_id)
    known = source is not None and link.slot < len(source.node.outputs)
    return type_of(source.node.outputs[link.slot]) if source and known else None


def _takes_all(fn: Callable[..., Any]) -> bool:
    return bool(fn.__code__.co_flags & inspect.CO_VARKEYWORDS)


def own_names(fn: Callable[..., Any]) -> tuple[str, ...]:
    """The parameters of a node's `check` or `fingerprint`."""
    code = fn.__code__
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def own_arguments(
    node: GraphNode, fn: Callable[..., Any], env: Env, types: Mapping[str, Any] | None = None
) -> Mapping[str, Any] | None:
    """What to call a node's `check` or `fingerprint` with; None when an input it names is not known yet.

    One with a `**` parameter gets everything: literals, None for links, the node's id at ports hidden as
    `UNIQUE_ID`, and at `input_types`, if it names that, the type that each link gives.
    """
    if _takes_all(fn):
        ids = {v.name: node.id for v in node.node.inputs if v.hidden == "UNIQUE_ID"}
        named = {"input_types": dict(types or {})} if "input_types" in own_names(fn) else {}
        return {**dict.fromkeys(node.links), **node.literals, **ids, **named}
    known = {v.name: v.default for v in node.node.inputs if v.optional} | dict(node.literals)
    arguments: dict[str, Any] = {}
    for name in own_names(fn):
        if name in node.node.given:
            arguments[name] = env[node.node.given[name]]
        elif name in known and name not in node.links:
            arguments[name] = known[name]
        elif name not in (fn.__kwdefaults__ or {}):
            return None
    return arguments
