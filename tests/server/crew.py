"""A worker on an engine of tiny nodes, whose doings a test waits for instead of sleeping."""

import itertools
import queue
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Annotated, Any

from engine.config import make_env, open_tiers, read_settings
from engine.node import node
from engine.ports import Given
from engine.runner import Engine
from engine.steps import Progress, Steps, call
from server.queue.jobs import Ending, Job, NewJob
from server.queue.opening import open_database
from server.queue.store import Queue
from server.telling import Message
from server.worker import Told, Worker
from tests.server.faulty import TINY, Picture


class Gates:
    """Where `Gate` nodes wait: they say that they have come, and go on once they may."""

    def __init__(self) -> None:
        self.come = threading.Semaphore(0)
        self.open = threading.Event()

    def batch_key(self, request: Any) -> Hashable:
        return 0

    def answer(self, requests: Sequence[Any]) -> list[Any]:
        if requests[0] == 0:
            self.come.release()
        self.open.wait(0.005)
        return list(requests)


@node("Gate", category="tiny")
def gate(*, picture: Picture, gates: Annotated[Gates, Given()]) -> Steps[Picture]:
    """A picture, once the gates are open."""
    for step in itertools.count():
        if gates.open.is_set():
            break
        yield from call(gates, step)
        yield Progress(1, 2)
    return picture


class Crew:
    """A queue, an engine and a worker; `events` has what the worker told, in order."""

    def __init__(self, base: Path, at_once: int = 1, memory_gb: float = 0.1, url: str = "") -> None:
        settings = read_settings(base_directory=base, cache=Path("off"), memory_gb=memory_gb, device="cpu")
        tiers = open_tiers(settings)
        self.gates = Gates()
        registry = TINY.with_nodes(gate)
        self.engine = Engine(registry, make_env(settings, registry, tiers).with_(self.gates), tiers)
        self.queue = Queue(open_database(url or f"sqlite:///{base / 'q.sqlite'}"))
        self.events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.seen: list[tuple[str, Any]] = []
        told = Told(
            lambda message: self.events.put(("message", message)),
            lambda job: self.events.put(("taken", job)),
            lambda job, ending: self.events.put(("ended", (job, ending))),
            lambda job: self.events.put(("put back", job)),
        )
        self.worker = Worker(self.engine, self.queue, told, at_once)

    def put(self, id: str, prompt: dict[str, Any], **facts: Any) -> None:
        new = NewJob(id, prompt, facts.pop("extra_data", {}), facts.pop("targets", ("9",)), **facts)
        self.queue.accept(new, self.queue.next_number(), True).result()
        self.worker.wake()

    def until(self, kind: str, id: str, *, among: Callable[[Any], bool] = lambda _: True) -> Any:
        """Wait until something is told of a job."""
        until = time.monotonic() + 60
        while True:
            event = self.events.get(timeout=max(until - time.monotonic(), 0))
            self.seen.append(event)
            found, what = event
            job = what[0] if found == "ended" else what
            if found == kind and getattr(job, "job_id", getattr(job, "id", "")) == id and among(what):
                return what

    def ended(self, id: str) -> tuple[Job, Ending]:
        found: tuple[Job, Ending] = self.until("ended", id)
        return found

    def messages(self, id: str) -> list[Message]:
        return [m for kind, m in self.seen if kind == "message" and m.job_id == id]

    def close(self) -> None:
        self.gates.open.set()
        self.worker.stop(5)
        self.engine.close()
        self.queue.close()
