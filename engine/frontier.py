"""Which nodes of a run wait, are ready, have a result or are lost: plain bookkeeping, O(1) for each link."""

from engine.cache import Result
from engine.graph import GraphNode


class Frontier:
    """Follows the nodes that a run demands; knows nothing of how they are run.

    Args:
        results: Of nodes whose result somebody still wants.
        lost: Nodes that failed or were skipped, and the failed node that is the cause.
        pending: Demanded nodes without a result: how many inputs each still waits for.
        ready: Nodes whose inputs are there; the newest goes first, which keeps few results alive.
    """

    def __init__(self) -> None:
        self.results: dict[str, Result] = {}
        self.lost: dict[str, str] = {}
        self.pending: dict[str, int] = {}
        self.ready: list[str] = []
        self._waiters: dict[str, list[str]] = {}
        self._uses: dict[str, int] = {}
        self._holding: set[str] = set()  # nodes that keep their inputs; one served from the cache does not
        self._under_way: dict[str, list[str]] = {}
        self._holder: dict[str, str] = {}

    def settled(self, id: str) -> bool:
        """Whether a node has been demanded, made or lost already."""
        return id in self.results or id in self.lost or id in self.pending

    def keep(self, id: str) -> None:
        """Somebody wants this node's result; it stays until as many have let go."""
        self._uses[id] = self._uses.get(id, 0) + 1

    def wait(self, node: GraphNode) -> tuple[list[str], str | None]:
        """Count what a demanded node waits for.

        Returns:
            The nodes to demand for it, and the lost node that it depends on, if any.
        """
        missing: list[str] = []
        lost = None
        self._holding.add(node.id)
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

    def held(self, key: str) -> Result | None:
        """The result of a node with this key, if one of this run is still at hand."""
        holder = self._holder.get(key)
        return None if holder is None else self.results.get(holder)

    def begin(self, id: str, key: str) -> bool:
        """Whether a node may run now; if another with its key is under way, it waits for that one's result."""
        if key in self._under_way:
            self._under_way[key].append(id)
            return False
        self._under_way[key] = []
        return True

    def end(self, key: str) -> list[str]:
        """A node with this key has ended; returns the nodes that waited for its result."""
        return self._under_way.pop(key, [])

    def have(self, node: GraphNode, key: str, result: Result, volatile: frozenset[str] = frozenset()) -> None:
        """A node has its result: ready those that waited for it alone, drop inputs that nobody wants any more.

        Args:
            volatile: Its sources whose result must stay, because running them again would give another.
        """
        self.pending.pop(node.id, None)
        self.results[node.id] = result
        self._holder[key] = node.id
        if node.id in self._holding:
            self._holding.discard(node.id)
            self._release(node, volatile)
        for waiter in self._waiters.pop(node.id, []):
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
            for waiter in self._waiters.pop(gone, []):
                if waiter in self.pending:
                    del self.pending[waiter]
                    self.lost[waiter] = because
                    lost.append(waiter)
        return lost

    def _release(self, node: GraphNode, volatile: frozenset[str]) -> None:
        for link in node.links.values():
            self._uses[link.node_id] = left = self._uses.get(link.node_id, 0) - 1
            if left <= 0 and link.node_id not in volatile:
                self.results.pop(link.node_id, None)
