"""What jobs run on: shared by all jobs of an engine."""

from concurrent.futures import Executor
from dataclasses import dataclass

from engine.cache import Tiers
from engine.lane import Lane
from engine.pace import Pace
from engine.ports import Env
from engine.registry import Registry


@dataclass(frozen=True)
class Services:
    """The nodes, what they are given, the cache, the device lane, the host threads, how long nodes take."""

    registry: Registry
    env: Env
    tiers: Tiers
    lane: Lane
    pool: Executor
    pace: Pace
