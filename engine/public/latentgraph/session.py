"""A session: runs workflows on one engine; models, results and batches are shared by all of its runs."""

import asyncio
import contextlib
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from engine import events
from engine.cache import Result as Kept
from engine.cache import Tiers
from engine.cache.disk import DiskTier
from engine.config import make_env, open_tiers, read_settings
from engine.plan import Plan
from engine.ports import Env
from engine.registry import Registry
from engine.runner import Engine, Run
from latentgraph.asked import Asked, Runnable, asked
from latentgraph.driving import Loop, Told, Underway, follow, stop
from latentgraph.graph import all_nodes
from latentgraph.results import NodeFailed, Result
from latentgraph.showing import shower

Listener = Callable[[events.Event], object]
AT_ONCE = 8
"""Runs of `Session.map` that are under way together."""


class Session:
    """Runs workflows. Use it with `with`, or `close` it; at exit it closes itself.

    Settings not given here come from `LATENTGRAPH_…` variables, then from latentgraph.toml. It may be used
    from several threads at once; what runs together shares model batches and does nothing twice.

    Args:
        output: Folder for outputs; default: output in the base directory.
        base_directory: Holds models, input, output and temp; default: the current directory.
        device: Where models compute: "cpu", "cuda", "cuda:1"; default: a GPU if there is one.
        cache: Folder of the disk cache, or "off".
        exact: Whether model calls are never batched: bit-identical whatever else runs.
        progress: Whether to show how far runs are; None does in notebooks, True in terminals too.
        registry: The nodes there are; default: those of all installed packs.
        settings: Any other setting by its name: `precision="fp32"`.

    Raises:
        WorkflowError: Settings that do not exist or have a wrong value.
    """

    def __init__(
        self,
        *,
        output: str | Path | None = None,
        base_directory: str | Path | None = None,
        device: str | None = None,
        cache: str | Path | None = None,
        exact: bool = False,
        progress: bool | None = None,
        registry: Registry | None = None,
        **settings: Any,
    ) -> None:
        flags = {"base_directory": base_directory, "device": device, "cache": cache, **settings}
        read = read_settings(output_directory=output, **flags)
        self.registry = registry or all_nodes()
        self._progress = progress
        self._tiers = open_tiers(read)
        self._engine = Engine(
            self.registry, make_env(read, self.registry, self._tiers), self._tiers, exact=exact
        )
        self._loop = Loop()
        self._running: weakref.WeakSet[Underway] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._closed = False
        self._let_go = weakref.finalize(self, _let_go, self._engine, self._loop, self._tiers, self._running)

    def run(
        self,
        workflow: Runnable,
        values: Mapping[str, Any] | None = None,
        *,
        targets: Iterable[str] | None = None,
        on_event: Listener | None = None,
        progress: bool | None = None,
    ) -> Result:
        """Run a workflow, or what an output of a graph needs. An interrupt (Ctrl-C) stops at the next step.

        Args:
            workflow: A file, the name of a workflow that comes along, a graph, outputs of one, or JSON.
            values: Inputs to set, as `Graph.set` takes them.
            targets: Nodes to run by title, id or class name, in place of the output nodes.
            on_event: Told every `engine.events` event, on this thread.
            progress: In place of the session's.

        Raises:
            WorkflowError: With everything that is wrong with the workflow and the values.
            NodeFailed: Nodes failed; its `result` has what was made nevertheless.
        """
        (one,) = asked(self._engine, workflow, [values or {}], targets)
        plan = one.planned(self._engine)
        told: queue.SimpleQueue[Told] = queue.SimpleQueue()
        began = time.perf_counter()
        with shower(self._shows(progress), _titles(plan)) as board:

            def tell(event: events.Event) -> None:
                board.tell(event)
                if on_event is not None:
                    on_event(event)

            run = follow(told, [self._new(plan, one.env, told.put)], tell)
        return _or_raised(self._result(one, plan, run, time.perf_counter() - began))

    def map(
        self,
        workflow: Runnable,
        values: Iterable[Mapping[str, Any]],
        *,
        targets: Iterable[str] | None = None,
        at_once: int = AT_ONCE,
        progress: bool | None = None,
    ) -> Iterator[Result]:
        """Run a workflow once for each set of values; gives the results in order, as they are there.

        All are checked and planned before anything runs. Runs under way together share model batches, and
        what they have in common is made once. A run whose nodes fail has an `error`; the others go on.

        Args:
            at_once: How many run together.

        Raises:
            WorkflowError: With everything that is wrong with any of them, before anything runs.
        """
        found = asked(self._engine, workflow, values, targets)
        return self._mapped(found, max(at_once, 1), self._shows(progress))

    def _mapped(self, found: Sequence[Asked], at_once: int, progress: bool | None) -> Iterator[Result]:
        told: queue.SimpleQueue[Told] = queue.SimpleQueue()
        todo = iter(found)
        begun: deque[tuple[Asked, Plan, float]] = deque()
        runs: list[Underway] = []
        with shower(progress, {}, len(found)) as board:
            try:
                while True:
                    for one in islice(todo, at_once - len(runs)):
                        plan = one.planned(self._engine)
                        begun.append((one, plan, time.perf_counter()))
                        runs.append(self._new(plan, one.env, told.put))
                    if not runs:
                        break
                    run = follow(told, runs, board.tell)
                    del runs[0]
                    one, plan, began = begun.popleft()
                    yield self._result(one, plan, run, time.perf_counter() - began)
            finally:
                stop(runs)

    async def arun(
        self,
        workflow: Runnable,
        values: Mapping[str, Any] | None = None,
        *,
        targets: Iterable[str] | None = None,
        on_event: Listener | None = None,
    ) -> Result:
        """The same as `run`, for asyncio programs; several awaited together share model batches.

        Args:
            on_event: Told every event, on the thread of the caller's loop.
        """
        loop = asyncio.get_running_loop()
        (one,) = await asyncio.to_thread(asked, self._engine, workflow, [values or {}], targets)
        plan = await asyncio.to_thread(one.planned, self._engine)

        def tell(event: Told) -> None:
            if not isinstance(event, Underway) and on_event is not None:
                with contextlib.suppress(RuntimeError):  # the caller's loop may be closed by now
                    loop.call_soon_threadsafe(on_event, event)

        began = time.perf_counter()
        under = self._new(plan, one.env, tell)
        under.begin()
        try:
            run = await asyncio.shield(asyncio.wrap_future(under.future))
        except asyncio.CancelledError:
            under.cancel()
            raise
        return _or_raised(self._result(one, plan, run, time.perf_counter() - began))

    def close(self) -> None:
        """Stop what runs, at its next step, and let go of models, threads and the cache."""
        with self._lock:
            self._closed = True
            running = list(self._running)
        stop(running)
        if self._let_go.detach() is not None:
            self._engine.close()
            self._loop.stop()
            self._loop.join()
            _close_tiers(self._tiers)

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _shows(self, progress: bool | None) -> bool | None:
        return self._progress if progress is None else progress

    def _new(self, plan: Plan, env: Env | None, tell: Callable[[Told], None]) -> Underway:
        with self._lock:
            if self._closed:
                raise RuntimeError("the session is closed")
            under = Underway(self._engine, self._loop, plan, env, tell)
            self._running.add(under)
        return under

    def _result(self, one: Asked, plan: Plan, run: Run, seconds: float) -> Result:
        error = NodeFailed(run.failures) if run.failures else None
        stopped = CancelledError("the run was stopped") if run.status == "cancelled" else None
        targets = one.targets or tuple((id, None) for id in plan.targets)
        made = partial(self._made, plan, one.env)
        result = Result(run.status, one.inputs, seconds, error or stopped, run, plan, targets, made)
        if error:
            error.result = result
        return result

    def _made(self, plan: Plan, env: Env | None, id: str) -> Kept:
        """What a node of an earlier run gave: from the cache, or by running it again."""
        if id in plan.keys and (found := self._tiers.get(plan.keys[id])):
            return found[0]
        if any(n in plan.parts and plan.parts[n].lasts == "run" for n in plan.graph.needed([id])):
            raise LookupError(f"node {id} gives something else each time; name it in targets=")
        told: queue.SimpleQueue[Told] = queue.SimpleQueue()
        again = self._engine.plan(plan.graph.workflow, [id], env=env)
        run = follow(told, [self._new(again, env, told.put)], lambda _: None)
        if run.failures:
            raise NodeFailed(run.failures)
        if id not in run.results:
            raise CancelledError("the run was stopped")
        return run.results[id]


def _titles(plan: Plan) -> dict[str, str]:
    return {id: n.title or n.node.title for id, n in plan.graph.nodes.items()}


def _or_raised(result: Result) -> Result:
    if result.error is not None:
        raise result.error
    return result


def _let_go(engine: Engine, loop: Loop, tiers: Tiers, running: Collection[Underway]) -> None:
    """End the threads without waiting, whichever thread this is; for sessions that nobody closed."""
    if any(run.moves for run in running):  # by a daemon thread, and the interpreter ends: so does the run
        return
    with contextlib.suppress(RuntimeError):  # this is one of the threads
        engine.close(wait=False)
    loop.stop()
    _close_tiers(tiers)


def _close_tiers(tiers: Tiers) -> None:
    for tier in tiers.tiers:
        if isinstance(tier, DiskTier):
            tier.close()
