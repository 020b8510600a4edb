"""Which models there are, by folder, as names or with sizes and times, and their preview pictures."""

import asyncio
from pathlib import Path, PurePosixPath

from aiohttp import web

from server.inert import inert_bytes
from server.model_files import covers, model_list, model_names, model_roles
from server.paths import Refused, shown
from server.pictures import BadPicture, in_turn, preview
from server.state import State, state_of


async def embeddings(request: web.Request) -> web.StreamResponse:
    """The names of the textual inversions, as prompts call them: without extension."""
    names = await asyncio.to_thread(model_names, state_of(request).files, "embeddings")
    return web.json_response([str(PurePosixPath(name).with_suffix("")) for name in names])


async def folders(request: web.Request) -> web.StreamResponse:
    """The kinds of models."""
    return web.json_response(model_roles(state_of(request).files))


async def names(request: web.Request) -> web.StreamResponse:
    """The models of a kind by relative name."""
    return web.json_response(await asyncio.to_thread(model_names, state_of(request).files, _role(request)))


async def folders_with_places(request: web.Request) -> web.StreamResponse:
    """The kinds of models with their folders, relative to the base directory."""
    state = state_of(request)
    found = [
        {"name": role, "folders": places(state, role)}
        for role in model_roles(state.files)
        if role not in ("configs", "custom_nodes")
    ]
    return web.json_response(found)


async def listing(request: web.Request) -> web.StreamResponse:
    """The models of a kind with their sizes and times."""
    return web.json_response(await asyncio.to_thread(model_list, state_of(request).files, _role(request)))


async def cover(request: web.Request) -> web.StreamResponse:
    """The preview picture of a model, as WebP."""
    index, name = request.match_info["path_index"], request.match_info["filename"]
    inside = state_of(request).files.folders[_role(request)]
    if not (index.isascii() and index.isdigit() and len(index) < 5 and int(index) < len(inside)):
        raise web.HTTPNotFound(text=f"no folder number {index!r}")
    try:
        first = await asyncio.to_thread(_first_cover, inside[int(index)], name)
        if first is not None:
            max_pixels = int(state_of(request).server.max_megapixels * 1e6)
            body, kind = await in_turn(preview, first, "webp", 80, "", max_pixels)
            return inert_bytes(body, kind, "preview.webp")
    except (BadPicture, Refused) as error:
        raise web.HTTPNotFound(text=f"{error}") from error
    raise web.HTTPNotFound(text="the model has no preview picture")


def places(state: State, role: str) -> list[str]:
    """The folders of a role as clients are told of them."""
    return [shown(folder, state.settings.base_directory) for folder in state.files.folders[role]]


def _role(request: web.Request) -> str:
    role = request.match_info["folder"]
    if role not in model_roles(state_of(request).files):
        raise web.HTTPNotFound(text=f"no kind of models is called {role!r}; see /models")
    return role


def _first_cover(folder: Path, name: str) -> Path | bytes | None:
    return next(covers(folder, name), None)


ROUTES = (
    web.get("/embeddings", embeddings),
    web.get("/models", folders),
    web.get("/models/{folder}", names),
    web.get("/experiment/models", folders_with_places),
    web.get("/experiment/models/{folder}", listing),
    web.get("/experiment/models/preview/{folder}/{path_index}/{filename:.*}", cover),
)
