"""The held tier: results that jobs of a batch still need, kept in memory until the last of them has ended."""

import threading
from collections.abc import Iterable, Mapping

from engine.cache import KeyParts, Result
from engine.cache.codec import nbytes


class HeldTier:
    """Keeps what is going to be needed again, whatever it cost and whether or not it has a codec.

    It goes before the other tiers, which forget by size and age.

    Args:
        uses: How many jobs need the result of each key, those that have ended left out.
        budget: Bytes that all results together may take; one that would go beyond is not kept.
    """

    name = "held"
    quick = True

    def __init__(self, uses: Mapping[str, int], budget: int) -> None:
        self._uses, self._budget = {key: count for key, count in uses.items() if count > 0}, budget
        self._results: dict[str, tuple[Result, int]] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def has(self, key: str) -> bool:
        """Whether it is kept."""
        return key in self._results

    def get(self, key: str) -> Result | None:
        """The result, or None."""
        found = self._results.get(key)
        return found[0] if found else None

    def slow(self, result: Result) -> bool:
        """Never."""
        del result
        return False

    def put(self, key: str, result: Result, parts: KeyParts) -> None:
        """Keep a result that a job needs, while there is room."""
        del parts
        if key not in self._uses or key in self._results:
            return
        size = nbytes(result.outputs) + nbytes(result.ui)
        with self._lock:
            if key in self._uses and key not in self._results and self._bytes + size <= self._budget:
                self._results[key] = result, size
                self._bytes += size

    def used(self, keys: Iterable[str]) -> None:
        """A job that needs these has ended: results that were kept for it alone are dropped."""
        with self._lock:
            for key in set(keys) & self._uses.keys():
                self._uses[key] -= 1
                if not self._uses[key]:
                    del self._uses[key]
                    self._bytes -= self._results.pop(key, (None, 0))[1]

    @property
    def bytes(self) -> int:
        """Bytes that the results take."""
        return self._bytes
