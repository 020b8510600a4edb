"""How a result came about: its digest, the batch rungs of its model calls, and those of all it is made of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, repeat
from typing import Any, TypeAlias

Rungs: TypeAlias = int | list[list[list[int]]]
"""The rungs of a node's model calls, row by row: one number where all are equal, else for each of its calls a
list of runs [rung, rows]."""
ALONE = 0
"""In place of a rung: the rows of a call are batched among themselves only, at the rung that fits them."""


@dataclass(frozen=True)
class Note:
    """What is known of one result.

    Args:
        digest: As `engine.cache.codec.digest`; None where its values have no codec.
        rungs: None where it called no model.
        dtype: What its models computed in ("float16"), where they say so.
        made: A digest of the surroundings that it was made in: versions and device.
    """

    digest: str | None = None
    rungs: Rungs | None = None
    dtype: str = ""
    made: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class Trail:
    """A result's note, and the trails of what the node was linked to; these are shared, so each is small."""

    key: str
    note: Note
    sources: tuple["Trail", ...] = field(default=(), repr=False)

    def notes(self) -> dict[str, Note]:
        """The notes of this result and of all that it was made of, by key; O(results + links)."""
        found: dict[str, Note] = {}
        seen: set[int] = set()
        stack = [self]
        while stack:
            trail = stack.pop()
            if id(trail) not in seen:
                seen.add(id(trail))
                found[trail.key] = trail.note
                stack.extend(trail.sources)
        return found

    def as_json(self) -> list[list[Any]]:
        """The notes as JSON, this result's first."""
        return [[key, n.digest, n.rungs, n.dtype, n.made] for key, n in self.notes().items()]


def from_json(rows: Sequence[Sequence[Any]]) -> Trail:
    """The trail that `Trail.as_json` made these rows of, without its shape.

    Raises:
        ValueError: They are none.
        TypeError: They are none.
    """
    first, *others = (Trail(str(key), Note(*note)) for key, *note in rows)
    return Trail(first.key, first.note, tuple(others))


def packed(calls: Sequence[Sequence[int]]) -> Rungs | None:
    """The rungs of each row of each call of a node, in short."""
    kinds = {rung for rows in calls for rung in rows}
    if len(kinds) <= 1:
        return kinds.pop() if kinds else None
    return [[[rung, len(list(rows))] for rung, rows in groupby(call)] for call in calls]


def unpacked(rungs: Rungs, call: int) -> Iterator[int]:
    """The rungs of the rows of one call of a node, in order; endless where all are equal."""
    if isinstance(rungs, int):
        while True:
            yield rungs
    for rung, rows in rungs[call] if call < len(rungs) else ():
        for _ in range(rows):
            yield rung


@dataclass(frozen=True)
class Pinned:
    """The rungs that model calls are to be batched at, by node id; put into a run's `Env`.

    Args:
        rungs: Of nodes of the workflow; `ALONE` for calls that share their batches with nothing else.
        otherwise: The rung of every row of other nodes, those that running nodes add among them; None
            leaves it to the lane.
    """

    rungs: Mapping[str, Rungs] = field(default_factory=dict)
    otherwise: int | None = None

    def of(self, id: str, call: int) -> Iterator[int] | None:
        """The rungs of a node's call, or None where it may have any."""
        if id in self.rungs:
            return unpacked(self.rungs[id], call)
        return None if self.otherwise is None else repeat(self.otherwise)
