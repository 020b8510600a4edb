"""A submission to the versioned API: read, checked, made into a job of the queue."""

import asyncio
import difflib
import json
import re
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from server.admission import Inadmissible
from server.idempotency import digest_of
from server.inputs import Inputs
from server.queue.jobs import NewJob
from server.receiving import Received, read_form
from server.routes.prompt import admitted_form
from server.state import State
from server.webhooks import webhook_of
from server.wire import Refused, decoded, read_object

FIELDS = (
    "workflow", "inputs", "id", "priority", "metadata", "no_cache", "targets", "extra_data", "webhook",
    "webhook_url",
)  # fmt: skip
METADATA_BYTES = 1024
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")
_PRIORITIES = range(-(2**31), 2**31)


@dataclass(frozen=True)
class Asked:
    """What was sent.

    Args:
        uploads: The files that came along, by the name of their part.
        digest: What tells it from another submission, where it has an Idempotency-Key.
    """

    body: Mapping[str, Any]
    uploads: Mapping[str, Received]
    digest: str


@asynccontextmanager
async def read_submission(request: web.Request, state: State) -> AsyncIterator[Asked]:
    """A submission as JSON, or as a form whose part `job` is JSON; its files are removed in the end.

    Raises:
        Refused: 400 or 413, it cannot be read.
    """
    keyed = "Idempotency-Key" in request.headers
    if request.content_type != "multipart/form-data":
        body = await read_object(request, state.server.max_prompt_mb)
        yield Asked(body, {}, await asyncio.to_thread(digest_of, body) if keyed else "")
        return
    inputs = Inputs(state)
    limits = (state.server.max_upload_mb, state.server.max_prompt_mb)
    async with read_form(request, inputs.assets.folder, *limits, ("job", "workflow")) as form:
        body = _of_fields({name: texts[0] for name, texts in form.fields.items()})
        files = {name: [f.hash, f.name] for name, f in form.files.items()}
        yield Asked(body, form.files, await asyncio.to_thread(digest_of, body, files) if keyed else "")


def _of_fields(fields: dict[str, str]) -> dict[str, Any]:
    """A form's texts as the body that they stand for; those but `id` are JSON."""
    body = decoded(fields.pop("job").encode()) if "job" in fields else {}
    if not isinstance(body, dict):
        raise Refused(400, "invalid_json", "the part `job` is a JSON object")
    for name, text in fields.items():
        body[name] = text if name in ("id", "webhook_url") else _decoded(text)
    return body


def _decoded(text: str) -> Any:
    try:
        return decoded(text.encode())
    except Refused as refused:
        if text[:1] in "[{" and text:
            raise refused
        return text  # a plain word: metadata


async def new_job(state: State, asked: Asked, base: str) -> tuple[NewJob, frozenset[str]]:
    """The job that a submission asks for, and the contents that it reads.

    Args:
        base: The server's address, as the client knows it.

    Raises:
        Refused: 422 (or 400), with all that is wrong.
    """
    body = asked.body
    options = _options(state, body, base)
    if "workflow" not in body:
        raise Refused(422, "invalid_workflow", 'send {"workflow": {…}} in the API format')
    targets = body.get("targets")
    if targets is not None and not (isinstance(targets, list) and all(isinstance(t, str) for t in targets)):
        raise Refused(422, "invalid_request", "targets is a list of node ids")
    extra = body.get("extra_data") or {}
    if not isinstance(extra, dict):
        raise Refused(422, "invalid_request", "extra_data is an object")
    id = _own_id(body)
    inputs = Inputs(state, asked.uploads)
    graph = await inputs.into(body["workflow"], body.get("inputs") or {})
    try:
        admitted = await admitted_form(state, graph, targets)
    except Inadmissible as error:
        raise inadmissible(error) from error
    if admitted.errors:
        options["node_errors"] = admitted.errors
        text = f"outputs are left out, as nodes {', '.join(admitted.errors)} have errors; see node_errors"
        options.setdefault("warnings", []).append(text)
    extra = {**extra, "client_id": extra.get("client_id") or id}
    priority, checked = _priority(body), admitted.checked
    new = NewJob(id, graph, extra, admitted.targets, priority=priority, options=options, checked=checked)
    return new, frozenset(inputs.hashes)


def inadmissible(error: Inadmissible) -> Refused:
    """The refusal of a workflow that cannot run: by node, which field and why."""
    errors: dict[str, list[dict[str, str]]] = {}
    for problem in error.problems:
        entry = {
            "field": problem.input,
            "reason": problem.code,
            "message": problem.message,
            "hint": problem.hint,
            "class_type": problem.class_type,
        }
        errors.setdefault(problem.node_id, []).append(entry)
    text = "; ".join(map(str, error.problems[:3])) or str(error)
    return Refused(422, "invalid_workflow", text, node_errors=errors)


def _options(state: State, body: Mapping[str, Any], base: str) -> dict[str, Any]:
    """What is asked for beside the workflow, as it is kept with the job."""
    options: dict[str, Any] = {}
    if (metadata := body.get("metadata")) is not None:
        options["metadata"] = _metadata(metadata)
    no_cache = body.get("no_cache", False)
    if not isinstance(no_cache, bool):
        raise Refused(422, "invalid_request", "no_cache is true or false")
    if no_cache:
        options["no_cache"] = True
    if hook := webhook_of(state, body.get("webhook", body.get("webhook_url")), base):
        options["webhook"] = hook
    if unknown := [name for name in body if name not in FIELDS]:
        options["warnings"] = [_unknown(name) for name in unknown[:20]]
    return options


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, FIELDS, n=1)
    return f"the field {name[:60]!r} is not known and was passed over" + (
        f"; did you mean {near[0]!r}?" if near else ""
    )


def _metadata(found: Any) -> Any:
    values = found.values() if isinstance(found, dict) else [found]
    if not all(isinstance(v, str) for v in values):
        raise Refused(422, "metadata_invalid", "metadata is a text, or an object of texts")
    if len(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace")) > METADATA_BYTES:
        raise Refused(422, "metadata_invalid", f"metadata is larger than {METADATA_BYTES} bytes")
    return found


def _priority(body: Mapping[str, Any]) -> int:
    found = body.get("priority", 0)
    if isinstance(found, bool) or not isinstance(found, int) or found not in _PRIORITIES:
        raise Refused(422, "invalid_request", f"priority is a whole number, found {found!r:.40}")
    return found


def _own_id(body: Mapping[str, Any]) -> str:
    found = body.get("id")
    if found is None:
        return str(uuid.uuid4())
    if not isinstance(found, str) or not _ID.fullmatch(found):
        text = "id has 1 to 200 letters, digits and . _ : - and begins with a letter or digit"
        raise Refused(422, "invalid_request", text)
    return found
