"""Nodes under way in the jobs of an engine: one job runs a key, others that demand it wait for its result."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from engine.cache import Result


class Party(Protocol):
    """A job, as far as it shares nodes that are under way."""

    priority: int

    @property
    def following(self) -> Mapping[str, "Flight"]:
        """By node, what it waits for in other jobs."""
        ...

    @property
    def still(self) -> bool:
        """Whether nothing moves in the job but what it follows."""
        ...

    def landed(self, id: str, result: Result | None, failed: bool) -> None:
        """A flight that a node follows has ended, with a result or without; called on any thread."""
        ...


@dataclass(eq=False)
class Flight:
    """A node under way that others wait for: whose it is, and theirs."""

    party: Party
    followers: list[tuple[Party, str]] = field(default_factory=list)
    over: bool = False


class Flights:
    """All nodes that are under way in an engine, by key."""

    def __init__(self) -> None:
        self._parties: dict[str, Party] = {}
        self._followed: dict[str, Flight] = {}
        self._lock = threading.Lock()

    def board(self, key: str, party: Party, id: str) -> Flight | None:
        """The flight that a node follows from now on; None where it is to run, which others may follow then.

        A job does not wait for one of lower priority: that would have to wait for its very model calls.
        """
        with self._lock:
            leader = self._parties.setdefault(key, party)
            if leader is party or leader.priority < party.priority:
                return None
            flight = self._followed.setdefault(key, Flight(leader))
            flight.followers.append((party, id))
            return flight

    def land(self, key: str, party: Party, result: Result | None, failed: bool = False) -> None:
        """A node has ended, or its job leaves it; nothing where another leads.

        Args:
            failed: Whether there is no result because it failed, or something that it is made of.
        """
        with self._lock:
            if self._parties.get(key) is not party:
                return
            del self._parties[key]
            if key not in self._followed:
                return
            flight = self._followed.pop(key)
            flight.over = True
        for follower, id in flight.followers:
            follower.landed(id, result, failed)


def may_land(party: Party) -> bool:
    """Whether anything moves in the jobs that this one waits for, or in those that they wait for.

    Nodes of a workflow wait for each other in the order of their links, without a circle. Nodes that running
    nodes add may link to anything: two jobs could wait for each other for ever.
    """
    seen: set[int] = set()
    stack = [party]
    while stack:
        for flight in list(stack.pop().following.values()):
            if flight.over or not flight.party.still:
                return True
            if id(flight.party) not in seen:
                seen.add(id(flight.party))
                stack.append(flight.party)
    return False
