"""Jobs by the versioned API: submit, look, list, cancel, retry, pause, resume: /api/v2/jobs."""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

from aiohttp import web
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from server.assets import Assets
from server.idempotency import under_way
from server.jobview import STATUS, Look, brief, progress_of, view
from server.live import Stream
from server.queue.jobs import ENDED, Job, Status
from server.queue.listing import Wanted, newest, position
from server.routes.prompt import cancel_waiting, put
from server.state import State, state_of
from server.submission import new_job, read_submission
from server.watching import live_outputs
from server.wire import Refused, read_object

MOST_LISTED = 1_000
MOST_CANCELLED = 1_000
PAUSE_S = 10.0
"""Seconds in which a pause answers, even where the node that runs takes no step in them."""
_TRIES, _TRY_S = 20, 0.02
_LABEL = re.compile(r"metadata\[(.+)\]", re.DOTALL)
_LISTED: dict[str, tuple[Status, ...]] = {
    word: tuple(s for s, w in STATUS.items() if w == word)  # type: ignore[misc]
    for word in set(STATUS.values())
}


async def post_job(request: web.Request) -> web.StreamResponse:
    """Record a workflow to be run; answers once it is on disk."""
    state, look = state_of(request), look_of(request)
    with state.keys.held(request, "jobs") as once:
        async with read_submission(request, state) as asked:
            again = await asyncio.to_thread(once.answered, state.queue, asked.digest)
            if again is not None:
                return again
            new, hashes = await new_job(state, asked, look.base)
            answer: dict[str, Any] = {}

            def also(connection: Connection, job: Job) -> None:
                answer.clear()
                answer.update(view(job, look))
                once.record(connection, asked.digest, 201, answer)
                Assets.used(connection, job, hashes)

            number = state.queue.next_number()
            try:
                job = await put(state, new, number, True, also)
            except IntegrityError as error:  # another process has recorded this key
                raise under_way() from error
    at = await asyncio.to_thread(position, state.queue, job)
    headers = {"Location": answer["urls"]["self"]}
    return web.json_response({**answer, "queue_position": at}, status=201, headers=headers)


async def get_job(request: web.Request) -> web.StreamResponse:
    """One job as it is now."""
    return await _shown(request, await job_of(request))


async def get_jobs(request: web.Request) -> web.StreamResponse:
    """Jobs, newest first: `?status=queued,running&metadata[key]=value&limit=50&cursor=`."""
    state, look, query = state_of(request), look_of(request), request.query
    limit = whole(request, "limit", 50, 1, MOST_LISTED)
    labels = tuple((m[1], v) for k, v in query.items() if (m := _LABEL.fullmatch(k)))
    statuses: list[Status] | None = None
    if "status" in query:
        words = [word for word in query["status"].split(",") if word]
        if bad := [word for word in words if word not in _LISTED]:
            raise Refused(400, "invalid_request", f"no status {bad[0]!r:.40}; one of {', '.join(_LISTED)}")
        statuses = [status for word in words for status in _LISTED[word]]
    before = whole(request, "cursor", 2**62, 0, 2**62)
    found = await asyncio.to_thread(newest, state.queue, Wanted(statuses, labels, before), limit + 1)
    page: dict[str, Any] = {"jobs": [brief(job, look) for job in found[:limit]]}
    if len(found) > limit:
        page |= {"next_cursor": str(found[limit - 1].seq)}
    return web.json_response(page)


async def get_workflow(request: web.Request) -> web.StreamResponse:
    """The workflow that a job runs, everything in its place."""
    return web.json_response({"workflow": (await job_of(request)).prompt, "format": "api"})


async def post_cancel(request: web.Request) -> web.StreamResponse:
    """Cancel a job, whatever its state; again and again with the same effect."""
    job = await job_of(request)
    await cancel(state_of(request), [job.id])
    return await _shown(request, await job_of(request))


async def post_cancel_many(request: web.Request) -> web.StreamResponse:
    """Cancel the jobs of `{"ids": […]}`; says which of them are not known."""
    state, look = state_of(request), look_of(request)
    ids = (await read_object(request)).get("ids")
    if not isinstance(ids, list) or not all(isinstance(id, str) for id in ids) or len(ids) > MOST_CANCELLED:
        raise Refused(422, "invalid_request", f'send {{"ids": […]}} with at most {MOST_CANCELLED} job ids')
    await cancel(state, ids)
    found = await asyncio.gather(*(asyncio.to_thread(state.queue.job, id) for id in ids))
    return web.json_response(
        {
            "jobs": [brief(job, look) for job in found if job],
            "unknown": [id for id, job in zip(ids, found, strict=True) if job is None],
        }
    )


async def post_retry(request: web.Request) -> web.StreamResponse:
    """Run an ended job again, under its id; what is in the cache need not be made again."""
    state, job = state_of(request), await job_of(request)
    if not await asyncio.wrap_future(state.queue.move(job.id, ENDED, "pending")):
        text = f"the job has not ended; it is {STATUS[(await job_of(request)).status]}"
        raise Refused(409, "not_ended", text)
    job = await job_of(request)
    state.workers.accepted(job)
    return await _shown(request, job)


async def post_pause(request: web.Request) -> web.StreamResponse:
    """Put a job aside: one that waits at once, one that runs at its next step, until it is resumed."""
    state, job = state_of(request), await job_of(request)
    stream = state.workers.streams.of(job.id)
    last = stream.last if stream else 0
    if not await asyncio.wrap_future(state.queue.move(job.id, ("pending",), "paused")):
        told_so = await _running_told(job.id, state.workers.pause)
        if told_so and stream:
            await _put_aside(stream, last)
    job = await job_of(request)
    if job.ended:
        raise Refused(409, "ended", f"the job has ended; it is {STATUS[job.status]}")
    return await _shown(request, job)


async def post_resume(request: web.Request) -> web.StreamResponse:
    """Let a paused job go on; what it had made comes from the cache."""
    state, job = state_of(request), await job_of(request)
    if await asyncio.wrap_future(state.queue.move(job.id, ("paused",), "pending")):
        state.workers.wake()
        job = await job_of(request)
    if job.ended:
        raise Refused(409, "ended", f"the job has ended; it is {STATUS[job.status]}; retry runs it again")
    return await _shown(request, job)


async def cancel(state: State, ids: list[str]) -> None:
    """Cancel jobs in any state: those that wait at once, those that run at their next step."""
    waited = set(await cancel_waiting(state, ids))
    for id in ids:
        if id not in waited and await asyncio.wrap_future(state.queue.ask_to_cancel(id)):
            await _running_told(id, lambda id: bool(state.workers.cancel(id)))


async def _running_told(id: str, tell: Callable[[str], bool]) -> bool:
    """Tell a job that runs something; one that was leased this moment is not known to the worker yet."""
    for _ in range(_TRIES):
        if tell(id):
            return True
        await asyncio.sleep(_TRY_S)
    return False


async def _put_aside(stream: Stream, n: int) -> None:
    """Wait until a job that is being paused waits again or has ended."""
    loop = asyncio.get_running_loop()
    last = loop.time() + PAUSE_S
    while loop.time() < last and not stream.ended:
        for entry in await stream.wait(n, last - loop.time()):
            n = entry.n
            if entry.type == "status" and entry.data["status"] != "running":
                return


# ------------------------------------------------------------ shared by the routes of the versioned API


def look_of(request: web.Request) -> Look:
    """How jobs are shown to who asks."""
    return Look(str(request.url.origin()), state_of(request).server.history_days)


async def job_of(request: web.Request) -> Job:
    """The job that the path names.

    Raises:
        Refused: 404, there is none.
    """
    id = request.match_info["id"]
    job = await asyncio.to_thread(state_of(request).queue.job, id)
    if job is None:
        text = f"there is no job {id!r:.80}; it may have been removed from the history"
        raise Refused(404, "not_found", text)
    return job


def whole(request: web.Request, name: str, default: int, low: int, high: int) -> int:
    """A whole number of the query.

    Raises:
        Refused: 400, it is none, or out of its range.
    """
    text = request.query.get(name) or str(default)
    if not re.fullmatch(r"-?[0-9]{1,19}", text) or not low <= int(text) <= high:
        raise Refused(400, "invalid_request", f"{name} is a whole number from {low} to {high}")
    return int(text)


async def _shown(request: web.Request, job: Job) -> web.Response:
    state, look = state_of(request), look_of(request)
    stream = state.workers.streams.of(job.id)
    progress = progress_of(stream.progress) if stream and job.status != "pending" else None
    outputs = await live_outputs(state, job.id) if job.status == "running" else []
    at = await asyncio.to_thread(position, state.queue, job)
    found = await asyncio.to_thread(view, job, look, position=at, progress=progress, outputs=outputs)
    return web.Response(text=json.dumps(found), content_type="application/json")


ROUTES = (
    web.post("/api/v2/jobs", post_job),
    web.get("/api/v2/jobs", get_jobs),
    web.post("/api/v2/jobs/cancel", post_cancel_many),
    web.get("/api/v2/jobs/{id}", get_job),
    web.get("/api/v2/jobs/{id}/workflow", get_workflow),
    web.post("/api/v2/jobs/{id}/cancel", post_cancel),
    web.post("/api/v2/jobs/{id}/retry", post_retry),
    web.post("/api/v2/jobs/{id}/pause", post_pause),
    web.post("/api/v2/jobs/{id}/resume", post_resume),
)
