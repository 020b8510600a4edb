"""Nodes that a running node adds: checked for new ids, bound, ordered."""

from collections.abc import Container, Mapping

import networkx as nx

from engine.graph import GraphNode, bind_node
from engine.problems import NodeFailure
from engine.registry import Registry
from engine.steps import Subgraph


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
        declared = registry.nodes.get(saved["class_type"])
        if declared is None:
            raise NodeFailure(f"it adds a node of the unknown class {saved['class_type']!r}")
        added[id], problems = bind_node(id, declared, saved.get("inputs", {}))
        if problems:
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
