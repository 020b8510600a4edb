"""The device lane: one thread that runs generator nodes and batches the model calls of all jobs."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any

from engine.devices import Devices, computing, out_of_memory
from engine.events import Event, ModelBatch, Notice
from engine.groups import LADDER, Group, Groups, Waiting
from engine.steps import Await, Call, Need, NeedAll, Progress, Steps, Subgraph

log = logging.getLogger(__name__)


class Stopped(Exception):
    """A generator node was closed between two steps because its job was cancelled."""


@dataclass(eq=False)
class Walk:
    """A generator node being driven, and where its asks and its end are told.

    Args:
        job: Whose it is; walks of one job are stopped together.
        asked: Called on the lane's thread with a `Need`, `NeedAll` or `Subgraph`; answered by `Lane.resume`.
        told: Called on the lane's thread with progress.
        ended: Called on the lane's thread with the value returned or the exception raised.
        pinned: The rung for each row that it will ask for, in order; None leaves them to the lane.
        priority: Calls of walks with a higher one go first.
        rungs: The rung at which each row so far was computed.
        dtype: What the models that it called compute in, where they say so.
    """

    steps: Steps[Any]
    job: Hashable
    asked: Callable[[Need | NeedAll | Subgraph], None]
    told: Callable[[Progress], None]
    ended: Callable[[Any, BaseException | None], None]
    pinned: Iterator[int] | None = None
    priority: int = 0
    done: bool = False
    rungs: list[int] = field(default_factory=list)
    dtype: str = ""


class Lane:
    """Drives generators step by step and answers their calls in batches.

    A batch goes when every generator that can move has asked for something: of the groups with rows of the
    highest priority one that fills its largest rung, else the one that waits longest. It is filled to the
    next rung of the ladder with rows of lower priority, then by repeating its last row, so that a row's
    result depends on the rung and on nothing else.

    Args:
        rungs: Allowed batch sizes, rising; `(1,)` runs every row alone.
        fixed: Whether every batch is filled to the largest rung, so that results do not depend on what waits.
        listen: Told of batches and of retries, on the lane's thread.
    """

    def __init__(
        self,
        devices: Devices,
        rungs: Sequence[int] = LADDER,
        fixed: bool = False,
        listen: Callable[[Event], None] = lambda _: None,
    ) -> None:
        self._devices, self._listen = devices, listen
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._groups: Groups[Walk] = Groups(rungs, fixed)
        self._walks: set[Walk] = set()
        self._thread = threading.Thread(target=self._run, name="device-lane", daemon=True)
        self._thread.start()

    def start(self, *walks: Walk) -> None:
        """Begin to drive generators; returns at once. Those begun together share their first batches."""
        if walks:
            self._inbox.put(lambda: self._begin(walks))

    def resume(self, walk: Walk, answer: Any = None, error: BaseException | None = None) -> None:
        """Answer what a walk asked for, or throw the error there."""
        self._inbox.put(lambda: self._step(walk, answer, error))

    def run(self, fn: Callable[[], Any], ended: Callable[[Any, BaseException | None], None]) -> None:
        """Run a plain function alone on the device."""

        def task() -> None:
            try:
                value = fn()
            except BaseException as error:  # even SystemExit: a node must not end the lane
                return ended(None, error)
            ended(value, None)

        self._inbox.put(task)

    def stop(self, walk: Walk) -> None:
        """Close a generator at its next step."""
        self._inbox.put(lambda: self._close(walk))

    def stop_job(self, job: Hashable) -> None:
        """Close all generators of a job at their next step."""
        self._inbox.put(lambda: self._stop(job))

    def close(self, seconds: float = 10.0) -> None:
        """End the thread, waiting so long for it; generators still running are closed."""
        self._inbox.put(None)
        self._thread.join(seconds)

    def _run(self) -> None:
        with computing():
            while True:
                try:
                    task = self._inbox.get(block=not self._groups)
                except queue.Empty:
                    self._batch()
                    continue
                if task is None:
                    for walk in list(self._walks):
                        self._close(walk)
                    return
                task()

    def _begin(self, walks: Sequence[Walk]) -> None:
        self._walks.update(walk for walk in walks if not walk.done)
        for walk in walks:
            self._step(walk, None)

    def _stop(self, job: Hashable) -> None:
        for walk in [w for w in self._walks if w.job == job]:
            self._close(walk)

    def _close(self, walk: Walk) -> None:
        try:
            walk.steps.close()
        except Exception:
            log.exception("a node raised while it was being stopped")
        self._end(walk, None, Stopped())

    def _end(self, walk: Walk, value: Any, error: BaseException | None) -> None:
        if not walk.done:
            walk.done = True
            self._walks.discard(walk)
            walk.ended(value, error)

    def _step(self, walk: Walk, answer: Any, error: BaseException | None = None) -> None:
        """Move a generator on until it asks for what cannot be answered at once."""
        while not walk.done:
            try:
                with computing():
                    ask = walk.steps.throw(error) if error else walk.steps.send(answer)
            except StopIteration as stop:
                return self._end(walk, stop.value, None)
            except BaseException as failure:  # even SystemExit: a node must not end the lane
                return self._end(walk, None, failure)
            answer = error = None
            if isinstance(ask, Progress):
                walk.told(ask)
                return self.resume(walk)  # in turn with the others, one of which may stop this very node
            elif isinstance(ask, Call):
                if not ask.requests:
                    answer = []
                    continue
                try:
                    return self._queue(walk, ask)
                except Exception as failure:  # the target's own code: its caller is told
                    error = failure
            elif isinstance(ask, Need | NeedAll | Subgraph):
                return walk.asked(ask)
            elif isinstance(ask, Await):
                return ask.future.add_done_callback(lambda future: self._awaited(walk, future))
            else:
                error = TypeError(f"a node cannot ask for {ask!r:.80}")

    def _awaited(self, walk: Walk, future: Future[Any]) -> None:
        error = CancelledError() if future.cancelled() else future.exception()
        self.resume(walk, None if error else future.result(), error)

    def _queue(self, walk: Walk, ask: Call) -> None:
        waiting = Waiting(walk, len(ask.requests))
        pins: Iterator[int | None] = walk.pinned or iter(())
        rows = [(ask.target.batch_key(r), r, next(pins, None)) for r in ask.requests]
        self._groups.add(ask.target, waiting, rows)
        walk.dtype = str(getattr(ask.target, "dtype", walk.dtype)).removeprefix("torch.")

    def _batch(self) -> None:
        """Run one batch of the group whose turn it is, and move its generators on."""
        group, rows = self._groups.next()
        if not rows:
            return
        started = time.perf_counter()
        try:
            answers, rung = self._answered(group, [r.request for r in rows])
        except BaseException as error:
            for waiting in dict.fromkeys(r.waiting for r in rows):
                waiting.failed = True
                self._step(waiting.walk, None, error)
            return
        jobs = len({r.waiting.walk.job for r in rows})
        name = getattr(group.target, "label", type(group.target).__name__)
        self._listen(ModelBatch(name, len(rows), rung, jobs, time.perf_counter() - started))
        ready = []
        for row, answer in zip(rows, answers, strict=True):
            row.waiting.answers[row.index] = answer, rung
            row.waiting.left -= 1
            if row.waiting.left == 0:
                ready.append(row.waiting)
        for waiting in ready:
            told = [waiting.answers[i] for i in range(len(waiting.answers))]
            waiting.walk.rungs += [rung for _, rung in told]
            self._step(waiting.walk, [answer for answer, _ in told])

    def _answered(self, group: Group[Walk], requests: list[Any]) -> tuple[list[Any], int]:
        """Answers to at most a rung of requests, and the rung; out of memory, evict and retry, then halve."""
        target, rung = group.target, group.rung or self._groups.rung(len(requests))
        answers = self._tried(target, requests, rung)
        if answers is None:
            freed = self._devices.free() // 2**20
            self._listen(Notice(f"out of memory with {rung} rows: freed {freed} MB, trying again"))
            answers = self._tried(target, requests, rung)
        while answers is None and rung > 1:
            rung = max(r for r in LADDER if r <= rung // 2)
            self._listen(Notice(f"still out of memory: trying with {rung} rows"))
            answers = self._tried(target, requests, rung)
        if answers is None:  # a single row does not fit: let the error through
            return [a for r in requests for a in self._forward(target, [r])], 1
        return answers, rung

    def _tried(self, target: Any, requests: list[Any], rung: int) -> list[Any] | None:
        """Answers, a rung at a time; None where memory was not enough."""
        answers: list[Any] = []
        try:
            for at in range(0, len(requests), rung):
                part = requests[at : at + rung]
                padded = [*part, *[part[-1]] * (rung - len(part))]
                answers += self._forward(target, padded)[: len(part)]
        except Exception as error:
            if not out_of_memory(error):
                raise
            log.warning("out of memory in a batch of %s rows", rung)
            return None
        return answers

    @staticmethod
    def _forward(target: Any, requests: list[Any]) -> list[Any]:
        with computing():
            answers = list(target.answer(requests))
        if len(answers) != len(requests):
            raise RuntimeError(f"{target!r:.60} gave {len(answers)} answers to {len(requests)} requests")
        return answers
