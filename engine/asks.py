"""Generators that wait for nodes of their own run: lazy inputs and added nodes."""

from collections.abc import Callable, Sequence
from typing import Any

from engine.frontier import Frontier
from engine.graph import Link
from engine.lane import Lane, Walk


class UpstreamError(Exception):
    """What a node asked for could not be made; the node is skipped, not failed."""

    def __init__(self, node_id: str) -> None:
        self.node_id = node_id
        super().__init__(f"node {node_id} gave nothing")


class Asks:
    """The walks that are parked until nodes have a result.

    Args:
        demand: Has a node's result made.
        parked: How many walks wait.
    """

    def __init__(self, frontier: Frontier, lane: Lane, demand: Callable[[str], None]) -> None:
        self.parked = 0
        self._frontier, self._lane, self._demand = frontier, lane, demand
        self._looks: dict[str, list[Callable[[], None]]] = {}

    def when(self, walk: Walk, links: Sequence[Link], answer: Callable[[list[list[Any]]], Any]) -> None:
        """Resume a walk once all links have a value, or throw there when one of them is lost.

        Args:
            answer: Makes what the walk is sent, of the list of values at each link.
        """
        wanted = {link.node_id for link in links}
        self.parked += 1
        over = False

        def look() -> None:
            nonlocal over
            lost = next((id for id in wanted if id in self._frontier.lost), None)
            if over or (lost is None and any(id not in self._frontier.results for id in wanted)):
                return
            over = True
            self.parked -= 1
            if lost is not None:
                return self._lane.resume(walk, error=UpstreamError(self._frontier.lost[lost]))
            values = [self._frontier.results[x.node_id].outputs[x.slot] for x in links]
            self._lane.resume(walk, answer(values))

        for id in wanted:
            self._frontier.keep(id)
            self._looks.setdefault(id, []).append(look)
            self._demand(id)
        look()

    def settled(self, id: str) -> None:
        """A node has its result or is lost: answer who waits for it."""
        for look in self._looks.pop(id, []):
            look()

    def stuck(self) -> str | None:
        """A node that somebody waits for, or None."""
        return next(iter(self._looks), None)
