"""The server's side of its workers: what they tell goes to sockets, event streams and metrics."""

import asyncio
import gc
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from engine.config import Settings
from engine.drafts import sweep
from engine.files import Files
from engine.runner import Engine
from server.config import ServerSettings
from server.hub import Hub
from server.live import Streams
from server.metrics import Metrics
from server.previews import Picture, Pictured, described, encoded, plain
from server.processes import ProcessWorker
from server.queue.jobs import Ending, Job
from server.queue.store import Queue
from server.telling import Message
from server.worker import Told, Worker

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
        self._workers: list[Worker | ProcessWorker] = [
            ProcessWorker(settings, server, told, self._lost) for _ in range(server.workers)
        ] or [Worker(engine, queue, told, server.jobs_at_once)]
        self._apart = server.workers > 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._outbox: deque[Callable[[], None]] = deque()
        self._scheduled = False
        self._lock = threading.Lock()
        self._encoders = ThreadPoolExecutor(1, "previews")
        self._encoding: set[str] = set()
        self.listeners: list[Callable[[Job, Ending], None]] = []
        """Called on the event loop's thread once a job's end is committed."""
        self.stopping = False
        self._stopped = False

    def start(self) -> None:
        """Begin to work; on the event loop's thread."""
        self._loop = asyncio.get_running_loop()
        for worker in self._workers:
            worker.start()

    def accepted(self, job: Job) -> None:
        """A job was recorded: somebody should run it."""
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

    def tell_status(self) -> None:
        """Tell all sockets how many jobs there are."""
        remaining = self._queue.remaining
        self._metrics.queue(max(0, remaining - len(self.running)), len(self.running))
        self._hub.send(None, "status", {"status": {"exec_info": {"queue_remaining": remaining}}})

    # ------------------------------------------------------------ from a worker's thread to the loop

    def _later(self, thunk: Callable[[], None]) -> None:
        """Do something on the loop's thread, in order, waking it once for many."""
        with self._lock:
            self._outbox.append(thunk)
            if self._scheduled or self._loop is None or self._loop.is_closed():
                return
            self._scheduled = True
            self._loop.call_soon_threadsafe(self._flush)

    def _flush(self) -> None:
        with self._lock:
            thunks, self._outbox = self._outbox, deque()
            self._scheduled = False
        for thunk in thunks:
            thunk()

    def _message(self, message: Message) -> None:
        if message.type == "preview":
            return self._preview(message)
        self._later(lambda: self._pass_on(message))

    def _taken(self, job: Job) -> None:
        self._later(lambda: self._begun(job))

    def _ended(self, job: Job, ending: Ending) -> None:
        self._later(lambda: self._over(job, ending))

    def _lost(self, jobs: list[Job]) -> None:
        """The process that ran these jobs has ended; they are another's to run."""
        for role in ("output", "temp"):
            sweep(self._files.folders[role][0])
        for owner in {job.owner for job in jobs}:
            self._queue.recover(owner=owner).result()
        for job in jobs:
            self._put_back(job)
        self._later(self.wake)

    def _put_back(self, job: Job) -> None:
        def thunk() -> None:
            self.streams.begin(job.id, job.attempt).add("status", {"status": "queued"})
            self.tell_status()

        self._later(thunk)

    def _preview(self, message: Message) -> None:
        """Encode a picture on another thread; of estimates one of a job at a time, others are left out."""
        estimate = isinstance(message.picture, Pictured)
        if estimate and message.job_id in self._encoding:
            return
        private = estimate and self._server.preview_method == "none"  # for the page and the job's own stream
        self._encoding.add(message.job_id)

        def work() -> None:
            try:
                picture = encoded(message.picture, self._server.preview_size)
            finally:
                self._encoding.discard(message.job_id)
            if picture is not None:
                self._later(lambda: self._show(message, picture, private))

        self._encoders.submit(work)

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

    def _begun(self, job: Job) -> None:
        self.streams.begin(job.id, job.attempt).add("status", {"status": "running"})
        self.tell_status()

    def _over(self, job: Job, ending: Ending) -> None:
        if self._apart:
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
