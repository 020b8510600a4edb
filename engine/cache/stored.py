"""What tiers that outlive the process share: which results are worth keeping, and results as bytes."""

from collections.abc import Sequence
from typing import Any

from engine.cache import Result
from engine.cache.codec import decode, encode
from engine.trail import from_json


def is_worth(result: Result, seconds: float) -> bool:
    """Whether a result is worth a blob: it took so long to compute, or shows files that will stay."""
    return result.cost >= seconds or bool(result.ui and not _shows_temporary(result))


def to_bytes(result: Result) -> bytes:
    """The values of a result and what it shows.

    Raises:
        NotStorable: Something in it has no codec.
        RecursionError: It is nested too deeply.
    """
    return encode({"outputs": list(result.outputs), "ui": dict(result.ui)})


def from_bytes(data: bytes, cost: float, trail: Sequence[Sequence[Any]] | None) -> Result | None:
    """The result that `to_bytes` made these bytes of; None if another version made it.

    Args:
        trail: As `engine.trail.Trail.as_json`.
    """
    try:
        value = decode(data)
        made = from_json(trail) if trail else None
        return Result(tuple(value["outputs"]), value["ui"], float(cost), made)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _shows_temporary(result: Result) -> bool:
    """Whether it shows files that are gone when the program next starts."""
    entries = (e for entries in result.ui.values() for e in entries)
    return any(isinstance(e, dict) and e.get("type") == "temp" for e in entries)
