"""The newer classic job list, as the editor asks for it: /api/jobs."""

import asyncio
import json

from aiohttp import web

from server.joblist import STATUS, entry_of, whole_of
from server.queue.jobs import Job, Status
from server.queue.listing import sorted_page
from server.routes.jobs import cancel
from server.state import state_of

MOST = 1_000
WORDS = tuple(dict.fromkeys(STATUS.values()))


async def get_jobs(request: web.Request) -> web.StreamResponse:
    """Jobs by status and workflow, sorted, a page of them."""
    query, queue = request.query, state_of(request).queue
    words = [w.strip().lower() for w in query.get("status", "").split(",") if w.strip()]
    if bad := [w for w in words if w not in WORDS]:
        return _wrong(f"Invalid status value(s): {', '.join(bad)}. Valid values: {', '.join(WORDS)}")
    by, order = query.get("sort_by", "created_at"), query.get("sort_order", "desc")
    if by not in ("created_at", "execution_duration"):
        return _wrong("sort_by must be one of: created_at, execution_duration")
    if order not in ("asc", "desc"):
        return _wrong("sort_order must be 'asc' or 'desc'")
    try:
        most, offset = int(query.get("limit", MOST)), max(0, int(query.get("offset", "0")))
    except ValueError:
        return _wrong("limit and offset must be whole numbers")
    if most <= 0 or offset >= 2**62:
        return _wrong("limit must be a positive number")
    most = min(most, MOST)
    statuses: list[Status] = [s for s, w in STATUS.items() if not words or w in words]  # type: ignore[misc]
    workflow = query.get("workflow_id") or None

    def listed() -> str:
        found, total = sorted_page(queue, statuses, workflow, by, order == "desc", most, offset)
        more = offset + len(found) < total
        pages = {"offset": offset, "limit": most, "total": total, "has_more": more}
        return json.dumps({"jobs": [entry_of(job) for job in found], "pagination": pages})

    return web.Response(text=await asyncio.to_thread(listed), content_type="application/json")


async def get_job(request: web.Request) -> web.StreamResponse:
    """One job with its outputs and its workflow."""
    job = await _job(request)
    if job is None:
        return _missing()
    return web.Response(text=json.dumps(whole_of(job)), content_type="application/json")


async def post_cancel(request: web.Request) -> web.StreamResponse:
    """Cancel a job, whether it waits or runs; one that has ended stays as it is."""
    job = await _job(request)
    if job is None:
        return _missing()
    await cancel(state_of(request), [job.id])
    now = await _job(request) or job
    asked = now.cancelling or now.status == "cancelled"
    return web.json_response({"id": job.id, "cancelled": asked, "status": STATUS[now.status]})


async def _job(request: web.Request) -> Job | None:
    return await asyncio.to_thread(state_of(request).queue.job, request.match_info["id"])


def _missing() -> web.Response:
    return web.json_response({"error": "Job not found"}, status=404)


def _wrong(text: str) -> web.Response:
    return web.json_response({"error": text}, status=400)


ROUTES = (
    web.get("/api/jobs", get_jobs),
    web.get("/api/jobs/{id}", get_job),
    web.post("/api/jobs/{id}/cancel", post_cancel),
)
