"""Links that nobody draws: those of the pack "use everywhere", as it lists them or would find them."""

from collections.abc import Iterator
from dataclasses import replace

from engine.editor.saved import SavedGraph, SavedLink, SavedNode, entries, named

SENDERS = ("Anything Everywhere", "Anything Everywhere3")
"""Nodes that give what they are fed to every free input of its type; those with conditions are left out."""


def with_broadcasts(graph: SavedGraph) -> SavedGraph:
    """The graph with these links; older versions of the pack do not list them."""
    found = list(_listed(graph) if isinstance(graph.everywhere, list) else _meant(graph))
    nodes, links = dict(graph.nodes), dict(graph.links)
    for number, (link, slot) in enumerate(found):
        node = nodes[link.target]
        if node.inputs[slot].link is None:
            id = f"everywhere {number}"
            inputs = tuple(replace(s, link=id) if i == slot else s for i, s in enumerate(node.inputs))
            links[id], nodes[node.id] = link, replace(node, inputs=inputs)
    return replace(graph, nodes=nodes, links=links) if found else graph


def _listed(graph: SavedGraph) -> Iterator[tuple[SavedLink, int]]:
    for entry in map(named, entries(graph.everywhere)):
        node, slot = graph.nodes.get(str(entry.get("downstream"))), entry.get("downstream_slot")
        upstream = entry.get("upstream_slot")
        if node and isinstance(slot, int) and 0 <= slot < len(node.inputs) and isinstance(upstream, int):
            yield SavedLink(str(entry.get("upstream")), upstream, node.id, slot), slot


def _meant(graph: SavedGraph) -> Iterator[tuple[SavedLink, int]]:
    sent: dict[str, SavedLink] = {}
    for node in graph.nodes.values():
        if node.type in SENDERS and node.runs:
            sent |= dict(_sent(graph, node))
    for node in graph.nodes.values() if sent else ():
        for slot, socket in enumerate(node.inputs if node.type not in SENDERS else ()):
            if socket.type in sent and not socket.widget:
                link = sent[socket.type]
                yield SavedLink(link.origin, link.origin_slot, node.id, slot), slot


def _sent(graph: SavedGraph, node: SavedNode) -> Iterator[tuple[str, SavedLink]]:
    """What a sender is fed, by type."""
    for socket in node.inputs:
        link = graph.links.get(socket.link or "")
        origin = graph.nodes.get(link.origin) if link else None
        if link and origin and 0 <= link.origin_slot < len(origin.outputs):
            yield origin.outputs[link.origin_slot].type, link
