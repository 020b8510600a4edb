"""What happens in a job, as server-sent events or by long polling: /api/v2/jobs/{id}/events."""

import asyncio
import json

from aiohttp import web

from server.jobview import STATUS
from server.queue.jobs import Job
from server.routes.jobs import job_of, look_of, whole
from server.state import state_of
from server.watching import Told, Watch
from server.wire import Refused

ALIVE_S = 15.0
"""Seconds after which a comment is sent where nothing happens, so that nobody takes the line for dead."""
LONGEST_S = 60
_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}


async def get_events(request: web.Request) -> web.StreamResponse:
    """A job's events until it ends; with `?wait=SECONDS` those since `after`, as JSON."""
    job = await job_of(request)
    if "wait" in request.query or request.headers.get("Accept", "").startswith("application/json"):
        return await _polled(request, job)
    watch = Watch(state_of(request), job, look_of(request), _after(request))
    found = await watch.first()
    response = web.StreamResponse(headers=_HEADERS)
    await response.prepare(request)
    while True:
        await response.write(b"".join(map(_frame, found)) or b": still here\n\n")
        if any(told.over for told in found):
            break
        found = await watch.more(ALIVE_S)
    await response.write_eof()
    return response


async def _polled(request: web.Request, job: Job) -> web.StreamResponse:
    """What came since the client was here last; waits for something where nothing did."""
    seconds = whole(request, "wait", 0, 0, LONGEST_S)
    watch = Watch(state_of(request), job, look_of(request), _after(request))
    loop = asyncio.get_running_loop()
    last = loop.time() + seconds
    found = await watch.first()
    while not found and (left := last - loop.time()) > 0:
        found = await watch.more(left)
    answer = {
        "events": [{"id": told.n, "type": told.type, "data": told.data} for told in found],
        "after": watch.n,
        "status": next((t.data["status"] for t in reversed(found) if t.type == "status"), STATUS[job.status]),
        "ended": any(told.over for told in found),
    }
    return web.json_response(answer)


def _after(request: web.Request) -> int | None:
    """The number of the last event that the client has, if it says so."""
    text = request.headers.get("Last-Event-ID") or request.query.get("after")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Refused(400, "invalid_request", f"the number of an event is a whole number, found {text!r:.40}")
    return int(text)


def _frame(told: Told) -> bytes:
    return f"id: {told.n}\nevent: {told.type}\ndata: {json.dumps(told.data)}\n\n".encode()


ROUTES = (web.get("/api/v2/jobs/{id}/events", get_events),)
