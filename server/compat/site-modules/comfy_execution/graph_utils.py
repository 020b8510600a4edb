"""Building the graphs that nodes expand to: nodes with ids that are the same in every run."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from engine.ports import Blocked as ExecutionBlocker
from server.compat.context import CALL

__all__ = ["ExecutionBlocker", "GraphBuilder", "Node", "add_graph_prefix", "is_link"]


def is_link(obj: object) -> TypeGuard[list[Any]]:
    """Whether a value is a link, `[node id, slot]`."""
    if not isinstance(obj, list) or len(obj) != 2:
        return False
    return isinstance(obj[0], str) and isinstance(obj[1], int | float)


class Node:
    """A node of a graph that is being built."""

    def __init__(self, id: str, class_type: str, inputs: dict[str, Any]) -> None:
        self.id, self.class_type, self.inputs = id, class_type, inputs
        self.override_display_id: str | None = None

    def out(self, index: int) -> list[Any]:
        """A link to an output."""
        return [self.id, index]

    def set_input(self, key: str, value: Any) -> None:
        """Set an input; None takes it away."""
        if value is None:
            self.inputs.pop(key, None)
        else:
            self.inputs[key] = value

    def get_input(self, key: str) -> Any:
        """The input, or None."""
        return self.inputs.get(key)

    def set_override_display_id(self, override_display_id: str | None) -> None:
        """The node that stands for this one in an editor."""
        self.override_display_id = override_display_id

    def serialize(self) -> dict[str, Any]:
        """The node as API-format JSON."""
        shown = {} if self.override_display_id is None else {"override_display_id": self.override_display_id}
        return {"class_type": self.class_type, "inputs": self.inputs, **shown}


class GraphBuilder:
    """A graph that is being built.

    Args:
        prefix: Begins the ids of its nodes; by default made of the node that is being run, the number of its
            call and the number of the graph within the call.
    """

    _default: tuple[str, int] = ("", 0)
    _numbers = itertools.count()

    def __init__(self, prefix: str | None = None) -> None:
        self.prefix = self.alloc_prefix() if prefix is None else prefix
        self.nodes: dict[str, Node] = {}
        self._ids = itertools.count(1)

    @classmethod
    def set_default_prefix(cls, prefix_root: str, call_index: int, graph_index: int = 0) -> None:
        """What default prefixes are made of outside a node."""
        GraphBuilder._default = (prefix_root, call_index)
        GraphBuilder._numbers = itertools.count(graph_index)

    @classmethod
    def alloc_prefix(
        cls, root: str | None = None, call_index: int | None = None, graph_index: int | None = None
    ) -> str:
        """The next default prefix, "<node id>.<call>.<graph>."."""
        call = CALL.get()
        default = (call.running.node_id, call.index or 0) if call else GraphBuilder._default
        number = next(call.graphs if call else GraphBuilder._numbers)
        parts = (
            default[0] if root is None else root,
            default[1] if call_index is None else call_index,
            number if graph_index is None else graph_index,
        )
        return "".join(f"{part}." for part in parts)

    def node(self, class_type: str, id: str | None = None, **kwargs: Any) -> Node:
        """Add a node, or the one that has this id already."""
        full = self.prefix + (str(next(self._ids)) if id is None else id)
        return self.nodes.setdefault(full, Node(full, class_type, kwargs))

    def lookup_node(self, id: str) -> Node | None:
        """The node that was given this id."""
        return self.nodes.get(self.prefix + id)

    def finalize(self) -> dict[str, dict[str, Any]]:
        """The graph as API-format JSON."""
        return {id: node.serialize() for id, node in self.nodes.items()}

    def replace_node_output(self, node_id: str, index: int, new_value: Any) -> None:
        """Link what is linked to an output to something else; None takes the inputs away."""
        old = [self.prefix + node_id, index]
        for node in self.nodes.values():
            for key in [k for k, v in node.inputs.items() if is_link(v) and v == old]:
                node.set_input(key, new_value)

    def remove_node(self, id: str) -> None:
        """Take a node away."""
        del self.nodes[self.prefix + id]


def add_graph_prefix(
    graph: Mapping[str, Mapping[str, Any]], outputs: Sequence[Any], prefix: str
) -> tuple[dict[str, dict[str, Any]], tuple[Any, ...]]:
    """The graph with a prefix before all ids, and the outputs with their links likewise."""

    def moved(value: Any) -> Any:
        return [prefix + value[0], value[1]] if is_link(value) else value

    nodes = {
        prefix + id: {
            "class_type": node["class_type"],
            "inputs": {name: moved(value) for name, value in node.get("inputs", {}).items()},
        }
        for id, node in graph.items()
    }
    return nodes, tuple(map(moved, outputs))
