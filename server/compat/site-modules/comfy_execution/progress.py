"""Progress of nodes: packs may tell it here, and may listen to what they tell."""

from collections.abc import Callable
from enum import Enum
from typing import Any, TypedDict

from server.compat.context import running_now
from server.compat.reporting import report


class NodeState(Enum):
    """How far a node is."""

    Pending = "pending"
    Running = "running"
    Finished = "finished"
    Error = "error"


class NodeProgressState(TypedDict):
    """What is known of a node's progress."""

    state: NodeState
    value: float
    max: float


class ProgressHandler:
    """Told of progress; subclasses override what they want to know."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.enabled = True

    def set_registry(self, registry: "ProgressRegistry") -> None:
        """Whose progress it is."""

    def start_handler(self, node_id: str, state: NodeProgressState, prompt_id: str) -> None:
        """A node begins."""

    def update_handler(
        self, node_id: str, value: float, max_value: float, state: NodeProgressState, prompt_id: str,
        image: Any = None,
    ) -> None:  # fmt: skip
        """A node has gone on."""

    def finish_handler(self, node_id: str, state: NodeProgressState, prompt_id: str) -> None:
        """A node has ended."""

    def reset(self) -> None:
        """A run begins."""

    def enable(self) -> None:
        """Have it told again."""
        self.enabled = True

    def disable(self) -> None:
        """Have it told no more."""
        self.enabled = False


class ProgressRegistry:
    """Takes progress and tells the engine and the handlers."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeProgressState] = {}
        self.handlers: dict[str, ProgressHandler] = {}

    @property
    def prompt_id(self) -> str:
        """The run of the caller."""
        running = running_now()
        return running.info.name if running else ""

    def register_handler(self, handler: ProgressHandler) -> None:
        """Have a handler told."""
        self.handlers[handler.name] = handler

    def unregister_handler(self, handler_name: str) -> None:
        """Have it told no more."""
        self.handlers.pop(handler_name, None)

    def ensure_entry(self, node_id: str) -> NodeProgressState:
        """What is known of a node."""
        return self.nodes.setdefault(node_id, {"state": NodeState.Pending, "value": 0, "max": 1})

    def start_progress(self, node_id: str) -> None:
        """A node begins."""
        entry = self.ensure_entry(node_id)
        entry.update({"state": NodeState.Running, "value": 0.0, "max": 1.0})
        self._tell(lambda h: h.start_handler(node_id, entry, self.prompt_id))

    def update_progress(self, node_id: str, value: float, max_value: float, image: Any = None) -> None:
        """A node has done `value` of `max_value`."""
        entry = self.ensure_entry(node_id)
        entry.update({"state": NodeState.Running, "value": value, "max": max_value})
        report(value, max_value, image, node_id)
        self._tell(lambda h: h.update_handler(node_id, value, max_value, entry, self.prompt_id, image))

    def finish_progress(self, node_id: str) -> None:
        """A node has ended."""
        entry = self.ensure_entry(node_id)
        entry.update({"state": NodeState.Finished, "value": entry["max"], "max": entry["max"]})
        self._tell(lambda h: h.finish_handler(node_id, entry, self.prompt_id))

    def reset_handlers(self) -> None:
        """A run begins."""
        self._tell(lambda h: h.reset())

    def _tell(self, say: Callable[[ProgressHandler], None]) -> None:
        for handler in [h for h in self.handlers.values() if h.enabled]:
            say(handler)


_registry = ProgressRegistry()


def get_progress_state() -> ProgressRegistry:
    """Where progress is told."""
    return _registry


def add_progress_handler(handler: ProgressHandler) -> None:
    """Have a handler told of the progress that packs tell."""
    handler.set_registry(_registry)
    _registry.register_handler(handler)
