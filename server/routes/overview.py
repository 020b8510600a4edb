"""What the page asks for: the queue at a glance, the gallery, one ended job, the form of any workflow."""

import asyncio
import json
import time
from typing import Any

from aiohttp import web

from engine.problems import WorkflowError
from engine.workflow import from_json, parse
from server.live import Stream
from server.overview import (
    SHOWN_ENDED,
    Cursor,
    Search,
    card_of,
    error_of,
    files_of,
    node_title,
    pictures_of,
    title_of,
    waiting,
    waiting_count,
)
from server.parameters import parameters
from server.queue.jobs import ENDED, Job
from server.state import State, state_of
from server.wire import Refused, read_body

MOST = 200
"""Jobs on a page of the gallery."""
LONGEST_SEARCH = 500
FRESH = {"Cache-Control": "no-store"}


async def overview(request: web.Request) -> web.StreamResponse:
    """What runs with its progress, what waits, what has just ended."""
    state = state_of(request)
    found, running = await asyncio.to_thread(_asked, state)
    found["running"] = [_running(state, job) for job in running]
    found["stopping"] = state.workers.stopping
    return web.json_response(found, headers=FRESH)


def _asked(state: State) -> tuple[dict[str, Any], list[Job]]:
    queue = state.queue
    ended, _ = Search((), ("success", "error")).page(queue, None, SHOWN_ENDED)
    found = {
        "now": time.time(),
        "waiting": queue.read(lambda connection: waiting(connection, state.titles)),
        "waiting_count": queue.read(waiting_count),
        "ended": [card_of(job, state.registry) for job in ended],
    }
    return found, queue.running()


def _running(state: State, job: Job) -> dict[str, Any]:
    stream = state.workers.streams.of(job.id)
    progress = {k: v for k, v in (stream.progress if stream else {}).items() if k != "kind"}
    if progress.get("current_node"):
        progress["current_title"] = node_title(job.prompt, progress["current_node"], state.registry)
    return {
        "id": job.id,
        "title": title_of(job.prompt),
        "created": job.created,
        "started": job.started,
        "attempt": job.attempt,
        "cancelling": job.cancelling,
        "progress": progress,
        "preview": found[0] if (found := _preview(stream)) else None,
    }


def _preview(stream: Stream | None) -> tuple[int, bytes] | None:
    """The number of the newest preview of a job, and its JPEG."""
    for entry in reversed(stream.after(0) if stream else []):
        if entry.type == "preview":
            return entry.n, entry.data["picture"].data
    return None


async def preview(request: web.Request) -> web.StreamResponse:
    """The newest preview of a running job."""
    found = _preview(state_of(request).workers.streams.of(request.match_info["id"]))
    if found is None:
        raise Refused(404, "not_found", "there is no preview of this job")
    return web.Response(body=found[1], content_type="image/jpeg", headers=FRESH)


async def gallery(request: web.Request) -> web.StreamResponse:
    """Ended jobs, newest first: `q` (words), `status` (or several), `before` (a cursor), `limit`."""
    state, query = state_of(request), request.query
    words, before = query.get("q", ""), query.get("before", "")
    statuses = tuple(query.get("status", "success,error").split(","))
    if len(words) > LONGEST_SEARCH:
        raise Refused(400, "invalid_request", f"q has at most {LONGEST_SEARCH} characters")
    if wrong := set(statuses) - set(ENDED):
        raise Refused(400, "invalid_request", f"status is of {', '.join(ENDED)}, found {min(wrong)!r:.40}")
    try:
        limit = max(1, min(MOST, int(query.get("limit", "48"))))
        place = Cursor.read(before) if before else None
    except ValueError as error:
        raise Refused(400, "invalid_request", "limit is a number, before a cursor of a page") from error
    search = Search(tuple(words.split()), statuses)

    def listed() -> dict[str, Any]:
        found, following = search.page(state.queue, place, limit)
        cards = [card_of(job, state.registry) for job in found]
        return {"jobs": cards, "next": str(following) if following else None}

    return web.json_response(await asyncio.to_thread(listed), headers=FRESH)


async def ended_job(request: web.Request) -> web.StreamResponse:
    """One job with its workflow, its form and everything that it made."""
    state, id = state_of(request), request.match_info["id"]
    found = await asyncio.to_thread(_whole, state, id)
    if found is None:
        raise Refused(404, "not_found", "no job of this id is known; it may have been forgotten")
    return web.Response(text=json.dumps(found), content_type="application/json", headers=FRESH)


def _whole(state: State, id: str) -> dict[str, Any] | None:
    job = state.queue.job(id)
    if job is None:
        return None
    ending = job.ending
    texts = [
        {"node": node, "title": node_title(job.prompt, node, state.registry), "text": str(text)}
        for node, shown in (ending.outputs if ending else {}).items()
        for text in (shown.get("text", ()) if isinstance(shown, dict) else ())
    ]
    return card_of(job, state.registry) | {
        "pictures": pictures_of(job),
        "files": files_of(job),
        "texts": texts,
        "workflow": job.prompt,
        "form": _form(state, job.prompt),
        "error": error_of(job, state.registry),
        "executed": list(ending.executed) if ending else [],
        "cached": list(ending.cached) if ending else [],
    }


def _form(state: State, prompt: Any) -> list[dict[str, Any]]:
    try:
        workflow = from_json(prompt, "the prompt")
    except WorkflowError:
        return []
    return [p.as_json() for p in parameters(workflow, state.registry, state.env)]


async def form(request: web.Request) -> web.StreamResponse:
    """What may be set in a workflow; the body is a workflow's file, in any form that is read."""
    state = state_of(request)
    body = await read_body(request, state.server.max_prompt_mb)

    def made() -> dict[str, Any]:
        workflow = parse(body, "the file", state.registry.nodes)
        found = parameters(workflow, state.registry, state.env)
        return {"workflow": workflow.as_api(), "form": [p.as_json() for p in found]}

    try:
        return web.json_response(await asyncio.to_thread(made), headers=FRESH)
    except WorkflowError as error:
        problems = [p.as_json() for p in error.problems]
        raise Refused(
            400, "invalid_workflow", "; ".join(map(str, error.problems[:5])), problems=problems
        ) from error


ROUTES = (
    web.get("/api/latentgraph/overview", overview),
    web.get("/api/latentgraph/jobs/{id}/preview", preview),
    web.get("/api/latentgraph/gallery", gallery),
    web.get("/api/latentgraph/gallery/{id}", ended_job),
    web.post("/api/latentgraph/form", form),
)
