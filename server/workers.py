"""The server's side of its workers: what they tell goes to sockets, event streams and metrics."""

import asyncio
import contextlib
import gc
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from engine.config import Settings
from engine.drafts import sweep
from engine.files import Files
from engine.graph import Graph
from engine.runner import Engine
from server.attended import Attended
from server.config import ServerSettings
from server.hub import Hub
from server.live import Streams
from server.metrics import Metrics
from server.previews import Picture, described, encoded, plain
from server.processes import apart_workers
from server.queue.jobs import Ending, Job
from server.queue.store import Queue
from server.telling import TOGETHER_S, Message
from server.worker import Told, Worker

log = logging.getLogger(__name__)
STREAMED = {"executed": "output", "preview": "preview", "execution_cached": "cached"}
"""Classic messages that a job's own stream has too, by their type there."""


class Workers:
    """Starts the workers, tells everybody what they tell."""

    def __init__(
        self,
        engine: Engine,
        queue: Queue,
        hub: Hub,
        streams: Streams,
        settings: Settings,
        server: ServerSettings,
        metrics: Metrics,
    ) -> None:
        self._queue, self._hub, self.streams, self._server = queue, hub, streams, server
        self._metrics, self._files = metrics, engine.env[Files]
        told = Told(self._message, self._taken, self._ended, self._put_back, metrics.event)
        apart = apart_workers(settings, server, told, self._lost)
        self._workers: list[Worker] | list[Attended] = apart or [
            Worker(engine, queue, told, server.jobs_at_once)
        ]
        self._apart = bool(apart)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._outbox: deque[Callable[[], None]] = deque()
        self._woken = self._waits = False
        """Whether the loop's thread is being woken; whether somebody has it woken in a while."""
        self._lock = threading.Lock()
        self._encoders = ThreadPoolExecutor(1, "previews")
        self._behind: Counter[str] = Counter()
        """By job id, the pictures of packs on the encoders' thread; what a job tells later waits for them."""
        self._estimating: set[str] = set()
        """Jobs of which an estimate is being encoded; only their end waits for it."""
        self.listeners: list[Callable[[Job, Ending], None]] = []
        """Called on the event loop's thread once a job's end is committed."""
        self.stopping = False
        self._stopped = False

    def start(self) -> None:
        """Begin to work; on the event loop's thread."""
        self._loop = asyncio.get_running_loop()
        for worker in self._workers:
            worker.start()

    def accepted(self, job: Job, checked: Graph | None = None) -> None:
        """A job was recorded: somebody should run it; its graph was checked just now, if given."""
        for worker in self._workers:
            if checked is not None and isinstance(worker, Worker):
                worker.lately.put(job, checked)
        self.streams.begin(job.id, job.attempt).add("status", {"status": "queued"})
        self.tell_status()
        self.wake()

    def wake(self) -> None:
        """There may be work."""
        for worker in self._workers:
            worker.wake()

    @property
    def running(self) -> list[str]:
        """The ids of the jobs that run."""
        return [id for worker in self._workers for id in worker.running]

    def cancel(self, id: str | None = None) -> list[str]:
        """Stop a running job (all for None) at its next step; gives the ids of those that were running."""
        return [found for worker in self._workers for found in worker.cancel(id)]

    def pause(self, id: str) -> bool:
        """Put a running job aside at its next step; whether it was running."""
        return any(worker.cancel(id, put_back=True) for worker in self._workers)

    def cancelled(self, ids: Iterable[str]) -> None:
        """Jobs that waited were ended."""
        for id in ids:
            self.streams.begin(id, 0).add("status", {"status": "cancelled"})
            self.streams.end(id)
        self.tell_status()

    def untold(self, ids: Iterable[str]) -> set[str]:
        """Those of some jobs that this server was given, whose end nobody was told of."""
        ending = {*self.running, *self._behind, *self._estimating}
        return {id for id in ids if self.streams.waits(id)} - ending

    def ended_elsewhere(self, job: Job, ending: Ending, messages: Iterable[Message]) -> None:
        """Tell the end of a job that another process ran; on the event loop's thread."""
        for message in messages:
            self._pass_on(message)
        self._over(job, ending, counted=True)

    def free(self, results: bool) -> dict[str, int]:
        """Unload models, and drop results that are kept in memory if asked to; gives the bytes freed."""
        each = [worker.free(results) for worker in self._workers]
        gc.collect()
        return {what: sum(found[what] for found in each) for what in ("models", "results")}

    async def stop(self) -> None:
        """Lease nothing more, let what runs end or put it back."""
        self.stopping = True
        if self._stopped:
            return
        self._stopped = True
        seconds = self._server.stop_seconds
        await asyncio.gather(*(asyncio.to_thread(w.stop, seconds) for w in self._workers))
        self._encoders.shutdown(wait=False, cancel_futures=True)

    def tell_status(self, remaining: int | None = None) -> None:
        """Tell all sockets how many jobs there are; None for as many as there are now."""
        remaining = self._queue.remaining if remaining is None else remaining
        running = len(self.running)
        self._metrics.queue(max(0, remaining - running), running)
        self._hub.send(None, "status", {"status": {"exec_info": {"queue_remaining": remaining}}})

    # ------------------------------------------------------------ from a worker's thread to the loop

    def _later(self, thunk: Callable[[], None], wait: float = 0.0) -> None:
        """Do something on the loop's thread, in order, waking it once for many.

        Args:
            wait: Seconds for which it may be kept together with what follows, where a worker's loop tells it.
        """
        with self._lock:
            self._outbox.append(thunk)
            if self._woken or (wait and self._waits) or self._loop is None or self._loop.is_closed():
                return
            self._woken, self._waits = not wait, self._waits or bool(wait)
        try:
            asyncio.get_running_loop().call_later(wait, self._wake_loop, bool(wait))
        except RuntimeError:
            self._wake_loop(bool(wait))

    def _wake_loop(self, waited: bool) -> None:
        with self._lock:
            if waited:
                self._waits = False
                if self._woken or not self._outbox:
                    return
                self._woken = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it was closed meanwhile
                self._loop.call_soon_threadsafe(self._flush)

    def _flush(self) -> None:
        with self._lock:
            thunks, self._outbox = self._outbox, deque()
            self._woken = False
        for thunk in thunks:
            thunk()

    def _message(self, message: Message) -> None:
        if message.type == "preview":
            return self._preview(message)
        self._in_turn(message.job_id, partial(self._pass_on, message), wait=TOGETHER_S)

    def _taken(self, job: Job) -> None:
        remaining = self._queue.remaining  # as it is now
        self._later(lambda: self._begun(job, remaining), wait=TOGETHER_S)

    def _ended(self, job: Job, ending: Ending) -> None:
        self._in_turn(job.id, lambda: self._over(job, ending), last=True)

    def _lost(self, jobs: list[Job]) -> None:
        """The process that ran these jobs has ended; they are another's to run."""
        for role in ("output", "temp"):
            sweep(self._files.folders[role][0])
        for owner in {job.owner for job in jobs}:
            self._queue.recover(owner=owner).result()
        self._queue.recount()
        for job in jobs:
            now = self._queue.job(job.id)
            if now is not None and now.ending is not None:  # its end was committed, and not told any more
                self._in_turn(job.id, partial(self._over, job, now.ending, counted=True), last=True)
            else:
                self._put_back(job)
        self._later(self.wake)

    def _put_back(self, job: Job) -> None:
        def thunk() -> None:
            self.streams.begin(job.id, job.attempt).add("status", {"status": "queued"})
            self.tell_status()

        self._later(thunk)

    def _preview(self, message: Message) -> None:
        """Encode a picture on another thread; of estimates one of a job at a time, others are left out."""
        estimate = message.estimate
        if estimate and message.job_id in self._estimating:
            return
        private = estimate and self._server.preview_method == "none"  # for the page and the job's own stream

        def encode() -> Callable[[], None] | None:
            picture = encoded(message.picture, self._server.preview_size)
            return None if picture is None else lambda: self._show(message, picture, private)

        if estimate:
            self._estimating.add(message.job_id)
        self._on_encoder(message.job_id, encode, counts=not estimate)

    def _in_turn(self, job_id: str, thunk: Callable[[], None], last: bool = False, wait: float = 0.0) -> None:
        """Do something on the loop's thread after what the job told before, pictures included."""
        if self._behind.get(job_id, 0) > 0 or (last and job_id in self._estimating):
            self._on_encoder(job_id, lambda: thunk)
        else:
            self._later(thunk, wait)

    def _on_encoder(
        self, job_id: str, work: Callable[[], Callable[[], None] | None], counts: bool = True
    ) -> None:
        with self._lock:
            self._behind[job_id] += counts

        def done() -> None:
            try:
                thunk = work()
            except Exception:  # a picture that cannot be shown must not hold up what comes after it
                log.exception("a preview cannot be encoded")
                thunk = None
            if thunk is not None:
                self._later(thunk)
            with self._lock:
                if not counts:
                    self._estimating.discard(job_id)
                self._behind[job_id] -= counts
                if not self._behind[job_id]:
                    del self._behind[job_id]

        with contextlib.suppress(RuntimeError):  # the server is stopping
            self._encoders.submit(done)

    # ------------------------------------------------------------ on the loop's thread

    def _pass_on(self, message: Message) -> None:
        if message.type == "job":
            stream = self.streams.of(message.job_id)
            if stream is not None:
                stream.add(str(message.data["kind"]), message.data)
            return
        if message.type in STREAMED and (stream := self.streams.of(message.job_id)):
            stream.add(STREAMED[message.type], message.data)
        self._hub.send(message.sid, message.type, message.data)
        if message.type == "executing" and message.sid is not None:
            self._hub.executing[message.sid] = str(message.data["display_node"])

    def _show(self, message: Message, picture: Picture, private: bool) -> None:
        if stream := self.streams.of(message.job_id):
            stream.add("preview", {"node_id": message.data["node_id"], "picture": picture})
        if not private:
            self._hub.send_preview(message.sid, plain(picture), described(picture, message.data))

    def _begun(self, job: Job, remaining: int) -> None:
        self.streams.begin(job.id, job.attempt).add("status", {"status": "running"})
        self.tell_status(remaining)

    def _over(self, job: Job, ending: Ending, counted: bool = False) -> None:
        if self._apart and not counted:
            self._queue.remaining -= 1  # another process counted its end
        if stream := self.streams.of(job.id):
            stream.add("status", {"status": ending.status})
        self.streams.end(job.id)
        self.tell_status()
        if job.client_id is not None:
            self._hub.ended(job.client_id, job.id)
        self._metrics.job_ended(ending.status, time.time() - (job.started or job.created))
        for listener in self.listeners:
            listener(job, ending)
