"""Submit prompts, see what waits, stop what runs: /prompt, /queue, /interrupt, /free."""

import asyncio
import json
import uuid
from collections.abc import Callable
from typing import Any

from aiohttp import web
from sqlalchemy import Connection

from engine.editor import is_editor_form
from server.admission import FEW, Admitted, Inadmissible, admit, converted
from server.compat.prompt_server import PromptServer
from server.queue.jobs import Job, NewJob
from server.queue.store import FullError, TakenError
from server.state import State, state_of
from server.wire import Refused, read_object

SECRETS = ("auth_token_comfy_org", "api_key_comfy_org")
"""Keys of `extra_data` that nobody is shown."""


async def post_prompt(request: web.Request) -> web.StreamResponse:
    """Record a prompt to be run; answers once it is on disk."""
    state = state_of(request)
    body = await read_object(request, state.server.max_prompt_mb)
    if state.web_packs:
        body = PromptServer.instance.trigger_on_prompt(body)
    try:
        new, admitted = await accepted_form(state, body)
    except Inadmissible as error:
        return web.json_response({"error": error.error, "node_errors": error.errors}, status=400)
    number, counted = _number(state, body)
    job = await put(state, new, number, counted)
    return web.json_response(
        {"prompt_id": job.id, "number": job.shown_number, "node_errors": admitted.errors}
    )


async def accepted_form(state: State, body: dict[str, Any]) -> tuple[NewJob, Admitted]:
    """The job that the body of a classic submission asks for.

    Raises:
        Inadmissible: Nothing of it can run.
        Refused: The body has not the form that it must have.
    """
    if "prompt" not in body:
        error = {"type": "no_prompt", "message": "No prompt provided", "details": "No prompt provided"}
        raise Inadmissible({**error, "extra_info": {}}, {}, ())
    extra = body.get("extra_data", {})
    targets = body.get("partial_execution_targets")
    if not isinstance(extra, dict):
        raise Refused(400, "invalid_request", "extra_data is a JSON object")
    if targets is not None and not (isinstance(targets, list) and all(isinstance(t, str) for t in targets)):
        raise Refused(400, "invalid_request", "partial_execution_targets is a list of node ids")
    if body.get("client_id") is not None:
        extra = {**extra, "client_id": body["client_id"]}
    prompt, extra = await _api_form(state, body["prompt"], extra)
    admitted = await admitted_form(state, prompt, targets)
    id = str(uuid.uuid4() if body.get("prompt_id") is None else body["prompt_id"])
    if not 0 < len(id) <= 256:
        raise Refused(400, "invalid_request", "prompt_id has 1 to 256 characters")
    return NewJob(id, prompt, extra, admitted.targets, checked=admitted.checked), admitted


async def _api_form(state: State, prompt: Any, extra: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A prompt in the API form, and its `extra_data`: pictures of one in the editor's form carry that too.

    Raises:
        Inadmissible: It has the editor's form and cannot be read.
    """
    if not is_editor_form(prompt):
        return prompt, extra
    info = extra.get("extra_pnginfo")
    info = {"workflow": prompt, **(info if isinstance(info, dict) else {})}
    return await asyncio.to_thread(converted, prompt, state.registry), {**extra, "extra_pnginfo": info}


async def admitted_form(state: State, prompt: Any, targets: list[str] | None) -> Admitted:
    """Check a prompt, large ones without holding up other requests.

    Raises:
        Inadmissible: Nothing of it can run.
    """
    limits = (state.server.max_job_megapixels, state.server.max_nodes)
    if isinstance(prompt, dict) and len(prompt) <= FEW and not state.web_packs:  # packs' own checks may block
        return admit(prompt, state.registry, state.env, targets, *limits)
    return await asyncio.to_thread(admit, prompt, state.registry, state.env, targets, *limits)


async def put(
    state: State,
    new: NewJob,
    number: float,
    counted: bool,
    also: Callable[[Connection, Job], None] = lambda _connection, _job: None,
) -> Job:
    """Record a job and have it run.

    Args:
        also: What else is recorded in the same transaction.

    Raises:
        Refused: 503 while stopping, 429 if too many wait, 409 if its id is taken.
    """
    if state.workers.stopping:
        raise Refused(503, "stopping", "the server is stopping; send it again when it is back")
    try:
        job = await asyncio.wrap_future(state.queue.accept(new, number, counted, also))
    except FullError as error:
        raise Refused(429, "queue_full", str(error)) from error
    except TakenError as error:
        raise Refused(409, "id_taken", f"{error}; use another prompt_id") from error
    state.workers.accepted(job, new.checked)
    return job


def _number(state: State, body: dict[str, Any]) -> tuple[float, bool]:
    """A job's number, and whether it is the counter's."""
    if "number" in body:
        try:
            number = float(body["number"])
        except (TypeError, ValueError, OverflowError):
            number = float("nan")
        if not abs(number) < 1e300:
            raise Refused(400, "invalid_request", f"number is a number, found {body['number']!r:.40}")
        return number, False
    number = state.queue.next_number()
    return (-number if body.get("front") else number), True


async def get_prompt(request: web.Request) -> web.StreamResponse:
    """How many jobs wait or run."""
    return web.json_response({"exec_info": {"queue_remaining": state_of(request).queue.remaining}})


def item_of(job: Job) -> list[Any]:
    """A job as the classic queue and history show it."""
    extra = {k: v for k, v in job.extra_data.items() if k not in SECRETS}
    return [job.shown_number, job.id, job.prompt, extra, list(job.targets)]


async def get_queue(request: web.Request) -> web.StreamResponse:
    """What runs and what waits, in the order in which it will run."""
    queue = state_of(request).queue

    def listed() -> str:
        found = {"queue_running": queue.running(), "queue_pending": queue.waiting()}
        return json.dumps({name: [item_of(job) for job in jobs] for name, jobs in found.items()})

    return web.Response(text=await asyncio.to_thread(listed), content_type="application/json")


async def post_queue(request: web.Request) -> web.StreamResponse:
    """Remove waiting jobs: `{"clear": true}` or `{"delete": [ids]}`."""
    state = state_of(request)
    body = await read_object(request)
    if body.get("clear"):
        await cancel_waiting(state, None)
    if ids := ids_of(body, "delete"):
        await cancel_waiting(state, ids)
    return web.Response()


async def cancel_waiting(state: State, ids: list[str] | None) -> list[str]:
    """End jobs that wait (all for None); gives the ids of those that did."""
    ended = await asyncio.wrap_future(state.queue.cancel_waiting(ids))
    state.workers.cancelled(ended)
    return ended


def ids_of(body: dict[str, Any], key: str) -> list[str]:
    """The list of ids under a key of a body.

    Raises:
        Refused: 400, it is no list.
    """
    found = body.get(key, [])
    if not isinstance(found, list):
        raise Refused(400, "invalid_request", f"{key} is a list of prompt ids")
    return [str(id) for id in found]


async def post_interrupt(request: web.Request) -> web.StreamResponse:
    """Stop the running job of `{"prompt_id": id}`, or all that run, at the next step."""
    state = state_of(request)
    try:
        body = await read_object(request)
    except Refused:
        body = {}
    id = body.get("prompt_id")
    state.workers.cancel(None if id is None else str(id))
    return web.Response()


async def post_free(request: web.Request) -> web.StreamResponse:
    """Give memory back: `{"unload_models": bool, "free_memory": bool}`; the second drops results too."""
    state = state_of(request)
    body = await read_object(request)
    if body.get("unload_models") or body.get("free_memory"):
        freed = await asyncio.to_thread(state.workers.free, bool(body.get("free_memory")))
        return web.json_response(freed)
    return web.Response()


ROUTES = (
    web.post("/prompt", post_prompt),
    web.get("/prompt", get_prompt),
    web.get("/queue", get_queue),
    web.post("/queue", post_queue),
    web.post("/interrupt", post_interrupt),
    web.post("/free", post_free),
)
