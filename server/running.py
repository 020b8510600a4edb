"""One job on the engine: from its row to its ending; the same in the server and in worker processes."""

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.cache import KeyParts, Result, Tier, Tiers
from engine.devices import Devices
from engine.events import Event
from engine.files import Files
from engine.graph import Graph
from engine.job import Job as Run
from engine.plan import Plan
from engine.ports import Env
from engine.problems import WorkflowError
from engine.runner import Engine
from engine.running import RunInfo
from engine.trail import Pinned
from engine.workflow import Workflow, from_json
from server.admission import FEW
from server.queue.jobs import Ending, Job, failure
from server.queue.postgres import patiently
from server.queue.store import Queue
from server.telling import Message, Place, Telling

log = logging.getLogger(__name__)


class Running:
    """A job that a worker has leased.

    Args:
        send: Is given the messages, on the worker's thread.
        observe: Is given the engine's events, on the worker's thread.
        checked: Its graph, if it was checked just now.
    """

    def __init__(
        self,
        job: Job,
        engine: Engine,
        queue: Queue,
        send: Callable[[Message], None],
        observe: Callable[[Event], None] = lambda _: None,
        checked: Graph | None = None,
    ) -> None:
        self.job, self._observe, self._checked = job, observe, checked
        self._engine, self._queue, self._send = engine, queue, send
        self._run: Run | None = None
        self._lock = threading.Lock()
        self._cancelled = job.cancelling
        self.putting_back = False
        """Whether its cancellation means that it goes back into the queue."""

    def cancel(self, put_back: bool = False) -> None:
        """Stop at the next step; may be called from any thread.

        Whoever wants it to end has the last word: it is not put back then.
        """
        with self._lock:
            self.putting_back = put_back and (self.putting_back or not self._cancelled)
            self._cancelled = True
            if self._run is not None:
                self._run.cancel()

    def is_of(self, job: Job) -> bool:
        """Whether it is this attempt of the job, and goes on."""
        return (self.job.id, self.job.attempt) == (job.id, job.attempt) and not self._cancelled

    async def run(self) -> tuple[Ending, list[Message]]:
        """Run it: what came of it, and the messages to send once that is committed."""
        tiers = self._engine.tiers
        if self.job.options.get("no_cache"):
            tiers = Tiers([_Forgetful(t) for t in tiers.tiers])
        files = _files_of(self.job, self._engine.env[Files], self._queue)
        info = RunInfo(self.job.id, _hidden(self.job))
        env = self._engine.env.with_(files, info)
        if pinned := _pinned(self.job):
            env = env.with_(pinned)
        telling = Telling(self.job, self._send, lambda id: Place(id, None, id))
        try:
            plan = await self._planned(env, tiers)
        except WorkflowError as error:
            telling.failed_before(_refused(error))
            return telling.ending("error"), telling.held
        plan = replace(plan, extra={**plan.extra, **_extra(self.job)})
        run: Run

        def place(id: str) -> Place:
            return _place(run, id)

        telling = Telling(self.job, self._send, place, _at_hand(plan, tiers))

        def tell(event: Event) -> None:
            telling.tell(event)
            self._observe(event)

        run = self._engine.start(
            plan,
            tell,
            stop_at_failure="batch" not in self.job.options,
            env=env,
            tiers=tiers,
            priority=self.job.priority,
        )
        with self._lock:
            self._run = run
            if self._cancelled:
                run.cancel()
        done = await self._engine.finish(run)
        ending = telling.ending(done.status, tuple(_files(files, done.outputs)))
        return replace(ending, device=env[Devices].device), telling.held

    async def _planned(self, env: Env, tiers: Tiers) -> Plan:
        """The plan; one that may take long is made on another thread, so that others are not held up."""

        if self._checked is not None and not tiers.far:
            return self._engine.plan_checked(self._checked, self.job.targets, env=env, tiers=tiers)

        def planned() -> Plan:
            return self._engine.plan(_workflow(self.job), self.job.targets, env=env, tiers=tiers)

        if len(self.job.prompt) <= FEW and not tiers.far:
            return planned()
        return await asyncio.get_running_loop().run_in_executor(None, planned)


class Book:
    """The names of a job's outputs in the queue's database: reserved before a file appears."""

    def __init__(self, queue: Queue, job: Job) -> None:
        self._queue, self._job = queue, job
        self._lock = threading.Lock()
        self._earlier: dict[str, str] | None = None

    def reserved(self, sha256: str, folder: Path, stem: str) -> str | None:
        """The path that an earlier attempt reserved for this content in `folder`, its name beginning so."""
        with self._lock:
            if self._earlier is None:
                self._earlier = patiently(self._queue.engine, lambda: self._queue.reserved(self._job))
            for path, content in self._earlier.items():
                if content == sha256 and Path(path).parent == folder and Path(path).name.startswith(stem):
                    del self._earlier[path]
                    return path
        return None

    def reserve(self, path: str, sha256: str) -> None:
        """Note, lastingly, that a file of this content will appear at this path."""
        patiently(self._queue.engine, lambda: self._queue.reserve(self._job, path, sha256).result())


class _Forgetful:
    """A cache tier that keeps what it is given and finds nothing."""

    def __init__(self, tier: Tier) -> None:
        self.name, self.quick, self._tier = tier.name, tier.quick, tier

    def has(self, key: str) -> bool:
        del key
        return False

    def get(self, key: str) -> Result | None:
        del key
        return None

    def slow(self, result: Result) -> bool:
        return self._tier.slow(result)

    def put(self, key: str, result: Result, parts: KeyParts) -> None:
        self._tier.put(key, result, parts)


def _workflow(job: Job) -> Workflow:
    return from_json(dict(job.prompt), f"job {job.id}")


def _pinned(job: Job) -> Pinned | None:
    """The rungs of its nodes, where a batch has fixed them; clients of the server cannot."""
    found = job.options.get("pinned")
    if isinstance(found, dict) and all(type(rung) is int and rung >= 0 for rung in found.values()):
        return Pinned(found, otherwise=int(job.options.get("otherwise", 0)))
    return None


def _files_of(job: Job, files: Files, queue: Queue) -> Files:
    """The files of its run: a job of a batch brings its output folder, and files named by path.

    Its names are its own. Where one driver sees all workers end, it removes what they leave, and none need be
    reserved: that is a commit less for each file.
    """
    options, book = job.options, Book(queue, job)
    if "batch" not in options:
        return replace(files, book=book, written={})
    items = {role: {**files.items.get(role, {}), **_paths(found)} for role, found in options["items"].items()}
    folders = {**files.folders, "output": (Path(options["output"]),)}
    return replace(
        files,
        folders=folders,
        items={**files.items, **items},
        book=book if options["shared"] else None,
        own_names=True,
        written={},
        _counters={},
    )


def _paths(named: Mapping[str, str]) -> dict[str, Path]:
    return {name: Path(path) for name, path in named.items()}


def _extra(job: Job) -> Mapping[str, Any]:
    found = job.extra_data.get("extra_pnginfo")
    return found if isinstance(found, dict) else {}


def _hidden(job: Job) -> dict[str, Any]:
    """What hidden inputs of custom nodes get of the request."""
    keys = {"AUTH_TOKEN_COMFY_ORG": "auth_token_comfy_org", "API_KEY_COMFY_ORG": "api_key_comfy_org"}
    found = {source: job.extra_data[key] for source, key in keys.items() if key in job.extra_data}
    return {**found, "CLIENT_ID": job.client_id}


def _at_hand(plan: Plan, tiers: Tiers) -> list[str]:
    """The nodes whose results are there: those that serve the run, and those above them."""
    runs = set(plan.runs)
    return [
        id
        for id, key in plan.keys.items()
        if id not in runs and (plan.served.get(id, "run") != "run" or tiers.where(key) is not None)
    ]


def _place(run: Run, id: str) -> Place:
    return Place(run.cast.display(id), run.cast.parent(id), run.cast.top(id))


def _files(files: Files, outputs: Iterable[Mapping[str, str]]) -> Iterator[dict[str, Any]]:
    """The output files for the row of a job: where each is by folder, never by absolute path."""
    for output in outputs:
        path = output["path"]
        roots = {role: str(files.root(role)).rstrip(os.sep) + os.sep for role in ("output", "temp")}
        role, root = next((role, root) for role, root in roots.items() if path.startswith(root))
        subfolder, filename = os.path.split(path.removeprefix(root))
        blake3, size = files.facts(Path(path), output["sha256"])
        yield {
            "node_id": output["node"],
            "filename": filename,
            "subfolder": subfolder.replace(os.sep, "/"),
            "type": role,
            "sha256": output["sha256"],
            "blake3": blake3,
            "size": size,
        }


def _refused(error: WorkflowError) -> dict[str, Any]:
    """A workflow that could be accepted and cannot be run any more (a file is gone), as a run's error."""
    first = error.problems[0]
    text = "\n".join(map(str, error.problems))
    return failure(text, "WorkflowError", first.node_id or None, first.class_type or None)
