"""The nodes of the API form: those that run, subgraphs laid open, links drawn to where they come from."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import networkx as nx

from engine.editor.broadcasts import with_broadcasts
from engine.editor.groups import ungrouped
from engine.editor.links import DRAWN, Literal, Output, Scope, origin_of
from engine.editor.promoted import promoted, widget_inputs
from engine.editor.saved import MAX_NODES, Saved, SavedGraph, SavedNode, saved, too_many
from engine.editor.texts import chosen, filled
from engine.editor.widgets import Classes, is_named, missing_of, socketed, values_of
from engine.order import sources_first
from engine.ports import Hint
from engine.problems import Problem, WorkflowError

_FILE_NAME = "filename_prefix"


@dataclass(frozen=True)
class Flat:
    """A workflow in the API form.

    Args:
        nodes: `{id: {"class_type", "inputs", "_meta"}}`, sources first; those in a subgraph 75 are called
            `75:61`.
        unnamed: Ids of nodes of unknown classes that have values whose names the file does not tell.
        missing: By node id, the defaults of inputs that have no value in the file: the class got them since.
    """

    nodes: dict[str, dict[str, Any]]
    unnamed: tuple[str, ...]
    missing: Mapping[str, Mapping[str, Any]]


def flattened(value: Mapping[str, Any], classes: Classes, source: str = "workflow") -> Flat:
    """Turn a workflow in the editor's form into the API form; O(nodes + links) of what is laid open.

    Args:
        classes: The declared nodes, which name the widget values.

    Raises:
        WorkflowError: With everything that cannot be read, or it holds itself, or is too large.
    """
    scopes = _scopes(saved(value, source), classes, source)

    @cache
    def named() -> dict[str, dict[str, Any]]:
        return dict(_by_name(scopes, classes))

    nodes: dict[str, dict[str, Any]] = {}
    unnamed = []
    missing: dict[str, dict[str, Any]] = {}
    for scope in scopes:
        for node in scope.graph.nodes.values():
            if node.runs and node.type not in DRAWN and node.id not in scope.inside:
                id = scope.path + node.id
                inputs = {**_values(scope, node, classes, named), **dict(_linked(scope, node))}
                nodes[id] = {"class_type": node.type, "inputs": inputs}
                missing[id] = missing_of(node, classes, inputs)
                if node.title:
                    nodes[id]["_meta"] = {"title": node.title}
                if not is_named(node, classes):
                    unnamed.append(id)
    for made in nodes.values():
        made["inputs"] = {k: v for k, v in made["inputs"].items() if not _is_lost(v, nodes)}
    nodes = {id: nodes[id] for id in _in_order(nodes)}
    return Flat(nodes, tuple(unnamed), {id: values for id, values in missing.items() if values})


def _scopes(file: Saved, classes: Classes, source: str) -> list[Scope]:
    """All levels, each subgraph as often as it has instances that run."""
    groups = file.graph.groups

    def whole(graph: SavedGraph) -> SavedGraph:
        return ungrouped(with_broadcasts(socketed(graph, classes)), {**groups, **graph.groups}, classes)

    graphs = {id: whole(graph) for id, graph in file.subgraphs.items()}
    shown = widget_inputs(graphs)
    found = [Scope(whole(file.graph))]
    size = 0
    for scope in found:
        size += len(scope.graph.nodes)
        if size > MAX_NODES:
            raise too_many()
        for node in scope.graph.nodes.values():
            if node.type in graphs and node.runs:
                if node.type in scope.within:
                    text, hint = f"{source}: a subgraph holds itself", "take it out of itself in the editor"
                    raise WorkflowError([Problem("dependency_cycle", text, hint=hint)], "ui")
                inner = Scope(graphs[node.type], f"{scope.path}{node.id}:", scope, node)
                inner.given, inner.hosted = promoted(scope, node, shown[node.type])
                scope.inside[node.id] = inner
                found.append(inner)
    return found


def _values(
    scope: Scope, node: SavedNode, classes: Classes, named: Callable[[], Mapping[str, Mapping[str, Any]]]
) -> dict[str, Any]:
    """The values of a node's widgets as they are run."""
    values = values_of(node, classes) | scope.hosted.get(node.id, {})
    declared = classes.get(node.type)
    for name, value in values.items():
        port = declared.input(name) if declared and isinstance(value, str) else None
        if port and any(fact == Hint("dynamicPrompts") for fact in port.facts):
            value = chosen(value, scope.path + node.id)
        if name == _FILE_NAME and isinstance(value, str) and "%" in value:
            value = filled(value, named())
        values[name] = _plain(value)
    return values


def _linked(scope: Scope, node: SavedNode) -> Iterator[tuple[str, Any]]:
    for slot in node.inputs:
        if slot.link is None:
            continue
        match origin_of(scope, slot.link, slot.type):
            case Output(id, number):
                yield slot.name, [id, number]
            case Literal(value):
                yield slot.widget or slot.name, _plain(value)
            case None:
                pass  # a widget keeps its value


def _by_name(scopes: list[Scope], classes: Classes) -> Iterator[tuple[str, dict[str, Any]]]:
    """The values of all nodes by title, then by the name that searches and file names know them by."""
    nodes = [node for scope in scopes for node in scope.graph.nodes.values()]
    yield from ((node.title, values_of(node, classes)) for node in nodes if node.title)
    for node in nodes:
        if isinstance(name := node.properties.get("Node name for S&R"), str):
            yield name, values_of(node, classes)


def _plain(value: Any) -> Any:
    """A value as the API form has it, where a bare list would be a link."""
    return {"__value__": value} if isinstance(value, list) else value


def _in_order(nodes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The ids in an order in which they may run, as editors send them; those in a circle come last."""
    dag: nx.DiGraph[str] = nx.DiGraph()
    dag.add_nodes_from(nodes)
    for id, node in nodes.items():
        dag.add_edges_from((value[0], id) for value in node["inputs"].values() if isinstance(value, list))
    order = dict.fromkeys(sources_first(dag, dag.predecessors, dag.successors))
    return [*order, *(id for id in nodes if id not in order)]


def _is_lost(value: Any, nodes: Mapping[str, Any]) -> bool:
    return isinstance(value, list) and value[0] not in nodes
