"""Rows that wait for a model: which may share a batch, whose turn it is, which go together."""

from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from engine.trail import ALONE

LADDER = (1, 2, 4, 8, 16, 32)
PASSED_OVER = 8
"""Batches after which a group goes though it fills only part of one."""


class Asker(Protocol):
    """Who asks a model: how urgently, and whether it still wants an answer."""

    priority: int
    done: bool


W = TypeVar("W", bound=Asker)


@dataclass(eq=False)
class Waiting(Generic[W]):
    """A call whose requests are being answered, in one batch or several; answers with their rungs."""

    walk: W
    left: int
    answers: dict[int, tuple[Any, int]] = field(default_factory=dict)
    failed: bool = False


@dataclass
class Row(Generic[W]):
    """One request of a call."""

    request: Any
    waiting: Waiting[W]
    index: int


@dataclass
class Group(Generic[W]):
    """Rows that may share a batch, by the priority of who asks.

    Args:
        rung: Where it is pinned; `ALONE` for rows of one call.
        passed: How many batches went before it while it waited.
    """

    target: Any
    rung: int | None
    rows: dict[int, deque[Row[W]]] = field(default_factory=dict)
    passed: int = 0

    def add(self, row: Row[W]) -> None:
        """Let a row wait."""
        self.rows.setdefault(row.waiting.walk.priority, deque()).append(row)

    def take(self, most: int, priority: int) -> list[Row[W]]:
        """At most so many rows of one priority that still want an answer."""
        taken: list[Row[W]] = []
        rows = self.rows[priority]
        while rows and len(taken) < most:
            row = rows.popleft()
            if not (row.waiting.walk.done or row.waiting.failed):
                taken.append(row)
        if not rows:
            del self.rows[priority]
        return taken

    def is_due(self, largest: int) -> bool:
        """Whether waiting longer would not fill its batch any further, or it has waited long enough."""
        rows = sum(map(len, self.rows.values()))
        return rows >= (self.rung or largest) or self.rung == ALONE or self.passed >= PASSED_OVER


class Groups(Generic[W]):
    """All rows that wait.

    Args:
        rungs: Allowed batch sizes, rising.
        fixed: Whether every batch has the largest.
    """

    def __init__(self, rungs: Sequence[int], fixed: bool = False) -> None:
        self._rungs, self._fixed = tuple(rungs), fixed
        self._groups: dict[tuple[Hashable, ...], Group[W]] = {}

    def __bool__(self) -> bool:
        return bool(self._groups)

    def rung(self, rows: int) -> int:
        """The batch size for so many rows."""
        return self._rungs[-1] if self._fixed else next(r for r in self._rungs if r >= rows)

    def add(
        self, target: Any, waiting: Waiting[W], requests: Iterable[tuple[Hashable, Any, int | None]]
    ) -> None:
        """Let the requests of a call wait.

        Args:
            requests: Each with its batch key and the rung that it is pinned to, if any.

        Raises:
            TypeError: A key cannot be hashed; nothing waits then.
        """
        keyed = [
            ((target, key, rung, waiting if rung == ALONE else None), rung, request)
            for key, request, rung in requests
        ]
        hash(tuple(key for key, _, _ in keyed))
        for i, (key, rung, request) in enumerate(keyed):
            group = self._groups.get(key)
            if group is None:
                group = self._groups[key] = Group(target, rung)
            group.add(Row(request, waiting, i))

    def next(self) -> tuple[Group[W], list[Row[W]]]:
        """The rows of the next batch, at least one group waiting; none where nobody wants them any more.

        Of the groups with rows of the highest priority the oldest that is due goes, else the oldest. None of
        them starves: after `PASSED_OVER` batches it is due, and of those that are the oldest goes first.
        """
        top = max(priority for group in self._groups.values() for priority in group.rows)
        urgent = [key for key, group in self._groups.items() if top in group.rows]
        due = (key for key in urgent if self._groups[key].is_due(self._rungs[-1]))
        group = self._groups.pop(key := next(due, urgent[0]))
        for other in urgent:
            if other != key:
                self._groups[other].passed += 1
        rows = self._taken(group)
        if group.rows:
            group.passed = 0
            self._groups[key] = group  # at the end: other groups have waited too
        return group, rows

    def _taken(self, group: Group[W]) -> list[Row[W]]:
        """The most urgent rows, and others in place of padding only, so that they cost those nothing."""
        most, rows = group.rung or self._rungs[-1], list[Row[W]]()
        for priority in sorted(group.rows, reverse=True):
            rows += group.take(most - len(rows), priority)
            most = group.rung or (self.rung(len(rows)) if rows else most)
        return rows
