"""What a job tells, for whoever watches it: a snapshot or a replay first, then what happens, then its end."""

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from server.jobview import OVER, STATUS, Look, Output, expires, outputs_at_end, outputs_of, progress_of
from server.live import Entry, Stream
from server.queue.jobs import Job
from server.queue.listing import position
from server.state import State


@dataclass(frozen=True)
class Told:
    """One event as clients see it; `n` is its number, which a client may come back with."""

    n: int
    type: str
    data: Mapping[str, Any]

    @property
    def over(self) -> bool:
        """Whether nothing follows."""
        return self.type == "status" and self.data["status"] in OVER


class Watch:
    """Watches one job.

    Args:
        after: The number of the last event that the client knows; None for none.
    """

    def __init__(self, state: State, job: Job, look: Look, after: int | None) -> None:
        self._state, self._job, self._look = state, job, look
        self._stream: Stream | None = None
        self.n = -1 if after is None else after
        """The number of the last event that was given."""

    async def first(self) -> list[Told]:
        """What to begin with: what came since the client was here last, or how things are now."""
        stream = self._stream = await self._opened()
        known = stream.after(0) if stream else []
        last = stream.last if stream else 0
        if known and known[0].n - 1 <= self.n <= last:
            found = await self._shown([entry for entry in known if entry.n > self.n])
            self.n = max(self.n, last)
            return found if found or not self._job.ended else [await self._status(last)]
        self.n = last
        return await self._snapshot(last)

    async def more(self, seconds: float) -> list[Told]:
        """What happened since; empty where nothing did in that time."""
        stream = self._stream
        entries = await stream.wait(self.n, seconds) if stream else []
        if entries:
            self.n = entries[-1].n
            return await self._shown(entries)
        job = await asyncio.to_thread(self._state.queue.job, self._job.id)
        if job is None:  # it ended, and was removed from the history
            return [Told(self.n, "status", {"status": "expired", "queue_position": None})]
        self._job = job
        if job.ended:
            return await self._snapshot(self.n)
        if stream is None or stream.ended:  # it was begun anew
            self._stream = await self._opened()
        return []

    async def _opened(self) -> Stream | None:
        """The job's stream; a job that waits since before the server's start has none yet."""
        streams = self._state.workers.streams
        found = streams.of(self._job.id)
        if not self._job.ended and (found is None or found.ended):
            streams.begin(self._job.id, self._job.attempt)
            job = await asyncio.to_thread(self._state.queue.job, self._job.id)
            if job is None or job.ended:
                streams.end(self._job.id)
            self._job = job or self._job
        return streams.of(self._job.id)

    async def _snapshot(self, n: int) -> list[Told]:
        job, look = self._job, self._look
        if job.ending is not None:
            made = outputs_at_end(job.id, job.ending)
            until = expires(job, look.days)
            shown = [Told(n, "output", o.as_json(job.id, look.base, until)) for o in made]
            return [*shown, await self._status(n)]
        found = [await self._status(n)]
        if progress := progress_of(self._stream.progress if self._stream else {}):
            found.append(Told(n, "progress", progress))
        made = await live_outputs(self._state, job.id)
        until = expires(job, look.days)
        return [*found, *(Told(n, "output", o.as_json(job.id, look.base, until)) for o in made)]

    async def _status(self, n: int, status: str | None = None) -> Told:
        word = "queued" if status == "queued" else STATUS[status or self._job.status]
        at = None
        if word == "queued":
            at = await asyncio.to_thread(position, self._state.queue, self._job)
        return Told(n, "status", {"status": word, "queue_position": at})

    async def _shown(self, entries: list[Entry]) -> list[Told]:
        """Events as the contract has them; those of its five types only."""
        found: list[Told] = []
        for entry in entries:
            if entry.type == "status":
                found.append(await self._status(entry.n, str(entry.data["status"])))
            elif entry.type == "output":
                made = await asyncio.to_thread(_sized, self._state, _made(self._job.id, entry))
                until = expires(self._job, self._look.days)
                found += [
                    Told(entry.n, "output", o.as_json(self._job.id, self._look.base, until)) for o in made
                ]
            elif (data := _plain(entry)) is not None:
                found.append(Told(entry.n, entry.type if entry.type != "cached" else "log", data))
        return found


async def live_outputs(state: State, job_id: str) -> list[Output]:
    """What a job that runs has shown so far."""
    stream = state.workers.streams.of(job_id)
    entries = [e for e in stream.after(0) if e.type == "output"] if stream else []
    found = {output.id: output for entry in entries for output in _made(job_id, entry)}
    return await asyncio.to_thread(_sized, state, list(found.values()))


def _made(job_id: str, entry: Entry) -> list[Output]:
    return outputs_of(job_id, {str(entry.data["node"]): entry.data["output"]})


def _sized(state: State, outputs: list[Output]) -> list[Output]:
    found = []
    for output in outputs:
        link = {"type": output.folder, "subfolder": output.subfolder, "filename": output.name}
        path = state.files.saved(link) if output.text is None else None
        found.append(replace(output, size=path.stat().st_size) if path else output)
    return found


def _plain(entry: Entry) -> dict[str, Any] | None:
    data = entry.data
    if entry.type == "progress":
        return progress_of(data)
    if entry.type == "preview":
        picture = data["picture"]
        encoded = base64.b64encode(picture.data).decode()
        kind = f"image/{picture.kind}"
        return {"node_id": data["node_id"], "content_type": kind, "data_base64": encoded}
    if entry.type == "log":
        return {"level": data["level"], "message": data["message"]}
    if entry.type == "cached" and data["nodes"]:
        return {"level": "info", "message": f"served from the cache: {', '.join(data['nodes'])}"}
    return None
