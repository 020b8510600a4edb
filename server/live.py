"""The event stream of each job: numbered, replayable after a reconnect, waited for without polling."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any, NamedTuple

KEPT_EVENTS = 4_000
"""Events of one job that can be replayed; of a longer run the oldest are forgotten."""
KEPT_JOBS = 500
"""Ended jobs whose events can still be replayed one by one; of older ones only the end is known."""
STRIDE = 1_000_000
"""Numbers for each attempt of a job, so that a restart does not give a number twice."""


class Entry(NamedTuple):
    """One event of a job: its number, its type, and what it says."""

    n: int
    type: str
    data: Mapping[str, Any]


class Stream:
    """What a job has told so far.

    Args:
        first: One less than the number of its first event.
    """

    def __init__(self, first: int) -> None:
        self._n = first
        self._entries: deque[Entry] = deque(maxlen=KEPT_EVENTS)
        self._waiting: set[asyncio.Future[None]] = set()
        self.ended = False
        self.progress: Mapping[str, Any] = {}
        """The last progress that it told."""

    @property
    def last(self) -> int:
        """The number of its last event."""
        return self._n

    def add(self, type: str, data: Mapping[str, Any]) -> None:
        """Tell something."""
        if self.ended:
            return
        self._n += 1
        self._entries.append(Entry(self._n, type, data))
        if type == "progress":
            self.progress = data
        self._wake()

    def end(self) -> None:
        """Nothing more will be told; of the pictures of steps only the last is kept."""
        self.ended = True
        last = max((entry.n for entry in self._entries if entry.type == "preview"), default=0)
        kept = [entry for entry in self._entries if entry.type != "preview" or entry.n == last]
        self._entries = deque(kept, KEPT_EVENTS)
        self._wake()

    def after(self, n: int) -> list[Entry]:
        """The events with a higher number that are still known."""
        found = []
        for entry in reversed(self._entries):
            if entry.n <= n:
                break
            found.append(entry)
        return found[::-1]

    async def wait(self, n: int, seconds: float) -> list[Entry]:
        """The events after a number; waits for one if there is none yet, unless it has ended."""
        if not (found := self.after(n)) and not self.ended:
            future = asyncio.get_running_loop().create_future()
            self._waiting.add(future)
            try:
                async with asyncio.timeout(seconds):
                    await future
            except TimeoutError:
                pass
            finally:
                self._waiting.discard(future)
            found = self.after(n)
        return found

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)


class Streams:
    """The streams by job id; lives on the event loop's thread."""

    def __init__(self) -> None:
        self._live: dict[str, Stream] = {}
        self._ended: OrderedDict[str, Stream] = OrderedDict()

    def of(self, job_id: str) -> Stream | None:
        """The stream of a job that has told something since the server started."""
        return self._live.get(job_id) or self._ended.get(job_id)

    def waits(self, job_id: str) -> bool:
        """Whether a job's end was not told yet."""
        return job_id in self._live

    def begin(self, job_id: str, attempt: int) -> Stream:
        """The stream of a job that waits or runs; that of an earlier attempt goes on, a retry counts on."""
        if job_id not in self._live:
            before = self._ended.pop(job_id, None)
            self._live[job_id] = Stream(max(attempt * STRIDE, before.last if before else 0))
        return self._live[job_id]

    def end(self, job_id: str) -> None:
        """A job has ended."""
        stream = self._live.pop(job_id, None)
        if stream is None:
            return
        stream.end()
        self._ended[job_id] = stream
        while len(self._ended) > KEPT_JOBS:
            self._ended.popitem(last=False)
