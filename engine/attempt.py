"""One node being run: its calls on the lane, on host threads or as coroutines, and what they gave so far."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from engine.cache import Result
from engine.cache.codec import digest, nbytes
from engine.devices import computing
from engine.graph import GraphNode
from engine.invoke import Collected, blocked
from engine.lane import Lane, Stopped, Walk
from engine.pace import Pace
from engine.ports import Blocked
from engine.steps import Need, NeedAll, Progress, Slots, Subgraph
from engine.trail import Note, Pinned, packed

DIGESTED_AT_ONCE = 2**16
"""Bytes of a plain function's result that are digested where it ran; longer ones would hold up the loop."""


@dataclass
class Told:
    """Where an attempt tells what happens; each is called on the loop's thread.

    Args:
        completed: All calls have ended well.
        failed: A call raised; with its index.
        progressed: Steps done and steps in all, over all calls, and a preview.
        asked: A call's generator asks for a lazy input or for more nodes; with its index.
        blocked: A call was left out because of a blocker with a message.
    """

    completed: Callable[["Attempt"], None]
    failed: Callable[["Attempt", int, BaseException], None]
    progressed: Callable[["Attempt", float, float, Any], None]
    asked: Callable[["Attempt", int, Walk, Need | NeedAll | Subgraph], None]
    blocked: Callable[["Attempt", str], None]


class BlockedInput(Exception):
    """A lazy input turned out to be a blocker; thrown into the generator that asked for it."""

    def __init__(self, blocker: Blocked) -> None:
        self.blocker = blocker
        super().__init__(blocker.message or "a lazy input is blocked")


class Attempt:
    """Runs the calls of one node and gathers their outcomes.

    Args:
        arguments: The keyword arguments of each call.
        job: Whose walks these are, for `Lane.stop_job`.
        later: Has something done on the loop's thread, from any thread.
        pinned: The rungs that its model calls are to be batched at.
        priority: That of the job.
        ran: Whether any call was made; not when all had a blocker among their inputs.
        parked: How many of its calls wait for nodes of the run.
        walks: Its generators; whoever starts the attempt hands them to the lane.
        result: What the node gave, and a digest of it, once it has completed.
    """

    result: Result
    digest: str | None = None

    def __init__(
        self,
        node: GraphNode,
        arguments: list[dict[str, Any]],
        job: object,
        told: Told,
        later: Callable[[Callable[[], None]], None],
        pinned: Pinned,
        priority: int = 0,
    ) -> None:
        self.node, self.arguments = node, arguments
        self.collected = Collected(node.node, [None] * len(arguments))
        self.ran = False
        self.parked = 0
        self._job, self._told, self._later = job, told, later
        self._left = len(arguments)
        self._started = time.perf_counter()
        self._steps: dict[int, Progress] = {}
        self._stopping = False
        self._at = 0
        self.walks: list[Walk] = []
        self._pinned, self._priority = pinned, priority
        self._tasks: list[asyncio.Task[Any]] = []

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.perf_counter() - self._started

    def note(self, made: str) -> Note:
        """How its result came about, in these surroundings."""
        if not self.walks:
            return Note(self.digest, None, "", made)
        dtypes = sorted({walk.dtype for walk in self.walks} - {""})
        return Note(self.digest, packed([walk.rungs for walk in self.walks]), ", ".join(dtypes), made)

    @property
    def idle(self) -> bool:
        """Whether every call that has not ended waits for nodes of the run."""
        return self.parked > 0 and self.parked >= self._left

    def stop(self) -> None:
        """End all calls at their next step; asked again, nothing more happens."""
        if self._stopping:
            return
        self._stopping = True
        for walk in self.walks:
            self._lane.stop(walk)
        for task in self._tasks:
            task.cancel()

    def start(self, lane: Lane, pool: Executor, loop: asyncio.AbstractEventLoop, pace: Pace) -> None:
        """Start all calls but the generators; returns at once, or when quick plain functions are done."""
        self._lane, self._pool, self._pace = lane, pool, pace
        live = self._unblocked()
        self.ran = bool(live)
        try:
            if not live:
                self._conclude()
            elif self.node.node.is_generator:
                for i in live:
                    self._walk(i)
            elif self.node.node.is_coroutine:
                for i in live:
                    self._task(loop, i)
            elif self.node.node.lane == "device":
                lane.run(
                    lambda: self._plain(live), lambda values, error: self._plain_ended(live, values, error)
                )
            elif pace.is_quick(self.node.node.name, len(live)):
                self._on_host(live)
            else:
                pool.submit(self._on_host, live)
        except TypeError as error:  # it cannot be called with these arguments; only added nodes get here
            self._fail_later(live[0], error)

    def _unblocked(self) -> list[int]:
        """The calls to make; those with a blocker among their inputs pass it on instead."""
        if self.node.node.maps_itself:
            return list(range(len(self.arguments)))
        live = []
        for i, arguments in enumerate(self.arguments):
            blocker = blocked(arguments, self.node.node.takes_lists)
            if blocker is None:
                live.append(i)
                continue
            self.collected.outcomes[i] = Blocked()
            self._left -= 1
            if blocker.message is not None:
                self._told.blocked(self, blocker.message)
        return live

    def _plain(self, live: list[int]) -> list[Any]:
        values = []
        with computing():
            for self._at in live:
                if self._stopping:
                    raise Stopped()
                began = time.perf_counter()
                values.append(self.node.node.fn(**self.arguments[self._at]))
                self._pace.took(self.node.node.name, time.perf_counter() - began)
        return values

    def _on_host(self, live: list[int]) -> None:
        try:
            values = self._plain(live)
        except BaseException as error:  # even SystemExit: a node must not leave its job waiting
            return self._plain_ended(live, None, error)
        self._plain_ended(live, values, None)

    def _fail_later(self, index: int, error: BaseException) -> None:
        self._later(lambda: self._told.failed(self, index, error))

    def _plain_ended(self, live: list[int], values: Any, error: BaseException | None) -> None:
        if error is not None:
            return self._fail_later(self._at, error)

        for i, value in zip(live, values, strict=True):
            self.collected.outcomes[i] = value
        self._conclude()

    def _conclude(self) -> None:
        """Put the result together and digest it, where that takes long on a host thread; then tell."""
        try:
            self.result = self.collected.result(self.seconds)
        except Exception as error:  # the node's own values: what they raise is the node's failure
            return self._fail_later(0, error)
        plain = self.node.node.lane == "host" and not self.walks
        if plain and nbytes(self.result.outputs) <= DIGESTED_AT_ONCE:
            self._digested()
        else:  # what models made may have to be waited for and copied from their device
            self._pool.submit(self._digested)

    def _digested(self) -> None:
        self.digest = digest(list(self.result.outputs)) if self.result.outputs else None
        self._later(lambda: self._told.completed(self))

    def _task(self, loop: asyncio.AbstractEventLoop, index: int) -> None:
        task = loop.create_task(self.node.node.fn(**self.arguments[index]))
        self._tasks.append(task)

        def done(task: asyncio.Task[Any]) -> None:
            error = Stopped() if task.cancelled() else task.exception()
            value = None if error else task.result()
            self._later(lambda: self._outcome(index, value, error))

        task.add_done_callback(done)

    def _walk(self, index: int) -> None:
        walk = Walk(
            self.node.node.fn(**self.arguments[index]),
            self._job,
            asked=lambda ask: self._later(lambda: self._told.asked(self, index, walk, ask)),
            told=lambda progress: self._later(lambda: self._progress(index, progress)),
            ended=lambda value, error: self._later(lambda: self._outcome(index, value, error)),
            pinned=self._pinned.of(self.node.id, index),
            priority=self._priority,
        )
        self.walks.append(walk)

    def _progress(self, index: int, progress: Progress) -> None:
        self._steps[index] = progress
        step = sum(p.step for p in self._steps.values())
        self._told.progressed(self, step, progress.total * len(self.arguments), progress.preview)

    def _outcome(self, index: int, value: Any, error: BaseException | None) -> None:
        if isinstance(error, BlockedInput):
            value = Blocked()
            if error.blocker.message is not None:
                self._told.blocked(self, error.blocker.message)
        elif error is not None:
            return self._told.failed(self, index, error)
        if isinstance(value, Slots):
            self.ran = value.ran
            for message in value.blocked:
                self._told.blocked(self, message)
        self.collected.outcomes[index] = value
        self._left -= 1
        if self._left == 0:
            self._conclude()
