"""One run of a plan: demand, dispatch, what to do when a node ends; no recursion, O(nodes + links)."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from engine import events
from engine.asks import Asks, UpstreamError
from engine.attempt import Attempt, Told
from engine.cache import Result
from engine.elsewhere import Elsewhere, Found
from engine.expand import RunNodes
from engine.frontier import Frontier
from engine.graph import GraphNode
from engine.invoke import calls, described, failed, gather
from engine.lane import Stopped, Walk
from engine.plan import Plan
from engine.problems import NodeFailure
from engine.running import given_to
from engine.services import Services
from engine.steps import Need, NeedAll, Subgraph
from engine.todo import Todo

AT_ONCE = 32
"""Nodes of one run that may be under way together; more would only hold memory."""


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
        priority: int = 0,
    ) -> None:
        self.plan, self.services, self.listen = plan, services, listen
        self.executed: list[str] = []
        self.cached: list[str] = []
        self.failures: list[events.NodeFailed] = []
        self.cancelled = self.ended = False
        self.frontier = Frontier()
        self.cast = RunNodes(plan, services.registry, services.env)
        self._stop_at_failure, self.priority = stop_at_failure, priority
        self._walks: list[Walk] = []
        self._leaders = {plan.keys[id]: id for id in plan.runs}
        self._attempts: dict[Attempt, None] = {}
        self._asks = Asks(self.frontier, self.cast, services.lane, self._demand)
        self._todo = Todo()
        self._later = self._todo.later
        self._told = Told(self._complete, self._attempt_failed, self._progressed, self._asked, self._blocked)
        found = Found(
            self._share, self._missed, self._again, self.frontier.ready.append, self._later, self._is_still
        )
        self._elsewhere = Elsewhere(plan, services, self.cast, found, priority)

    # ------------------------------------------------------------ the loop

    async def run(self) -> None:
        """Run until every target has ended or the job is cancelled."""
        self._todo.begin()
        try:
            for target in reversed(self.plan.targets):
                self.frontier.keep(target)
                self._demand(target)
            while not (self.cancelled and not self._under_way):
                while self.frontier.ready and self._has_room():
                    self._dispatch(self.frontier.ready.pop())
                self.services.lane.start(*self._walks)  # together: how fast the lane is decides no batch
                self._walks.clear()
                if not self._todo and not self.frontier.ready:
                    if not self.frontier.pending and not self._under_way:
                        break
                    if self._is_still() and not self._elsewhere.may_land():
                        if not self._elsewhere.insist():
                            self._report_knot()
                        continue
                (await self._todo.next())()
            if self._elsewhere.background:
                await asyncio.wait(self._elsewhere.background)
        finally:
            self.ended = True
            self._stop_attempts()

    def cancel(self) -> None:
        """Stop at the next step of every node; may be called from any thread, more than once."""
        self.cancelled = True
        self._later(self._stop_attempts)

    @property
    def outputs(self) -> list[str]:
        """The output nodes of the run: its targets, and those that were added."""
        return [*self.plan.targets, *self._asks.outputs]

    @property
    def _under_way(self) -> int:
        return len(self._attempts) + self._elsewhere.fetching + self._elsewhere.waiting

    def _has_room(self) -> bool:
        """Whether another node may begin; nodes that wait for others of the run take no place."""
        busy = len(self._attempts) + self._elsewhere.fetching - self._asks.parked
        return not self.cancelled and busy < AT_ONCE

    def _is_still(self) -> bool:
        """Whether nothing moves: all that is under way waits for nodes of this run, or for other jobs."""
        if not all(a.idle for a in reversed(self._attempts)):
            return False
        return not (self.cancelled or self._elsewhere.coming or self.frontier.ready or self._todo)

    def _stop_attempts(self) -> None:
        for attempt in self._attempts:
            attempt.stop()
        self._elsewhere.leave()

    def _report_knot(self) -> None:
        """Nodes that were added while running depend on themselves."""
        stuck = self._asks.stuck() or next(iter(self.frontier.pending))
        error = NodeFailure("Dependency cycle detected", "nodes that this node added depend on it")
        self._report(self.cast.nodes[stuck], error, {})
        self._lose(stuck, stuck)

    # ------------------------------------------------------------ demand

    def _demand(self, target: str) -> None:
        """Have a node's result made: by a twin, by the cache, or by running it once its inputs are there."""
        stack = [target]
        while stack:
            id = stack.pop()
            if self.frontier.settled(id):
                continue
            if self.cast.parts[id].lasts == "run":
                self.frontier.volatile.add(id)
            leader = self._leaders.setdefault(self.cast.keys[id], id)
            if leader != id and self._follows(id, leader):
                stack.append(leader)
            elif self._elsewhere.has(id):
                self.frontier.pending[id] = 1
                self._elsewhere.fetch(id)
            elif self._elsewhere.follows(id):
                self.frontier.pending[id] = 1
            else:
                stack += self._await_inputs(id)

    def _follows(self, id: str, leader: str) -> bool:
        """Whether a node takes the result of another with the same key; it leads itself if that is gone."""
        if leader in self.frontier.results:
            self._share(id, self.frontier.results[leader], "run")
        elif leader in self.frontier.lost:
            self._lose(id, self.frontier.lost[leader])
        elif leader in self.frontier.made and leader not in self.frontier.pending:
            self._leaders[self.cast.keys[id]] = id
            return False
        else:
            self.frontier.follow(id, leader)
        return True

    def _await_inputs(self, id: str) -> list[str]:
        missing, lost = self.frontier.wait(self.cast.nodes[id])
        if lost is not None:
            self._lose(id, self.frontier.lost[lost])
        return missing if lost is None else []

    def _again(self, id: str) -> None:
        """Nobody else makes a node's result any more."""
        self.frontier.pending.pop(id, None)
        self._demand(id)

    def _missed(self, id: str) -> None:
        """The cache no longer has the result that it had."""
        for dependency in self._await_inputs(id):
            self._demand(dependency)

    # ------------------------------------------------------------ running a node

    def _dispatch(self, id: str) -> None:
        if id not in self.frontier.pending or not self._elsewhere.may_run(id):
            return
        node = self.cast.nodes[id]
        self.listen(events.NodeStarted(id, self.cast.display(id), node.node.name, node.title))
        try:
            gathered = gather(node, self.frontier.results, self.cast.hidden_of(node))
            arguments = calls(node, gathered, given_to(node, self, self._later))
        except NodeFailure as failure:
            return self._fail(node, failure, {})
        attempt = Attempt(node, arguments, self, self._told, self._later, self.cast.pinned, self.priority)
        self._attempts[attempt] = None
        attempt.start(self.services.lane, self.services.pool, asyncio.get_running_loop(), self.services.pace)
        self._walks += attempt.walks

    def _asked(self, attempt: Attempt, index: int, walk: Walk, ask: Need | NeedAll | Subgraph) -> None:
        self._elsewhere.release(attempt.node.id)
        self._asks.answer(attempt, index, walk, ask)

    def _progressed(self, attempt: Attempt, step: float, total: float, preview: Any) -> None:
        id = attempt.node.id
        self.listen(events.NodeProgress(id, step, total, preview, self.cast.display(id)))

    def _blocked(self, attempt: Attempt, message: str) -> None:
        node = attempt.node
        self.listen(events.NodeSkipped(self.cast.top(node.id), node.node.name, "blocked", message))

    def _complete(self, attempt: Attempt) -> None:
        if attempt not in self._attempts:
            return
        del self._attempts[attempt]
        id, name = attempt.node.id, attempt.node.node.name
        result = self.cast.traced(id, attempt.result, attempt.note(self.cast.made))
        if attempt.ran:
            self.executed.append(id)
            self._elsewhere.store(attempt, result)
        else:  # blocked: the same holds in other jobs, which have to say so
            self._elsewhere.ended(id, None)
        self.listen(events.NodeFinished(id, name, result.cost, result.ui, self.cast.display(id)))
        self._have(id, result, "run")

    def _attempt_failed(self, attempt: Attempt, index: int, error: BaseException) -> None:
        if attempt not in self._attempts:
            return
        del self._attempts[attempt]
        attempt.stop()
        id = attempt.node.id
        if isinstance(error, Stopped):
            self._elsewhere.ended(id, None)
            self.frontier.pending.pop(id, None)
        elif isinstance(error, UpstreamError):
            self._lose(id, error.node_id)
        else:
            self._fail(attempt.node, error, described(attempt.node.node, attempt.arguments[index]))

    def _share(self, id: str, result: Result, tier: str) -> None:
        """Give a node a result that is at hand."""
        self.cached.append(id)
        self.listen(events.NodeCached(id, tier, result.ui, self.cast.display(id)))
        self._have(id, result, tier)

    # ------------------------------------------------------------ after a node

    def _have(self, id: str, result: Result, tier: str) -> None:
        self.cast.trails[id] = result.trail
        self.frontier.have(id, result)
        self._elsewhere.ended(id, result)
        self._asks.settled(id)
        for follower in self.frontier.followers(id):
            self._share(follower, result, tier)

    def _fail(self, node: GraphNode, error: BaseException, inputs: Mapping[str, str]) -> None:
        self._report(node, error, inputs)
        self._lose(node.id, node.id)
        if self._stop_at_failure:
            self.cancelled = True
            self._stop_attempts()

    def _report(self, node: GraphNode, error: BaseException, inputs: Mapping[str, str]) -> None:
        failure = failed(node, self.cast.nodes[self.cast.top(node.id)], error, inputs)
        self.failures.append(failure)
        self.listen(failure)

    def _lose(self, id: str, because: str) -> None:
        """A node will have no result, nor will what waits for it."""
        failed = id == because
        for lost in self.frontier.lose(id, because):
            self._elsewhere.ended(lost, None, failed=True)
            if not (failed and lost == id):
                name = self.cast.nodes[lost].node.name
                self.listen(events.NodeSkipped(self.cast.top(lost), name, self.cast.top(because)))
            self._asks.settled(lost)
