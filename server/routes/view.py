"""Looking at files: pictures as they are, re-encoded or one channel of them; what a model file says."""

import asyncio
from pathlib import Path
from typing import Literal

from aiohttp import web

from server.inert import inert_bytes, inert_file
from server.model_files import metadata, model_file
from server.paths import Refused, annotated, folder_of, found, path_in
from server.pictures import BadPicture, TooLarge, in_turn, one_channel, preview
from server.state import state_of

_METADATA_BYTES = 2**20


async def view(request: web.Request) -> web.StreamResponse:
    """A file of the input, output or temp folder; pictures also as a preview or one channel of them."""
    path, name = await asyncio.to_thread(_asked, request)
    query = request.query
    channel = query.get("channel", "rgba")
    max_pixels = int(state_of(request).server.max_megapixels * 1e6)
    try:
        if "preview" in query:
            kind, quality = _preview_form(query["preview"])
            body, content_type = await in_turn(
                preview, path, kind, quality, query.get("channel", ""), max_pixels
            )
            return inert_bytes(body, content_type, name)
        if channel in ("rgb", "a"):
            one: Literal["rgb", "a"] = "rgb" if channel == "rgb" else "a"
            return inert_bytes(await in_turn(one_channel, path, one, max_pixels), "image/png", name)
    except TooLarge as error:
        raise web.HTTPRequestEntityTooLarge(max_pixels, 0, text=f"{error}") from error
    except BadPicture as error:
        raise web.HTTPBadRequest(text=f"{error}; view it without preview and channel") from error
    return inert_file(path, name)


async def view_metadata(request: web.Request) -> web.StreamResponse:
    """The metadata in the header of a safetensors file."""
    folder, name = request.match_info["folder"], request.query.get("filename", "")
    said = None
    if name.endswith(".safetensors"):
        path = await asyncio.to_thread(model_file, state_of(request).files, folder, name)
        if path is not None:
            said = await asyncio.to_thread(metadata, path, _METADATA_BYTES)
    if said is None:
        raise web.HTTPNotFound(text="no such file, or no metadata in it")
    return web.json_response(said)


def _asked(request: web.Request) -> tuple[Path, str]:
    """The file that the query names, and its bare name."""
    query, files = request.query, state_of(request).files
    if "filename" not in query:
        raise web.HTTPNotFound(text="`filename` says which file")
    name, type = annotated(query["filename"])
    type = type or query.get("type", "output")
    if not name or name.startswith("/") or ".." in name:
        raise web.HTTPBadRequest(text="`filename` is empty or leads out of its folder")
    subfolder = query.get("subfolder", "")
    try:
        root = folder_of(files, type)
        try:
            path_in(root, subfolder)
        except Refused as error:
            raise web.HTTPForbidden(text=f"subfolder: {error}") from error
        name = name.rpartition("/")[2]
        path = found(files, type, subfolder, name)
    except Refused as error:
        raise web.HTTPBadRequest(text=f"{error}") from error
    if path is None:
        raise web.HTTPNotFound(text=f"no file {name!r} there")
    return path, name


def _preview_form(preview: str) -> tuple[str, int]:
    """`webp;80` as kind and quality."""
    first, *_ = parts = preview.split(";")
    last = parts[-1]
    return first, int(last[:4]) if last.isascii() and last.isdigit() else 90


ROUTES = (web.get("/view", view), web.get("/view_metadata/{folder}", view_metadata))
