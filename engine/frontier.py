"""Which nodes of a run wait, are ready, have a result or are lost: plain bookkeeping, O(1) for each link."""

from collections.abc import Iterable

from engine.cache import Result
from engine.graph import GraphNode


class Frontier:
    """Follows the nodes that a run demands; knows nothing of how they are run.

    Args:
        results: Of nodes whose result somebody still wants.
        lost: Nodes that failed or were skipped, and the failed node that is the cause.
        pending: Demanded nodes without a result: how many inputs each still waits for.
        ready: Nodes whose inputs are there; the newest goes first, which keeps few results alive.
        made: Nodes that have had a result, kept or not.
        volatile: Nodes whose result must stay, because running them again would give another.
    """

    def __init__(self) -> None:
        self.results: dict[str, Result] = {}
        self.lost: dict[str, str] = {}
        self.pending: dict[str, int] = {}
        self.ready: list[str] = []
        self.made: set[str] = set()
        self.volatile: set[str] = set()
        self._waiters: dict[str, list[str]] = {}
        self._followers: dict[str, list[str]] = {}
        self._uses: dict[str, int] = {}
        self._holds: dict[str, list[str]] = {}

    def settled(self, id: str) -> bool:
        """Whether a node has been demanded, and is under way, at hand or lost."""
        return id in self.results or id in self.lost or id in self.pending

    def keep(self, id: str) -> None:
        """Somebody wants this node's result; it stays until as many have let go."""
        self._uses[id] = self._uses.get(id, 0) + 1

    def release(self, ids: Iterable[str]) -> None:
        """Let go of results that were kept; what nobody wants any more is dropped."""
        for id in ids:
            self._uses[id] = left = self._uses.get(id, 0) - 1
            if left <= 0 and id not in self.volatile:
                self.results.pop(id, None)

    def wait(self, node: GraphNode) -> tuple[list[str], str | None]:
        """Count what a demanded node waits for, and keep its inputs until it has ended.

        Returns:
            The nodes to demand for it, and the lost node that it depends on, if any.
        """
        missing: list[str] = []
        lost = None
        self._holds[node.id] = [link.node_id for link in node.links.values()]
        for port, link in node.links.items():
            self.keep(link.node_id)
            value = node.node.input(port)
            if value and value.lazy:
                continue
            if link.node_id in self.lost:
                lost = link.node_id
            elif link.node_id not in self.results:
                self._waiters.setdefault(link.node_id, []).append(node.id)
                missing.append(link.node_id)
        self.pending[node.id] = len(missing)
        if lost is None and not missing:
            self.ready.append(node.id)
        return missing, lost

    def follow(self, id: str, leader: str) -> None:
        """A demanded node takes the result of another, which has the same key."""
        self.pending[id] = 1
        self._followers.setdefault(leader, []).append(id)

    def followers(self, leader: str) -> list[str]:
        """The nodes that follow this one; asked once, when it has its result."""
        return self._followers.pop(leader, [])

    def have(self, id: str, result: Result) -> None:
        """A node has its result: ready those that waited for it alone, let go of its inputs."""
        self.pending.pop(id, None)
        self.results[id] = result
        self.made.add(id)
        self.release(self._holds.pop(id, ()))
        for waiter in self._waiters.pop(id, []):
            if waiter in self.pending:
                self.pending[waiter] -= 1
                if self.pending[waiter] == 0:
                    self.ready.append(waiter)

    def lose(self, id: str, because: str) -> list[str]:
        """A node will have no result; returns it and all demanded nodes that are lost with it."""
        lost = [id]
        self.pending.pop(id, None)
        self.lost[id] = because
        for gone in lost:
            self.release(self._holds.pop(gone, ()))
            for waiter in (*self._waiters.pop(gone, ()), *self._followers.pop(gone, ())):
                if waiter in self.pending:
                    del self.pending[waiter]
                    self.lost[waiter] = because
                    lost.append(waiter)
        return lost
