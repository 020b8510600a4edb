"""One run of a plan: what is demanded, what is ready, what to do when a node ends; no recursion, O(nodes + links)."""

import asyncio
import inspect
import logging
import time
import traceback
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from engine import events
from engine.cache import KeyParts, Result, Tiers
from engine.devices import computing
from engine.graph import GraphNode, Link, bind_node, is_link
from engine.invoke import Collected, blocked, calls, described, gather
from engine.keys import address, key_parts
from engine.lane import Lane, Stopped, Walk
from engine.plan import Plan
from engine.ports import Blocked, Env
from engine.problems import NodeFailure
from engine.registry import Registry
from engine.steps import Need, Progress, Subgraph

log = logging.getLogger(__name__)

AT_ONCE = 32
"""Nodes of one run that may be under way together; more would only hold memory."""
QUICK = 0.005
"""Seconds; a result that took less is put into the cache without leaving the loop's thread."""


class Upstream(Exception):
    """What a node asked for could not be made; the node is skipped, not failed."""

    def __init__(self, node_id: str) -> None:
        self.node_id = node_id
        super().__init__(f"node {node_id} gave nothing")


@dataclass(eq=False)
class _Attempt:
    """A node being run: its calls and what they gave so far."""

    node: GraphNode
    arguments: list[dict[str, Any]]
    collected: Collected
    left: int
    started: float
    steps: dict[int, Progress] = field(default_factory=dict)
    ended: bool = False


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
        self, plan: Plan, services: Services, listen: Callable[[events.Event], None], stop_at_failure: bool = False
    ) -> None:
        self.plan, self.services, self._listen, self._stop_at_failure = plan, services, listen, stop_at_failure
        self.nodes: dict[str, GraphNode] = dict(plan.graph.nodes)
        self.keys: dict[str, str] = dict(plan.keys)
        self.parts: dict[str, KeyParts] = dict(plan.parts)
        self.results: dict[str, Result] = {}
        self.executed: list[str] = []
        self.cached: list[str] = []
        self.failures: list[events.NodeFailed] = []
        self.cancelled = False
        self._lost: dict[str, str] = {}  # failed or skipped: because of which node
        self._pending: dict[str, int] = {}  # demanded: inputs still to come
        self._waiters: dict[str, list[str]] = {}
        self._asking: dict[str, list[Callable[[], None]]] = {}
        self._uses: dict[str, int] = {}
        self._parents: dict[str, str] = {}
        self._at_work: dict[str, list[str]] = {}  # by key: other nodes that wait for the same result
        self._by_key: dict[str, str] = {}
        self._ready: list[str] = []
        self._in_flight = self._parked = 0
        self._todo: asyncio.Queue[Callable[[], None]] = asyncio.Queue()
        self._background: set[asyncio.Future[Any]] = set()
        self._hidden: dict[str, Any] | None = None

    # ------------------------------------------------------------ the loop

    async def run(self) -> None:
        """Run until every target has ended or the job is cancelled."""
        self._loop = asyncio.get_running_loop()
        for target in reversed(self.plan.targets):
            self._keep(target)
            self._demand(target)
        while not (self.cancelled and not self._in_flight):
            while self._ready and self._in_flight < AT_ONCE and not self.cancelled:
                self._dispatch(self._ready.pop())
            if not self._in_flight and self._todo.empty():
                if not self._pending:
                    break
                self._report_knot()
                continue
            if self._in_flight and self._in_flight == self._parked and self._todo.empty() and not self._ready:
                self._report_knot()
            (await self._todo.get())()
        if self._background:
            await asyncio.wait(self._background)

    def cancel(self) -> None:
        """Stop at the next step of every node; may be called from any thread, more than once."""

        def stop() -> None:
            self.cancelled = True
            self.services.lane.stop_job(self)

        self._loop.call_soon_threadsafe(self._todo.put_nowait, stop)

    def _later(self, thunk: Callable[[], None]) -> None:
        """Do something on the loop's thread, from any thread."""
        self._loop.call_soon_threadsafe(self._todo.put_nowait, thunk)

    def _report_knot(self) -> None:
        """Nothing can move any more: nodes added while running depend on themselves."""
        stuck = next(iter(self._asking), None) or next(iter(self._pending))
        error = NodeFailure("Dependency cycle detected", "nodes that this node added depend on it")
        node = self._top(stuck)
        for waiting in self._asking.pop(stuck, []):
            waiting()
        if stuck in self._pending:
            del self._pending[stuck]
        self._fail(self.nodes[node], error, {})

    # ------------------------------------------------------------ demand

    def _keep(self, id: str) -> None:
        self._uses[id] = self._uses.get(id, 0) + 1

    def _demand(self, target: str) -> None:
        """Have a node's result made: take it from the cache, or run it once its inputs are there."""
        stack = [target]
        while stack:
            id = stack.pop()
            if id in self.results or id in self._lost or id in self._pending:
                continue
            tier = self.plan.served.get(id) or (
                None if id in self.plan.keys and id not in self.plan.lazy else self.services.tiers.where(self.keys[id])
            )
            if tier:
                self._pending[id] = 1
                self._fetch(id)
            else:
                stack += self._await_inputs(id)

    def _await_inputs(self, id: str) -> list[str]:
        """Count what a node waits for; returns what must be demanded for it."""
        node = self.nodes[id]
        missing = []
        lost = None
        for port, link in node.links.items():
            self._keep(link.node_id)
            value = node.node.input(port)
            if value and value.lazy:
                continue
            if link.node_id in self._lost:
                lost = link.node_id
            elif link.node_id not in self.results:
                self._waiters.setdefault(link.node_id, []).append(id)
                missing.append(link.node_id)
        self._pending[id] = len(missing)
        if lost is not None:
            self._skip(id, lost)
        elif not missing:
            self._ready.append(id)
        return missing

    def _fetch(self, id: str) -> None:
        self._in_flight += 1

        def fetched(future: asyncio.Future[Any]) -> None:
            self._todo.put_nowait(lambda: self._take_cached(id, future))

        self._loop.run_in_executor(self.services.pool, self.services.tiers.get, self.keys[id]).add_done_callback(fetched)

    def _take_cached(self, id: str, future: asyncio.Future[Any]) -> None:
        self._in_flight -= 1
        del self._pending[id]
        error = future.exception()
        if error:
            log.warning("the cached result of node %s cannot be read (%s); running it", id, error)
        found = None if error else future.result()
        if found is None:
            for dependency in self._await_inputs(id):
                self._demand(dependency)
            return
        result, tier = found
        self.cached.append(id)
        self._listen(events.NodeCached(id, tier, result.ui))
        self._have(id, result)

    # ------------------------------------------------------------ running a node

    def _dispatch(self, id: str) -> None:
        if id not in self._pending:
            return
        key = self.keys[id]
        twin = self._by_key.get(key)
        if twin is not None and twin in self.results:
            return self._share(id, self.results[twin])
        if key in self._at_work:
            self._at_work[key].append(id)
            return
        self._at_work[key] = []
        node = self.nodes[id]
        self._listen(events.NodeStarted(id, self._top(id), node.node.name, node.title))
        try:
            gathered = gather(node, self.results, self._hidden_values())
            arguments = calls(node, gathered, self.services.env)
        except NodeFailure as failure:
            return self._fail(node, failure, {})
        attempt = _Attempt(node, arguments, Collected(node.node), len(arguments), time.perf_counter())
        attempt.collected.outcomes = [None] * len(arguments)
        self._in_flight += 1
        self._start(attempt)

    def _start(self, attempt: _Attempt) -> None:
        fn = attempt.node.node.fn
        live = []
        for i, arguments in enumerate(attempt.arguments):
            blocker = blocked(arguments, attempt.node.node.takes_lists)
            if blocker is None:
                live.append(i)
                continue
            attempt.collected.outcomes[i] = Blocked()
            attempt.left -= 1
            if blocker.message is not None:
                id, name = attempt.node.id, attempt.node.node.name
                self._listen(events.NodeSkipped(id, name, "blocked", blocker.message))
        if not live:
            self._todo.put_nowait(lambda: self._complete(attempt))
        elif inspect.isgeneratorfunction(fn):
            for i in live:
                self._start_walk(attempt, i)
        elif inspect.iscoroutinefunction(fn):
            for i in live:
                self._start_task(attempt, i, fn(**attempt.arguments[i]))
        else:
            self._start_plain(attempt, live)

    def _start_plain(self, attempt: _Attempt, live: list[int]) -> None:
        fn = attempt.node.node.fn

        def run() -> list[Any]:
            with computing():
                return [fn(**attempt.arguments[i]) for i in live]

        def ended(values: Any, error: BaseException | None) -> None:
            def thunk() -> None:
                if error:
                    return self._attempt_failed(attempt, live[0], error)
                for i, value in zip(live, values, strict=True):
                    attempt.collected.outcomes[i] = value
                self._complete(attempt)

            self._later(thunk)

        if attempt.node.node.lane == "device":
            return self.services.lane.run(run, ended)

        def on_host() -> None:
            try:
                ended(run(), None)
            except Exception as error:
                ended(None, error)

        self.services.pool.submit(on_host)

    def _start_task(self, attempt: _Attempt, index: int, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)

        def ended(done: asyncio.Task[Any]) -> None:
            self._background.discard(done)
            error = Stopped() if done.cancelled() else done.exception()
            value = None if error else done.result()
            self._todo.put_nowait(lambda: self._outcome(attempt, index, value, error))

        task.add_done_callback(ended)

    def _start_walk(self, attempt: _Attempt, index: int) -> None:
        def asked(ask: Need | Subgraph) -> None:
            self._later(lambda: self._answer(attempt, index, walk, ask))

        def told(progress: Progress) -> None:
            self._later(lambda: self._progress(attempt, index, progress))

        def ended(value: Any, error: BaseException | None) -> None:
            self._later(lambda: self._outcome(attempt, index, value, error))

        walk = Walk(attempt.node.node.fn(**attempt.arguments[index]), self, asked, told, ended)
        self.services.lane.start(walk)

    def _progress(self, attempt: _Attempt, index: int, progress: Progress) -> None:
        attempt.steps[index] = progress
        step = sum(p.step for p in attempt.steps.values())
        total = progress.total * len(attempt.arguments)
        self._listen(events.NodeProgress(attempt.node.id, step, total, progress.preview))

    def _outcome(self, attempt: _Attempt, index: int, value: Any, error: BaseException | None) -> None:
        if error is not None:
            return self._attempt_failed(attempt, index, error)
        attempt.collected.outcomes[index] = value
        attempt.left -= 1
        if attempt.left == 0:
            self._complete(attempt)

    def _attempt_failed(self, attempt: _Attempt, index: int, error: BaseException) -> None:
        if attempt.ended:
            return
        attempt.ended = True
        self._in_flight -= 1
        if isinstance(error, Stopped):
            self._pending.pop(attempt.node.id, None)
        elif isinstance(error, Upstream):
            self._release_twins(attempt.node.id)
            self._skip(attempt.node.id, error.node_id)
        else:
            self._fail(attempt.node, error, described(attempt.arguments[index]))

    def _complete(self, attempt: _Attempt) -> None:
        if attempt.ended:
            return
        id = attempt.node.id
        try:
            result = attempt.collected.result(time.perf_counter() - attempt.started)
        except NodeFailure as failure:
            return self._attempt_failed(attempt, 0, failure)
        attempt.ended = True
        self._in_flight -= 1
        self._pending.pop(id, None)
        self.executed.append(id)
        self._store(id, result)
        self._listen(events.NodeFinished(id, attempt.node.node.name, result.cost, result.ui))
        followers = self._at_work.pop(self.keys[id], [])
        self._have(id, result)
        for follower in followers:
            self._share(follower, result)

    def _share(self, id: str, result: Result) -> None:
        """Give a node the result of another one with the same key."""
        self._pending.pop(id, None)
        self.cached.append(id)
        self._listen(events.NodeCached(id, "run", result.ui))
        self._have(id, result)

    def _store(self, id: str, result: Result) -> None:
        put, key, parts = self.services.tiers.put, self.keys[id], self.parts[id]
        if result.cost < QUICK and not result.ui:
            return put(key, result, parts)
        future = self._loop.run_in_executor(self.services.pool, put, key, result, parts)
        self._background.add(future)
        future.add_done_callback(self._background.discard)

    # ------------------------------------------------------------ after a node

    def _have(self, id: str, result: Result) -> None:
        """A result is there: wake who waits for it, and drop inputs that nobody wants any more."""
        self.results[id] = result
        self._by_key[self.keys[id]] = id
        self._release_inputs(id)
        for waiter in self._waiters.pop(id, []):
            if waiter in self._pending:
                self._pending[waiter] -= 1
                if self._pending[waiter] == 0:
                    self._ready.append(waiter)
        for resume in self._asking.pop(id, []):
            resume()

    def _release_inputs(self, id: str) -> None:
        for link in self.nodes[id].links.values():
            left = self._uses.get(link.node_id, 0) - 1
            self._uses[link.node_id] = left
            if left <= 0 and not self.nodes[link.node_id].node.volatile:
                self.results.pop(link.node_id, None)

    def _fail(self, node: GraphNode, error: BaseException, inputs: Mapping[str, str]) -> None:
        self._release_twins(node.id)
        self._pending.pop(node.id, None)
        top = self.nodes[self._top(node.id)]
        plain = isinstance(error, NodeFailure)
        failure = events.NodeFailed(
            node_id=top.id,
            class_type=node.node.name,
            title=top.title,
            message=error.message if isinstance(error, NodeFailure) else f"{type(error).__name__}: {error}",
            hint=error.hint if isinstance(error, NodeFailure) else "",
            exception_type=f"{type(error).__module__}.{type(error).__qualname__}",
            inputs=inputs,
            details="" if plain and not error.__cause__ else "".join(traceback.format_exception(error)),
        )
        self.failures.append(failure)
        self._listen(failure)
        self._lose(node.id, node.id)
        if self._stop_at_failure:
            self.cancelled = True
            self.services.lane.stop_job(self)

    def _release_twins(self, id: str) -> None:
        self._ready += self._at_work.pop(self.keys[id], [])

    def _skip(self, id: str, because: str) -> None:
        self._pending.pop(id, None)
        self._listen(events.NodeSkipped(self._top(id), self.nodes[id].node.name, because))
        self._lose(id, because)

    def _lose(self, id: str, because: str) -> None:
        """A node will have no result: skip all that waits for it."""
        stack = [id]
        self._lost[id] = because
        while stack:
            lost = stack.pop()
            for resume in self._asking.pop(lost, []):
                resume()
            for waiter in self._waiters.pop(lost, []):
                if waiter in self._pending and waiter not in self._lost:
                    del self._pending[waiter]
                    self._lost[waiter] = because
                    self._listen(events.NodeSkipped(self._top(waiter), self.nodes[waiter].node.name, because))
                    stack.append(waiter)

    # ------------------------------------------------------------ what generators ask

    def _answer(self, attempt: _Attempt, index: int, walk: Walk, ask: Need | Subgraph) -> None:
        self._parked += 1
        if isinstance(ask, Need):
            wanted = self._needed_link(attempt, ask.port)
            if not isinstance(wanted, Link):
                self._parked -= 1
                return self.services.lane.resume(walk, wanted)
            return self._when(walk, [wanted], lambda values: self._one(attempt, values[0], index))
        try:
            self._grow(attempt.node.id, ask)
        except NodeFailure as failure:
            self._parked -= 1
            return self.services.lane.resume(walk, error=failure)
        links = [Link(str(r[0]), int(r[1])) if is_link(r) else r for r in ask.results]
        wanted_links = [r for r in links if isinstance(r, Link)]

        def results(values: list[list[Any]]) -> list[list[Any]]:
            found = iter(values)
            return [next(found) if isinstance(r, Link) else [r] for r in links]

        self._when(walk, wanted_links, results)

    def _needed_link(self, attempt: _Attempt, port: str) -> Any:
        node = attempt.node
        return node.links[port] if port in node.links else node.literals.get(port)

    @staticmethod
    def _one(attempt: _Attempt, values: list[Any], index: int) -> Any:
        return values if attempt.node.node.takes_lists else values[min(index, len(values) - 1)]

    def _when(self, walk: Walk, links: list[Link], answer: Callable[[list[list[Any]]], Any]) -> None:
        """Answer a walk once all of the links have a value, or throw where one of them was lost."""
        waiting = {link.node_id for link in links}
        for id in waiting:
            self._keep(id)

        def look(came: str | None = None) -> None:
            waiting.discard(came or "")
            lost = next((link.node_id for link in links if link.node_id in self._lost), None)
            if lost is not None or not waiting:
                if not walk.done and self._parked:
                    self._parked -= 1
                if lost is not None:
                    waiting.clear()
                    return self.services.lane.resume(walk, error=Upstream(self._lost[lost]))
                self.services.lane.resume(walk, answer([self.results[x.node_id].outputs[x.slot] for x in links]))

        for id in list(waiting):
            if id in self.results or id in self._lost:
                waiting.discard(id)
            else:
                self._asking.setdefault(id, []).append(lambda id=id: look(id))  # type: ignore[misc]
                self._demand(id)
        if not waiting or any(link.node_id in self._lost for link in links):
            look()

    def _grow(self, parent: str, ask: Subgraph) -> None:
        """Add the nodes that a running node asks for."""
        if taken := [id for id in ask.nodes if id in self.nodes]:
            raise NodeFailure(f"the ids {taken[:5]} are taken already", "added nodes need ids that are new in the run")
        added: dict[str, GraphNode] = {}
        for id, saved in ask.nodes.items():
            declared = self.services.registry.nodes.get(saved["class_type"])
            if declared is None:
                raise NodeFailure(f"it adds a node of the unknown class {saved['class_type']!r}")
            added[id], problems = bind_node(id, declared, saved.get("inputs", {}))
            if problems:
                raise NodeFailure(str(problems[0]))
        self.nodes |= added
        for id in _sources_first(added):
            self._parents[id] = parent
            self.parts[id] = key_parts(added[id], self.keys, self.services.env)
            self.keys[id] = address(self.parts[id])
        for id, node in added.items():
            if node.node.is_output:
                self._keep(id)
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


def _sources_first(added: Mapping[str, GraphNode]) -> list[str]:
    """Ids of added nodes, sources before consumers.

    Raises:
        NodeFailure: They depend on themselves.
    """
    left = {id: {x.node_id for x in n.links.values() if x.node_id in added} for id, n in added.items()}
    consumers: dict[str, list[str]] = {}
    for id, sources in left.items():
        for source in sources:
            consumers.setdefault(source, []).append(id)
    order = [id for id, sources in left.items() if not sources]
    for id in order:
        for consumer in consumers.get(id, []):
            left[consumer].discard(id)
            if not left[consumer]:
                order.append(consumer)
    if len(order) < len(added):
        raise NodeFailure("Dependency cycle detected", "the nodes that it adds depend on themselves")
    return order
