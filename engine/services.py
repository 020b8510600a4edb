"""What jobs run on: shared by all jobs of an engine."""

from concurrent.futures import Executor
from dataclasses import dataclass

from engine.cache import Tiers
from engine.cache.leases import Leases
from engine.flights import Flights
from engine.lane import Lane
from engine.pace import Pace
from engine.ports import Env
from engine.registry import Registry


@dataclass(frozen=True)
class Services:
    """The nodes, what they are given, the cache, the device lane, the host threads, how long nodes take.

    Args:
        flights: The nodes that are under way in all jobs.
        leases: Those that processes with the same cache folder have under way; None without a folder.
        shares: Whether the job takes results that others make; not one that is to run all its nodes.
    """

    registry: Registry
    env: Env
    tiers: Tiers
    lane: Lane
    pool: Executor
    pace: Pace
    flights: Flights
    leases: Leases | None
    shares: bool
