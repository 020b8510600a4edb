"""Assets by the versioned API: upload, find by hash, look, download, delete: /api/v2/assets."""

import asyncio
import re
from pathlib import PurePosixPath
from typing import Any

from aiohttp import web
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from engine.problems import NodeFailure
from server.assets import HASH, Asset, Assets, Gone
from server.idempotency import Once, digest_of, under_way
from server.inert import HEADERS, inert_file, media_type, named
from server.jobview import Look, time_of
from server.receiving import Received, read_form
from server.routes.jobs import look_of
from server.state import State, state_of
from server.watching import live_outputs
from server.wire import Refused, read_object

TEXTS_MB = 1.0
MOST_TAGS = 64
URL_S = 86_400.0
"""Seconds that we say an address is good for; it is good for as long as the asset."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ENDINGS = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp", "video/mp4": ".mp4"}


async def post_asset(request: web.Request) -> web.StreamResponse:
    """Keep an uploaded file: 201 where its content is new, 200 where it is here already."""
    state = state_of(request)
    assets = assets_of(state)
    if request.content_type != "multipart/form-data":
        raise Refused(400, "invalid_form", "send a form (multipart/form-data) with a file in the part `file`")
    with state.keys.held(request, "assets") as once:
        async with read_form(request, assets.folder, state.server.max_upload_mb, TEXTS_MB) as form:
            received = form.files.get("file")
            if received is None:
                raise Refused(422, "invalid_request", "the form has no file in a part called `file`")
            expected = form.text("expected_hash")
            if expected and expected != received.hash:
                text = f"the file's hash is {received.hash}, not the expected one; nothing was kept"
                raise Refused(409, "hash_mismatch", text, expected=expected, found=received.hash)
            name = _name(form.text("file_path") or received.name)
            kind = form.text("content_type") or received.content_type
            tags = _tags(form.fields.get("tags", []))
            named = Received(received.path, received.hash, received.size, name, kind)
            return await _minted(request, once, named, tags, digest_of(received.hash, name, kind, tags))


async def post_from_hash(request: web.Request) -> web.StreamResponse:
    """Make an asset of content that is here, so that it need not be sent again."""
    state, body = state_of(request), await read_object(request)
    digest, name = body.get("hash"), body.get("file_path")
    if not isinstance(digest, str) or not HASH.fullmatch(digest):
        raise Refused(422, "invalid_request", "hash is `blake3:` and 64 hexadecimal digits")
    with state.keys.held(request, "assets/from-hash") as once:
        answered = await asyncio.to_thread(once.answered, state.queue, digest_of(body))
        if answered is not None:
            return answered
        again = assets_of(state).again
        found = await asyncio.to_thread(again, digest, _name(name) if name is not None else "")
        if found is None:
            raise _no_blob(digest)
        return await _minted(request, once, found, _tags(body.get("tags") or []), digest_of(body))


async def post_from_path(request: web.Request) -> web.StreamResponse:
    """Make an asset of a file of the server's folders: `{"path": "sub/a.png", "type": "input"}`."""
    state, body = state_of(request), await read_object(request)
    path, role = body.get("path"), body.get("type", "input")
    if not isinstance(path, str) or not path or role not in ("input", "output", "temp"):
        text = 'send {"path": …, "type": "input" | "output" | "temp"}; the path is relative to that folder'
        raise Refused(422, "invalid_request", text)
    try:
        found = await asyncio.to_thread(state.files.find, role, path)
    except NodeFailure as error:
        raise Refused(404, "blob_not_found", error.message) from error
    if not await asyncio.to_thread(found.is_file):
        raise Refused(404, "blob_not_found", f"{path!r:.80} is no file")
    with state.keys.held(request, "assets/from-path") as once:
        name = _name(body.get("file_path") or PurePosixPath(path).name)
        received = await asyncio.to_thread(assets_of(state).copied, found, name)
        tags = _tags(body.get("tags") or [])
        return await _minted(request, once, received, tags, digest_of(body, received.hash))


async def head_by_hash(request: web.Request) -> web.StreamResponse:
    """Whether content is here."""
    digest = request.match_info["hash"]
    assets = assets_of(state_of(request))
    there = await asyncio.to_thread(assets.has, digest) if HASH.fullmatch(digest) else False
    return web.Response(status=200 if there else 404)


async def get_asset(request: web.Request) -> web.StreamResponse:
    """What is known of an asset, with its address."""
    asset = await _asset(request)
    return web.json_response(as_json(asset, look_of(request)))


async def get_content(request: web.Request) -> web.StreamResponse:
    """The bytes of an asset, or a range of them."""
    state, asset = state_of(request), await _asset(request)
    if asset.output is not None and "text" in asset.output:
        headers = {**HEADERS, "Content-Disposition": named(asset.name)}
        return web.Response(text=str(asset.output["text"]), content_type="text/plain", headers=headers)
    try:
        path = await asyncio.to_thread(assets_of(state).path, asset)
    except Gone as error:
        hint = "run its job again" if asset.job_id else "upload it again"
        raise Refused(410, "asset_gone", f"{error}; {hint}", job_id=asset.job_id) from error
    known = media_type(asset.name)
    return inert_file(path, asset.name if known else asset.name + _ENDINGS.get(asset.content_type, ""))


async def delete_asset(request: web.Request) -> web.StreamResponse:
    """Delete an asset, and its bytes where nothing else needs them."""
    gone = await asyncio.to_thread(assets_of(state_of(request)).delete, request.match_info["id"])
    if not gone:
        raise _no_asset(request)
    return web.Response(status=204)


def assets_of(state: State) -> Assets:
    """The assets of a server."""
    return Assets(state.queue, state.files)


def as_json(asset: Asset, look: Look, new: bool | None = None) -> dict[str, Any]:
    """The contract's Asset.

    Args:
        new: Whether its bytes were new here, where that is said.
    """
    found = {
        "id": asset.id,
        "hash": asset.hash,
        "size_bytes": asset.size,
        "content_type": asset.content_type,
        "file_path": asset.file_path,
        "tags": list(asset.tags),
        "created_at": time_of(asset.created),
        "url": f"{look.base}/api/v2/assets/{asset.id}/content",
        "url_expires_at": time_of(asset.created + max(URL_S, look.days * 86_400)),
        "expires_at": None,
        "job_id": asset.job_id,
    }
    if asset.job_id is not None:
        found |= {"expires_at": time_of(asset.created + look.days * 86_400)}
    return found | ({} if new is None else {"created_new": new})


async def _minted(
    request: web.Request, once: Once, received: Received, tags: list[str], digest: str
) -> web.StreamResponse:
    """Record an asset of what was received, and the answer to it under the request's key."""
    state, look = state_of(request), look_of(request)
    try:
        if (again := await asyncio.to_thread(once.answered, state.queue, digest)) is not None:
            return again

        def also(connection: Connection, asset: Asset, new: bool) -> None:
            once.record(connection, digest, 201 if new else 200, as_json(asset, look, new))

        asset, new = await asyncio.wrap_future(assets_of(state).keep(received, tags, also))
    except IntegrityError as error:  # another process has recorded this key
        raise under_way() from error
    finally:
        received.discard()
    return web.json_response(as_json(asset, look, new), status=201 if new else 200)


async def _asset(request: web.Request) -> Asset:
    """The asset that the path names; also an output of a job that still runs.

    Raises:
        Refused: 404, there is none.
    """
    state, id = state_of(request), request.match_info["id"]
    found = await asyncio.to_thread(assets_of(state).get, id)
    for job_id in state.workers.running if found is None else ():
        for output in await live_outputs(state, job_id):
            if output.id == id:
                place = {"type": output.folder, "subfolder": output.subfolder, "filename": output.name}
                facts = (output.id, None, output.size, output.content_type, output.name)
                job = await asyncio.to_thread(state.queue.job, job_id)
                made = {"text": output.text} if output.text is not None else place
                return Asset(*facts, job.created if job else 0.0, job_id=job_id, output=made)
    if found is None:
        raise _no_asset(request)
    return found


def _no_asset(request: web.Request) -> Refused:
    text = f"there is no asset {request.match_info['id']!r:.80}"
    return Refused(404, "not_found", text)


def _no_blob(digest: str) -> Refused:
    return Refused(404, "blob_not_found", f"no content with the hash {digest} is here; upload it")


def _name(name: Any) -> str:
    if not isinstance(name, str) or len(name) > 1_024 or _CONTROL.search(name):
        raise Refused(422, "invalid_request", "file_path is a text of at most 1,024 plain characters")
    return name.encode("utf-8", "replace").decode()


def _tags(found: Any) -> list[str]:
    if not isinstance(found, list) or len(found) > MOST_TAGS or not all(isinstance(t, str) for t in found):
        raise Refused(422, "invalid_request", f"tags is a list of at most {MOST_TAGS} texts")
    return [tag[:256] for tag in found]


ROUTES = (
    web.post("/api/v2/assets", post_asset),
    web.post("/api/v2/assets/from-hash", post_from_hash),
    web.post("/api/v2/assets/from-path", post_from_path),
    web.head("/api/v2/assets/by-hash/{hash}", head_by_hash),
    web.get("/api/v2/assets/{id}", get_asset),
    web.get("/api/v2/assets/{id}/content", get_content),
    web.delete("/api/v2/assets/{id}", delete_asset),
)
