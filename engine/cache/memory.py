"""The memory tier: results of this process, bounded in bytes, cheapest to recompute per byte out first."""

import heapq
import threading

from engine.cache import KeyParts, Result
from engine.cache.codec import nbytes

MOST = 20_000
"""Results that are kept, however small: what surrounds one takes 2 kB, and the collector visits them all."""


class MemoryTier:
    """Keeps results as they are, on the device where they lie.

    What goes first is decided by GreedyDual-Size (Cao & Irani 1997): priority = age + cost / size, where age
    rises to the priority of what was let go last; O(log n) for each result.

    Args:
        budget: Bytes that all results together may take.
    """

    name = "memory"
    quick = True

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._results: dict[str, tuple[Result, int, float]] = {}
        self._heap: list[tuple[float, str]] = []
        self._bytes = 0
        self._age = 0.0
        self._lock = threading.Lock()

    def has(self, key: str) -> bool:
        """Whether it is kept."""
        return key in self._results

    def get(self, key: str) -> Result | None:
        """The result, or None."""
        with self._lock:
            found = self._results.get(key)
            if found is None:
                return None
            result, size, _ = found
            self._rank(key, result, size)
            return result

    def slow(self, result: Result) -> bool:
        """Never."""
        del result
        return False

    def put(self, key: str, result: Result, parts: KeyParts) -> None:
        """Keep a result unless it alone is over the budget."""
        del parts  # only a tier that outlives the process explains its misses
        size = nbytes(result.outputs) + nbytes(result.ui)
        with self._lock:
            self._drop(key)
            if size > self._budget:
                return
            self._bytes += size
            self._rank(key, result, size)
            while self._bytes > self._budget or len(self._results) > MOST:
                priority, oldest = heapq.heappop(self._heap)
                kept = self._results.get(oldest)
                if kept is not None and kept[2] == priority:
                    self._age = priority
                    self._drop(oldest)

    @property
    def used(self) -> int:
        """Bytes that the results take."""
        return self._bytes

    def clear(self) -> None:
        """Let everything go."""
        with self._lock:
            self._results.clear()
            self._heap.clear()
            self._bytes = 0

    def _rank(self, key: str, result: Result, size: int) -> None:
        priority = self._age + (result.cost + 1e-6) / size
        self._results[key] = (result, size, priority)
        heapq.heappush(self._heap, (priority, key))
        if len(self._heap) > 4 * len(self._results) + 64:  # stale entries of re-ranked results
            self._heap = [(p, k) for k, (_, _, p) in self._results.items()]
            heapq.heapify(self._heap)

    def _drop(self, key: str) -> None:
        kept = self._results.pop(key, None)
        if kept is not None:
            self._bytes -= kept[1]
