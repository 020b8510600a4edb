"""The nodes of a run as packs see them: what stands in the prompt and what was added to it."""

from typing import Any

from engine.expand import RunNodes
from server.compat.outcomes import lowered


class NodeNotFoundError(Exception):
    """There is no node of this id in the run."""


class DynamicPrompt:
    """The prompt of a run with the nodes that were added while it runs."""

    def __init__(self, nodes: RunNodes) -> None:
        self._nodes = nodes

    def get_node(self, node_id: str) -> dict[str, Any]:
        """The node as API-format JSON.

        Raises:
            NodeNotFoundError: There is none.
        """
        try:
            saved = self._nodes.saved(node_id)
        except KeyError:
            raise NodeNotFoundError(f"node {node_id} is not in the prompt") from None
        return {**saved, "inputs": {k: lowered(v) for k, v in (saved.get("inputs") or {}).items()}}

    def has_node(self, node_id: str) -> bool:
        """Whether there is a node of this id."""
        try:
            self._nodes.saved(node_id)
        except KeyError:
            return False
        return True

    def all_node_ids(self) -> set[str]:
        """The ids of all nodes."""
        return set(self._nodes.ids)

    def get_real_node_id(self, node_id: str) -> str:
        """The node of the prompt that an added one came from."""
        return self._nodes.top(node_id)

    def get_parent_node_id(self, node_id: str) -> str | None:
        """The node that added this one."""
        return self._nodes.parent(node_id)

    def get_display_node_id(self, node_id: str) -> str:
        """The node that stands for this one in an editor."""
        return self._nodes.display(node_id)

    def get_original_prompt(self) -> dict[str, Any]:
        """The prompt as it was sent."""
        prompt: dict[str, Any] = self._nodes.hidden["PROMPT"]
        return prompt
