"""Values of packs as JSON has them."""

import math
from collections.abc import Mapping
from typing import Any


def jsonable(value: Any) -> Any:
    """The value with nothing in it that JSON lacks: packs use sets, enums, numbers without end, mappings."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Mapping):
        return {jsonable(k) if isinstance(k, str) else str(k): jsonable(value[k]) for k in value}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if getattr(value, "shape", None) == ():  # a number of numpy or torch
        return jsonable(value.item())
    return value if isinstance(value, int | float | bool | None) else str(value)
