"""Results that a job need not make: from the cache, from other jobs of the engine, from other processes."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine.attempt import Attempt
from engine.cache import Result
from engine.cache.leases import FIRST_LOOK_S, LAST_LOOK_S, Lease, Leases
from engine.expand import RunNodes
from engine.flights import Flight, may_land
from engine.plan import Plan, outputs_there
from engine.services import Services

log = logging.getLogger(__name__)


@dataclass
class Found:
    """Where it is told what came of a node; each is called on the loop's thread.

    Args:
        share: Its result is there, and which tier had it.
        missed: The cache no longer has it.
        again: It is to be demanded again.
        ready: It is to be dispatched again.
        later: Has something done on the loop's thread, from any thread.
        still: Whether nothing moves in the job but what it follows.
    """

    share: Callable[[str, Result, str], None]
    missed: Callable[[str], None]
    again: Callable[[str], None]
    ready: Callable[[str], None]
    later: Callable[[Callable[[], None]], None]
    still: Callable[[], bool]


class Elsewhere:
    """Finds results of a job's nodes elsewhere, and gives others those that it makes.

    Args:
        priority: Of the job.
        fetching: How many results are being read.
        following: By node, what it waits for in another job of the engine.
        background: Results that are being written.
    """

    def __init__(self, plan: Plan, services: Services, cast: RunNodes, found: Found, priority: int) -> None:
        self.priority, self.fetching = priority, 0
        self.following: dict[str, Flight] = {}
        self.background: set[asyncio.Future[Any]] = set()
        self._plan, self._services, self._cast, self._found = plan, services, cast, found
        self._planned = frozenset(plan.runs)
        self._shares = services.shares
        self._led: set[str] = set()
        self._leases: dict[str, Lease] = {}
        self._leasing: set[str] = set()

    @property
    def waiting(self) -> int:
        """How many nodes wait for others to make their result; they take no place."""
        return len(self.following) + len(self._leasing)

    @property
    def coming(self) -> bool:
        """Whether a result is being read, or made by another process."""
        return bool(self.fetching or self._leasing)

    @property
    def still(self) -> bool:
        """Whether nothing moves in the job but what it follows."""
        return self._found.still()

    # ------------------------------------------------------------ the cache

    def has(self, id: str) -> bool:
        """Whether the cache has a node's result: had when it was planned, or has at hand since then."""
        if id in self._plan.served:
            return True
        key, tiers = self._cast.keys[id], self._services.tiers
        there = tiers.is_at_hand(key) if id in self._planned else tiers.where(key) is not None
        return there and self._is_whole(id)

    def fetch(self, id: str) -> None:
        """Have the cache's result told."""
        if (found := self._services.tiers.at_hand(self._cast.keys[id])) is not None:
            return self._found.share(id, *found)
        self._read(id, self._found.missed)

    def _is_whole(self, id: str) -> bool:
        """Whether the files that an output node's kept result shows are there."""
        if not self._cast.nodes[id].node.is_output:
            return True
        return outputs_there(self._services.tiers, self._cast.keys[id], self._services.env)

    def _read(self, id: str, missed: Callable[[str], None]) -> None:
        def taken() -> None:
            self.fetching -= 1
            if error := future.exception():
                log.warning("the cached result of node %s cannot be read (%s); running it", id, error)
            found = None if error else future.result()
            if found is None:
                return missed(id)
            self._found.share(id, *found)

        self.fetching += 1
        key, services = self._cast.keys[id], self._services
        future = asyncio.get_running_loop().run_in_executor(services.pool, services.tiers.get, key)
        future.add_done_callback(lambda _: self._found.later(taken))

    def store(self, attempt: Attempt, result: Result) -> None:
        """Keep a result that was made; on another thread where that takes long."""
        tiers, id = self._services.tiers, attempt.node.id
        key, parts, lease = self._cast.keys[id], self._cast.parts[id], self._leases.pop(id, None)
        tiers.keep(key, result, parts)
        if self._services.leases is not None:
            self._services.leases.took(attempt.node.node.name, result.cost, attempt.digest is not None)
        if not tiers.slow(result):
            tiers.put(key, result, parts)
            if lease:
                lease.release()
            return
        future = asyncio.get_running_loop().run_in_executor(
            self._services.pool, tiers.put, key, result, parts
        )
        self.background.add(future)
        future.add_done_callback(self.background.discard)
        if lease:
            future.add_done_callback(lambda _: lease.release())

    # ------------------------------------------------------------ other jobs and other processes

    def follows(self, id: str) -> bool:
        """Whether a node waits from now on for another job to make its result; else others may for it."""
        if not self._shares or self._cast.parts[id].lasts == "run":
            return False
        flight = self._services.flights.board(self._cast.keys[id], self, id)
        if flight is None:
            self._led.add(id)
            return False
        self.following[id] = flight
        return True

    def may_run(self, id: str) -> bool:
        """Whether a node with all its inputs is to run now; not while another process makes its result."""
        leases = self._services.leases
        return leases is None or id not in self._led or id in self._leases or self._is_leased(leases, id)

    def landed(self, id: str, result: Result | None, failed: bool) -> None:
        """What a node followed has ended; without a result it is run here."""

        def go_on() -> None:
            if self.following.pop(id, None) is None:
                return
            if result is not None:
                return self._found.share(id, result, "run")
            self._shares = self._shares and not failed  # what fails there fails here: others need not wait
            self._found.again(id)

        self._found.later(go_on)

    def ended(self, id: str, result: Result | None, failed: bool = False) -> None:
        """A node has ended: tell who waits for it in other jobs and processes."""
        if id in self._led:
            self._led.discard(id)
            if self._leases:
                self.release(id)
            self._services.flights.land(self._cast.keys[id], self, result, failed)

    def release(self, id: str) -> None:
        """Let other processes make a node's result: it failed, or waits for other nodes itself."""
        if (lease := self._leases.pop(id, None)) is not None:
            lease.release()

    def may_land(self) -> bool:
        """Whether anything moves in the jobs that nodes of this one wait for."""
        return bool(self.following) and may_land(self)

    def insist(self) -> bool:
        """Run here what is waited for in other jobs; whether that is anything."""
        waiting = list(self.following)
        self.following.clear()
        self._shares = False
        for id in waiting:
            self._found.again(id)
        return bool(waiting)

    def leave(self) -> None:
        """The job ends: it waits for nothing any more, and nobody for it."""
        self.following.clear()
        self._leasing.clear()
        for id in list(self._led):
            self.ended(id, None)

    def _is_leased(self, leases: Leases, id: str) -> bool:
        """Whether no other process makes the result, nor has made it; if one does, it is waited for."""
        node = self._cast.nodes[id].node
        if node.is_output or self._cast.parts[id].lasts != "ever":
            return True
        if not leases.worth(node.name, node.is_generator):
            return True
        lease = leases.take(self._cast.keys[id])
        if lease is None:
            self._leasing.add(id)
            self._look_again(leases, id, FIRST_LOOK_S, time.monotonic() + leases.patience(node.name))
            return False
        self._leases[id] = lease
        return not self._was_stored(leases, id)

    def _look_again(self, leases: Leases, id: str, seconds: float, until: float) -> None:
        """Take the lease of a node once it is free, or run the node without when that takes too long."""

        def look() -> None:
            if id not in self._leasing:
                return
            lease = leases.take(self._cast.keys[id]) if time.monotonic() < until else Lease()
            if lease is None:
                return self._look_again(leases, id, min(1.5 * seconds, LAST_LOOK_S), until)
            self._leasing.discard(id)
            self._leases[id] = lease
            if not self._was_stored(leases, id):
                self._found.ready(id)

        asyncio.get_running_loop().call_later(seconds, self._found.later, look)

    def _was_stored(self, leases: Leases, id: str) -> bool:
        """Whether another process has stored the result meanwhile; it is read then."""
        if not leases.stored(self._cast.keys[id]):
            return False
        self._read(id, self._found.ready)
        return True
