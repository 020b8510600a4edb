"""Generators that wait for nodes of their own run: lazy inputs and added nodes."""

from collections.abc import Callable, Sequence
from typing import Any

from engine.attempt import Attempt, BlockedInput
from engine.expand import RunNodes, wanted_links
from engine.frontier import Frontier
from engine.graph import Link, is_link
from engine.lane import Lane, Walk
from engine.ports import Blocked, adapted
from engine.problems import NodeFailure
from engine.steps import Need, NeedAll, Subgraph


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
        outputs: Output nodes that were added.
    """

    def __init__(self, frontier: Frontier, cast: RunNodes, lane: Lane, demand: Callable[[str], None]) -> None:
        self.parked = 0
        self.outputs: list[str] = []
        self._frontier, self._cast, self._lane, self._demand = frontier, cast, lane, demand
        self._looks: dict[str, list[Callable[[], None]]] = {}

    def answer(self, attempt: Attempt, index: int, walk: Walk, ask: Need | NeedAll | Subgraph) -> None:
        """Have what a generator asks for made, and resume it with that."""
        if isinstance(ask, Subgraph):
            return self._expand(attempt, walk, ask)
        node, whole = attempt.node, attempt.node.node.takes_lists
        if isinstance(ask, NeedAll):
            links = [node.links[port] for port in ask.ports]
            return self._when(attempt, walk, links, lambda values: [list(v) for v in values])
        link = node.links.get(ask.port)
        if link is None:
            literal = node.literals.get(ask.port)
            return self._lane.resume(walk, [literal] if whole else literal)
        kind = value.kind if (value := node.node.input(ask.port)) else ""
        self._when(attempt, walk, [link], lambda v: _one_value(adapted(kind, v[0]), index, whole))

    def _expand(self, attempt: Attempt, walk: Walk, ask: Subgraph) -> None:
        try:
            outputs = self._cast.grow(attempt.node.id, ask)
        except NodeFailure as failure:
            return self._lane.resume(walk, error=failure)
        self.outputs += outputs
        for id in outputs:
            self._frontier.keep(id)
            self._demand(id)

        def results(values: list[list[Any]]) -> list[list[Any]]:
            found = iter(values)
            return [next(found) if is_link(r) else [r] for r in ask.results]

        self._when(attempt, walk, wanted_links(ask), results)

    def _when(
        self, attempt: Attempt, walk: Walk, links: Sequence[Link], answer: Callable[[list[list[Any]]], Any]
    ) -> None:
        """Resume a walk once all links have a value, or throw there when one of them is lost.

        Args:
            attempt: Whose walk it is; it counts how many of its walks are parked.
            answer: Makes what the walk is sent, of the list of values at each link; may raise NodeFailure.
        """
        wanted = list({link.node_id: None for link in links})
        self.parked += 1
        attempt.parked += 1
        over = False

        def look() -> None:
            nonlocal over
            lost = next((id for id in wanted if id in self._frontier.lost), None)
            if over or (lost is None and any(id not in self._frontier.results for id in wanted)):
                return
            over = True
            self.parked -= 1
            attempt.parked -= 1
            if lost is not None:
                self._lane.resume(walk, error=UpstreamError(self._frontier.lost[lost]))
            else:
                values = [self._frontier.results[x.node_id].outputs[x.slot] for x in links]
                self._resume(walk, values, answer)
            self._frontier.release(wanted)

        for id in wanted:
            self._frontier.keep(id)
            self._looks.setdefault(id, []).append(look)
        for id in wanted:
            self._demand(id)
        look()

    def settled(self, id: str) -> None:
        """A node has its result or is lost: answer who waits for it."""
        for look in self._looks.pop(id, []):
            look()

    def stuck(self) -> str | None:
        """A node without a result that somebody waits for, or None."""
        frontier = self._frontier
        return next(
            (id for id in self._looks if id not in frontier.results and id not in frontier.lost), None
        )

    def _resume(self, walk: Walk, values: list[list[Any]], answer: Callable[[list[list[Any]]], Any]) -> None:
        try:
            value = answer(values)
        except NodeFailure as failure:
            return self._lane.resume(walk, error=failure)
        if isinstance(value, Blocked):
            return self._lane.resume(walk, error=BlockedInput(value))
        return self._lane.resume(walk, value)


def _one_value(values: Sequence[Any], index: int, whole: bool) -> Any:
    """What the call with this index gets of a lazy input's list: its item, or all of it.

    Raises:
        NodeFailure: The list is empty and one value is wanted.
    """
    if whole:
        return next((v for v in values if isinstance(v, Blocked)), list(values))
    if not values:
        raise NodeFailure("a lazy input is an empty list, so there is no value to give")
    return values[min(index, len(values) - 1)]
