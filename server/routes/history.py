"""What came of ended jobs, in the classic form: /history."""

import asyncio
import json
from typing import Any

from aiohttp import web

from server.queue.jobs import Job
from server.routes.prompt import ids_of, item_of
from server.state import state_of
from server.wire import Refused, read_object


def entry_of(job: Job) -> dict[str, Any]:
    """An ended job as the classic history shows it."""
    ending = job.ending
    assert ending is not None
    success = job.status == "success"
    messages = ending.messages
    if job.status == "cancelled" and not messages:
        data: dict[str, Any] = {"prompt_id": job.id, "node_id": None, "node_type": None, "executed": []}
        stamp = int((job.finished or job.created) * 1000)
        messages = (["execution_interrupted", {**data, "timestamp": stamp}],)
    return {
        "prompt": item_of(job),
        "outputs": ending.outputs,
        "status": {
            "status_str": "success" if success else "error",
            "completed": success,
            "messages": list(messages),
        },
        "meta": ending.meta,
    }


async def get_history(request: web.Request) -> web.StreamResponse:
    """Ended jobs, oldest first; `max_items` and `offset` page through them."""
    queue = state_of(request).queue
    most, offset = _whole(request, "max_items"), _whole(request, "offset")
    most = None if most is not None and most < 0 else most

    def listed() -> str:
        return json.dumps({job.id: entry_of(job) for job in queue.history(most, offset)})

    return web.Response(text=await asyncio.to_thread(listed), content_type="application/json")


def _whole(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    try:
        return max(-1, min(int(text), 2**31))
    except ValueError as error:
        raise Refused(400, "invalid_request", f"{name} is a whole number, found {text!r:.40}") from error


async def get_entry(request: web.Request) -> web.StreamResponse:
    """One ended job; `{}` while it waits or runs, or where it is unknown."""
    job = await asyncio.to_thread(state_of(request).queue.job, request.match_info["prompt_id"])
    return web.json_response({job.id: entry_of(job)} if job and job.ended else {})


async def post_history(request: web.Request) -> web.StreamResponse:
    """Forget ended jobs: `{"clear": true}` or `{"delete": [ids]}`."""
    queue = state_of(request).queue
    body = await read_object(request)
    if body.get("clear"):
        await asyncio.wrap_future(queue.forget(None))
    if ids := ids_of(body, "delete"):
        await asyncio.wrap_future(queue.forget(ids))
    return web.Response()


ROUTES = (
    web.get("/history", get_history),
    web.get("/history/{prompt_id}", get_entry),
    web.post("/history", post_history),
)
