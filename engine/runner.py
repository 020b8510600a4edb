"""The engine: what all runs share (threads, device lane, cache), and a run from its plan to its outputs."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from engine import events
from engine.cache import Result, Tiers
from engine.cache.disk import DiskTier
from engine.cache.leases import Leases
from engine.devices import Devices
from engine.files import Files
from engine.flights import Flights
from engine.graph import Graph
from engine.groups import LADDER
from engine.job import Job
from engine.lane import Lane
from engine.pace import Pace
from engine.plan import Plan, make_plan, plan_checked
from engine.ports import Env
from engine.record import Record
from engine.registry import Registry
from engine.services import Services
from engine.workflow import Workflow


@dataclass(frozen=True)
class Run:
    """How a run ended.

    Args:
        outputs: Each file it shows, `{"node", "path", "sha256"}`, in the order of the workflow.
        executed: Ids of the nodes that ran, in the order they ended.
        cached: Ids of the nodes whose result was at hand.
        results: What the targets gave.
        record: What made the outputs, for a lock file and for a replay.
    """

    status: events.Status
    outputs: tuple[Mapping[str, str], ...]
    executed: tuple[str, ...]
    cached: tuple[str, ...]
    failures: tuple[events.NodeFailed, ...]
    results: Mapping[str, Result]
    record: Callable[[], Record]


class Engine:
    """Runs plans, several at a time if asked to, on shared threads, one device lane and one cache.

    Args:
        env: Holds `Files`, `Devices` and what the packs provide.
        exact: Whether every row of a model call is computed alone (batch rung 1).
        threads: Host threads for plain node functions, encoding and hashing.
    """

    def __init__(
        self,
        registry: Registry,
        env: Env,
        tiers: Tiers | None = None,
        *,
        exact: bool = False,
        threads: int | None = None,
    ) -> None:
        self.registry, self.env, self.tiers = registry, env, tiers or Tiers(())
        self._pool = ThreadPoolExecutor(threads or min(8, (os.cpu_count() or 2) + 2), "host")
        self._pace, self._flights = Pace(), Flights()
        disk = next((tier for tier in self.tiers.tiers if isinstance(tier, DiskTier)), None)
        self._leases = Leases(disk.folder / "leases", disk.usual_cost, disk.has) if disk else None
        self._listeners: set[Callable[[events.Event], None]] = set()
        devices = env[Devices] if Devices in env else Devices("cpu")
        self._lane = Lane(devices, (1,) if exact else LADDER, listen=self._spread)

    def plan(
        self,
        workflow: Workflow,
        targets: Iterable[str] | None = None,
        *,
        env: Env | None = None,
        tiers: Tiers | None = None,
    ) -> Plan:
        """Bind, check and plan a workflow.

        Args:
            env: In place of the engine's, for this run.
            tiers: Likewise; `start` takes the same.

        Raises:
            WorkflowError: With all of its problems.
        """
        return make_plan(workflow, self.registry, env or self.env, tiers or self.tiers, targets)

    def plan_checked(self, graph: Graph, targets: Iterable[str], *, env: Env, tiers: Tiers) -> Plan:
        """Plan a graph in which `check` found nothing wrong; else as `plan`."""
        return plan_checked(graph, targets, env, tiers)

    def start(
        self,
        plan: Plan,
        listen: Callable[[events.Event], None] = lambda _: None,
        *,
        stop_at_failure: bool = False,
        env: Env | None = None,
        tiers: Tiers | None = None,
        priority: int = 0,
    ) -> Job:
        """A job for `finish`; its `cancel` may be called from any thread once it runs.

        Nodes of equal key that jobs of the engine have under way together run once.

        Args:
            tiers: In place of the engine's; such a job does not wait for nodes of others.
            priority: Model calls of jobs with a higher one go first, between any two steps of the others.
        """
        used = tiers or self.tiers
        services = Services(
            self.registry,
            env or self.env,
            used,
            self._lane,
            self._pool,
            self._pace,
            self._flights,
            self._leases,
            used is self.tiers,
        )
        return Job(plan, services, listen, stop_at_failure, priority)

    async def finish(self, job: Job) -> Run:
        """Run a job to its end; several may be awaited together and then share model batches."""
        loop, listen = asyncio.get_running_loop(), job.listen

        def from_lane(event: events.Event) -> None:
            with contextlib.suppress(RuntimeError):  # the loop may be closed by now
                loop.call_soon_threadsafe(listen, event)

        listen(events.RunStarted(len(job.plan.runs), tuple(job.plan.served)))
        self._listeners.add(from_lane)
        try:
            await job.run()
        finally:
            self._listeners.discard(from_lane)
        status: events.Status = "cancelled" if job.cancelled else "error" if job.failures else "success"
        if job.failures:
            status = "error"
        run = Run(
            status,
            tuple(self._outputs(job)),
            tuple(job.executed),
            tuple(job.cached),
            tuple(job.failures),
            {t: job.frontier.results[t] for t in job.plan.targets if t in job.frontier.results},
            lambda: job.cast.record(job.plan.targets),
        )
        listen(events.RunFinished(run.status, run.outputs, run.executed, run.cached))
        return run

    def run(self, plan: Plan, listen: Callable[[events.Event], None] = lambda _: None) -> Run:
        """Run a plan from a program without an event loop."""
        return asyncio.run(self.finish(self.start(plan, listen)))

    def close(self, wait: bool = True) -> None:
        """End the threads.

        Args:
            wait: Whether to wait for nodes that are at work; else they are left to end by themselves.
        """
        self._lane.close(10.0 if wait else 0.0)
        self._pool.shutdown(wait=wait, cancel_futures=True)

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _spread(self, event: events.Event) -> None:
        for listener in list(self._listeners):
            listener(event)

    def _outputs(self, job: Job) -> Iterable[Mapping[str, str]]:
        env = job.services.env
        if Files not in env:
            return
        for id in job.outputs:
            result = job.frontier.results.get(id)
            for entry in (e for entries in (result.ui if result else {}).values() for e in entries):
                path: Any = env[Files].saved(entry) if isinstance(entry, dict) else None
                if path is not None:
                    yield {"node": job.cast.top(id), "path": str(path), "sha256": entry.get("sha256", "")}
