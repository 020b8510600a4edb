"""What jobs run on: shared by all jobs of an engine."""

from concurrent.futures import Executor
from dataclasses import dataclass

from engine.cache import Tiers
from engine.lane import Lane
from engine.ports import Env
from engine.registry import Registry


@dataclass(frozen=True)
class Services:
    """The nodes, what they are given, the cache, the device lane and the host threads."""

    registry: Registry
    env: Env
    tiers: Tiers
    lane: Lane
    pool: Executor
