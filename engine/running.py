"""What a node may know of the run that it is part of: its place there, how to report, whether to stop."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.events import Event, NodeProgress
from engine.ports import Env

if TYPE_CHECKING:
    from engine.expand import RunNodes
    from engine.graph import GraphNode
    from engine.job import Job


@dataclass(frozen=True)
class RunInfo:
    """What whoever starts a run says of it; put into the run's `Env`.

    Args:
        name: What the run is called outside (the id of a prompt).
        hidden: What hidden inputs get, by their source, beside or instead of `PROMPT` and `EXTRA_PNGINFO`.
    """

    name: str = ""
    hidden: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Running:
    """A node being run, for a parameter of this type that is `Given`; its methods are for any thread.

    Args:
        node_id: The node's id, possibly of an added node.
        nodes: All nodes of the run.
        info: What was said of the run when it was started.
    """

    node_id: str
    nodes: "RunNodes"
    info: RunInfo
    run: "Job"
    later: Callable[[Callable[[], None]], None]

    @property
    def stopped(self) -> bool:
        """Whether the run is to end."""
        return self.run.cancelled

    def stop(self) -> None:
        """End the run as if it were cancelled."""
        self.run.cancel()

    def report(self, step: float, total: float, preview: Any = None, node_id: str | None = None) -> None:
        """Tell how far the node is (or another one of the run), with a preview of what it makes."""
        id = self.node_id if node_id is None else node_id
        self.tell(NodeProgress(id, step, total, preview, self.nodes.display(id)))

    def tell(self, event: Event) -> None:
        """Tell the run's listener something."""
        self.later(lambda: self.run.listen(event))


def given_to(node: "GraphNode", run: "Job", later: Callable[[Callable[[], None]], None]) -> Env:
    """What a node may be given: what the run is given, and the node itself as it runs."""
    env = run.services.env
    if Running not in node.node.given.values():
        return env
    info = env[RunInfo] if RunInfo in env else RunInfo()
    return env.with_(Running(node.id, run.cast, info, run, later))
