"""The names of samplers and schedules, for the choices of packs' nodes."""

from typing import Any, ClassVar

import nodes


def _choices(port: str) -> list[str]:
    """The choices of our own sampling node."""
    known: Any = getattr(nodes, "NODE_CLASS_MAPPINGS", {})
    if "KSampler" not in known:
        return []
    return list(known["KSampler"].INPUT_TYPES()["required"][port][0])


SAMPLER_NAMES = _choices("sampler_name")
SCHEDULER_NAMES = _choices("scheduler")


class KSampler:
    """Holds the names."""

    SAMPLERS: ClassVar[list[str]] = SAMPLER_NAMES
    SCHEDULERS: ClassVar[list[str]] = SCHEDULER_NAMES
