"""One run of a plan: demand, dispatch, what to do when a node ends; no recursion, O(nodes + links)."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from engine import events
from engine.asks import Asks, UpstreamError
from engine.attempt import Attempt, Told
from engine.cache import KeyParts, Result, Tiers
from engine.expand import expanded
from engine.frontier import Frontier
from engine.graph import GraphNode, Link, is_link
from engine.invoke import calls, described, failed, gather
from engine.keys import address, key_parts
from engine.lane import Lane, Stopped, Walk
from engine.plan import Plan
from engine.ports import Env
from engine.problems import NodeFailure
from engine.registry import Registry
from engine.steps import Need, Subgraph

log = logging.getLogger(__name__)

AT_ONCE = 32
"""Nodes of one run that may be under way together; more would only hold memory."""
QUICK = 0.005
"""Seconds; a result that took less is put into the cache without leaving the loop's thread."""


@dataclass
class Services:
    """What a job runs on: shared by all jobs of an engine."""

    registry: Registry
    env: Env
    tiers: Tiers
    lane: Lane
    pool: Executor


class Job:
    """Runs a plan once.

    Args:
        listen: Told every event, on the loop's thread.
        stop_at_failure: Whether the first failed node ends the run; else other branches go on.
    """

    def __init__(
        self,
        plan: Plan,
        services: Services,
        listen: Callable[[events.Event], None],
        stop_at_failure: bool = False,
    ) -> None:
        self.plan, self.services, self.listen = plan, services, listen
        self.executed: list[str] = []
        self.cached: list[str] = []
        self.failures: list[events.NodeFailed] = []
        self.cancelled = False
        self.frontier = Frontier()
        self._stop_at_failure = stop_at_failure
        self._nodes: dict[str, GraphNode] = dict(plan.graph.nodes)
        self._keys: dict[str, str] = dict(plan.keys)
        self._parts: dict[str, KeyParts] = dict(plan.parts)
        self._parents: dict[str, str] = {}
        self._in_flight = 0
        self._asks = Asks(self.frontier, services.lane, self._demand)
        self._todo: asyncio.Queue[Callable[[], None]] = asyncio.Queue()
        self._background: set[asyncio.Future[Any]] = set()
        self._hidden: dict[str, Any] | None = None
        self._told = Told(self._complete, self._attempt_failed, self._progressed, self._answer, self._blocked)

    # ------------------------------------------------------------ the loop

    async def run(self) -> None:
        """Run until every target has ended or the job is cancelled."""
        self._loop = asyncio.get_running_loop()
        for target in reversed(self.plan.targets):
            self.frontier.keep(target)
            self._demand(target)
        while not (self.cancelled and not self._in_flight):
            while self.frontier.ready and self._in_flight < AT_ONCE and not self.cancelled:
                self._dispatch(self.frontier.ready.pop())
            if self._todo.empty() and not self.frontier.ready:
                if not self._in_flight and not self.frontier.pending:
                    break
                if self._in_flight == self._asks.parked:
                    self._report_knot()
                    continue
            (await self._todo.get())()
        if self._background:
            await asyncio.wait(self._background)

    def cancel(self) -> None:
        """Stop at the next step of every node; may be called from any thread, more than once."""
        self._later(self._stop)

    def _stop(self) -> None:
        self.cancelled = True
        self.services.lane.stop_job(self)

    def _later(self, thunk: Callable[[], None]) -> None:
        """Do something on the loop's thread, from any thread."""
        self._loop.call_soon_threadsafe(self._todo.put_nowait, thunk)

    def _report_knot(self) -> None:
        """Nothing can move any more: nodes that were added while running depend on themselves."""
        stuck = self._asks.stuck() or next(iter(self.frontier.pending))
        error = NodeFailure("Dependency cycle detected", "nodes that this node added depend on it")
        self._report(self._nodes[stuck], error, {})
        self._lose(stuck, stuck)

    # ------------------------------------------------------------ demand

    def _demand(self, target: str) -> None:
        """Have a node's result made: take it from the cache, or run it once its inputs are there."""
        stack = [target]
        while stack:
            id = stack.pop()
            if self.frontier.settled(id):
                continue
            if self._served(id):
                self.frontier.pending[id] = 1
                self._fetch(id)
            else:
                stack += self._await_inputs(id)

    def _served(self, id: str) -> bool:
        if id in self.plan.served:
            return True
        planned = id in self.plan.keys and id not in self.plan.lazy
        return not planned and self.services.tiers.where(self._keys[id]) is not None

    def _await_inputs(self, id: str) -> list[str]:
        missing, lost = self.frontier.wait(self._nodes[id])
        if lost is not None:
            self._lose(id, self.frontier.lost[lost])
        return missing

    def _fetch(self, id: str) -> None:
        self._in_flight += 1

        def fetched(future: asyncio.Future[Any]) -> None:
            self._todo.put_nowait(lambda: self._take_cached(id, future))

        future = self._loop.run_in_executor(self.services.pool, self.services.tiers.get, self._keys[id])
        future.add_done_callback(fetched)

    def _take_cached(self, id: str, future: asyncio.Future[Any]) -> None:
        self._in_flight -= 1
        error = future.exception()
        if error:
            log.warning("the cached result of node %s cannot be read (%s); running it", id, error)
        found = None if error else future.result()
        if found is None:
            for dependency in self._await_inputs(id):
                self._demand(dependency)
            return
        self._share(id, *found)

    # ------------------------------------------------------------ running a node

    def _dispatch(self, id: str) -> None:
        if id not in self.frontier.pending:
            return
        key, node = self._keys[id], self._nodes[id]
        held = self.frontier.held(key)
        if held is not None:
            return self._share(id, held, "run")
        if not self.frontier.begin(id, key):
            return
        self.listen(events.NodeStarted(id, self._top(id), node.node.name, node.title))
        try:
            gathered = gather(node, self.frontier.results, self._hidden_values())
            arguments = calls(node, gathered, self.services.env)
        except NodeFailure as failure:
            return self._fail(node, failure, {})
        self._in_flight += 1
        attempt = Attempt(node, arguments, self, self._told, self._later)
        attempt.start(self.services.lane, self.services.pool, self._loop)

    def _progressed(self, attempt: Attempt, step: int, total: int, preview: Any) -> None:
        self.listen(events.NodeProgress(attempt.node.id, step, total, preview))

    def _blocked(self, attempt: Attempt, message: str) -> None:
        self.listen(
            events.NodeSkipped(self._top(attempt.node.id), attempt.node.node.name, "blocked", message)
        )

    def _complete(self, attempt: Attempt) -> None:
        if attempt.ended:
            return
        try:
            result = attempt.collected.result(attempt.seconds)
        except NodeFailure as failure:
            return self._attempt_failed(attempt, 0, failure)
        attempt.ended = True
        self._in_flight -= 1
        id = attempt.node.id
        self.executed.append(id)
        self._store(id, result)
        self.listen(events.NodeFinished(id, attempt.node.node.name, result.cost, result.ui))
        followers = self.frontier.end(self._keys[id])
        self._have(id, result)
        for follower in followers:
            self._share(follower, result, "run")

    def _attempt_failed(self, attempt: Attempt, index: int, error: BaseException) -> None:
        if attempt.ended:
            return
        attempt.ended = True
        self._in_flight -= 1
        id = attempt.node.id
        if isinstance(error, Stopped):
            self.frontier.pending.pop(id, None)
        elif isinstance(error, UpstreamError):
            self.frontier.ready += self.frontier.end(self._keys[id])
            self._lose(id, error.node_id)
        else:
            self._fail(attempt.node, error, described(attempt.node.node, attempt.arguments[index]))

    def _share(self, id: str, result: Result, tier: str) -> None:
        """Give a node a result that is at hand."""
        self.cached.append(id)
        self.listen(events.NodeCached(id, tier, result.ui))
        self._have(id, result)

    def _store(self, id: str, result: Result) -> None:
        put, key, parts = self.services.tiers.put, self._keys[id], self._parts[id]
        if result.cost < QUICK and not result.ui:
            return put(key, result, parts)
        future = self._loop.run_in_executor(self.services.pool, put, key, result, parts)
        self._background.add(future)
        future.add_done_callback(self._background.discard)

    # ------------------------------------------------------------ after a node

    def _have(self, id: str, result: Result) -> None:
        node = self._nodes[id]
        sources = {link.node_id for link in node.links.values()}
        volatile = frozenset(s for s in sources if self._nodes[s].node.volatile)
        self.frontier.have(node, self._keys[id], result, volatile)
        self._asks.settled(id)

    def _fail(self, node: GraphNode, error: BaseException, inputs: Mapping[str, str]) -> None:
        self.frontier.ready += self.frontier.end(self._keys[node.id])
        self._report(node, error, inputs)
        self._lose(node.id, node.id)
        if self._stop_at_failure:
            self._stop()

    def _report(self, node: GraphNode, error: BaseException, inputs: Mapping[str, str]) -> None:
        failure = failed(node, self._nodes[self._top(node.id)], error, inputs)
        self.failures.append(failure)
        self.listen(failure)

    def _lose(self, id: str, because: str) -> None:
        """A node will have no result, nor will what waits for it."""
        failed = id == because
        for lost in self.frontier.lose(id, because):
            if not (failed and lost == id):
                name = self._nodes[lost].node.name
                self.listen(events.NodeSkipped(self._top(lost), name, self._top(because)))
            self._asks.settled(lost)

    # ------------------------------------------------------------ what generators ask

    def _answer(self, attempt: Attempt, index: int, walk: Walk, ask: Need | Subgraph) -> None:
        """Have what a generator asks for made, and resume it with that."""
        node = attempt.node
        if isinstance(ask, Need):
            link = node.links.get(ask.port)
            if link is None:
                return self.services.lane.resume(walk, node.literals.get(ask.port))
            whole = node.node.takes_lists
            return self._asks.when(
                walk, [link], lambda values: values[0] if whole else values[0][min(index, len(values[0]) - 1)]
            )
        try:
            self._grow(node.id, ask)
        except NodeFailure as failure:
            return self.services.lane.resume(walk, error=failure)
        wanted = [Link(str(r[0]), int(r[1])) if is_link(r) else r for r in ask.results]

        def results(values: list[list[Any]]) -> list[list[Any]]:
            found = iter(values)
            return [next(found) if isinstance(r, Link) else [r] for r in wanted]

        self._asks.when(walk, [r for r in wanted if isinstance(r, Link)], results)

    def _grow(self, parent: str, ask: Subgraph) -> None:
        """Add the nodes that a running node asks for."""
        added = expanded(ask, self.services.registry, self._nodes)
        self._nodes |= added
        for id, node in added.items():
            self._parents[id] = parent
            unknown = [x.node_id for x in node.links.values() if x.node_id not in self._keys]
            if unknown:
                raise NodeFailure(f"node {id} that it adds links to {unknown[0]!r}, which is not there")
            self._parts[id] = key_parts(node, self._keys, self.services.env)
            self._keys[id] = address(self._parts[id])
        for id, node in added.items():
            if node.node.is_output:
                self.frontier.keep(id)
                self._demand(id)

    def _top(self, id: str) -> str:
        """The node of the workflow that an expanded node came from."""
        while id in self._parents:
            id = self._parents[id]
        return id

    def _hidden_values(self) -> dict[str, Any]:
        if self._hidden is None:
            extra = dict(self.plan.extra) or None
            self._hidden = {"PROMPT": self.plan.graph.workflow.as_api(), "EXTRA_PNGINFO": extra}
        return self._hidden
