"""Results of nodes by key: what a tier promises, and the tiers in order (memory, disk, store)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from engine.trail import Trail


@dataclass(frozen=True)
class Result:
    """What a node gave.

    Args:
        outputs: For each output slot the list of its values (one value, unless lists are mapped).
        ui: What the node shows, replayed on a cache hit.
        cost: Seconds that it took to compute.
        trail: How it and all that it was made of came about; None for one of an older cache.
    """

    outputs: tuple[list[Any], ...]
    ui: Mapping[str, list[Any]] = field(default_factory=dict)
    cost: float = 0.0
    trail: Trail | None = field(default=None, compare=False)


@dataclass(frozen=True)
class KeyParts:
    """A key taken apart, so that a miss can say what changed.

    Args:
        literals: By port, as canonical JSON text.
        links: By port, (key of the source, slot).
        other: Node version and fingerprints, as text.
        lasts: Whether the result may be kept for ever, within this process, or only for this run.
    """

    class_type: str
    node_id: str
    literals: Mapping[str, str]
    links: Mapping[str, tuple[str, int]]
    other: str = ""
    lasts: Literal["ever", "process", "run"] = "ever"


PASSING = "~"
"""Begins the keys of results that must not outlive the process."""
UNKNOWN = KeyParts("", "", {}, {})
"""For a result that is only moved to an earlier tier."""


class Tier(Protocol):
    """One place where results are kept.

    Args:
        quick: Whether `get` answers at once, from memory.
    """

    name: str
    quick: bool

    def has(self, key: str) -> bool:
        """Whether `get` would very likely find it; reads no values."""
        ...

    def get(self, key: str) -> Result | None:
        """The result, or None where it is not kept or is damaged."""
        ...

    def slow(self, result: Result) -> bool:
        """Whether `put` would take more than a moment: it writes to a disk, say."""
        ...

    def put(self, key: str, result: Result, parts: KeyParts) -> None:
        """Keep a result if it can be kept and is worth it; never raises for want of space."""
        ...


class Tiers:
    """Tiers asked in order; a hit in a later one is copied to those before it."""

    def __init__(self, tiers: Iterable[Tier]) -> None:
        self.tiers = tuple(tiers)
        self._quick = tuple(tier for tier in self.tiers if tier.quick)

    @property
    def far(self) -> bool:
        """Whether `where` may take long: it asks other machines."""
        return any(getattr(tier, "far", False) for tier in self.tiers)

    def where(self, key: str) -> str | None:
        """The name of the first tier that has the key, or None."""
        return next((t.name for t in self.tiers if t.has(key)), None)

    def get(self, key: str) -> tuple[Result, str] | None:
        """The result and the name of the tier that had it, or None."""
        for i, tier in enumerate(self.tiers):
            result = tier.get(key)
            if result is not None:
                for earlier in self.tiers[:i]:
                    earlier.put(key, result, UNKNOWN)
                return result, tier.name
        return None

    def is_at_hand(self, key: str) -> bool:
        """Whether a tier that answers at once has it."""
        return any(tier.has(key) for tier in self._quick)

    def at_hand(self, key: str) -> tuple[Result, str] | None:
        """The same, from the tiers that answer at once; None does not mean that there is none."""
        for tier in self._quick:
            if (result := tier.get(key)) is not None:
                return result, tier.name
        return None

    def slow(self, result: Result) -> bool:
        """Whether `put` would take more than a moment."""
        return any(tier.slow(result) for tier in self.tiers)

    def keep(self, key: str, result: Result, parts: KeyParts) -> None:
        """Keep a result in the tiers that answer at once."""
        for tier in self._quick:
            tier.put(key, result, parts)

    def put(self, key: str, result: Result, parts: KeyParts) -> None:
        """Keep a result in the other tiers."""
        for tier in self.tiers:
            if not tier.quick:
                tier.put(key, result, parts)
