"""The editor's user: there is one; its settings, its saved workflows and other files."""

import asyncio
from pathlib import Path
from typing import Any

from aiohttp import web

from server.drafts import disk_answers
from server.inert import inert_file
from server.paths import Refused
from server.state import state_of
from server.userdata import MOST_SETTINGS, TooMuch, UserData
from server.wire import read_body, read_json, read_object


async def users(request: web.Request) -> web.StreamResponse:
    """How users are kept: one, on the server."""
    return web.json_response({"storage": "server", "migrated": _data(request).root.is_dir()})


async def add_user(request: web.Request) -> web.StreamResponse:
    """Several users are not offered."""
    del request
    text = "this server has one user; run one server for each, with a base directory of its own"
    return web.json_response({"error": text}, status=400)


async def settings(request: web.Request) -> web.StreamResponse:
    """All settings."""
    return web.json_response(await asyncio.to_thread(_data(request).settings))


async def setting(request: web.Request) -> web.StreamResponse:
    """One setting; null where it is not set."""
    found = await asyncio.to_thread(_data(request).settings)
    return web.json_response(found.get(request.match_info["id"]))


async def change_settings(request: web.Request) -> web.StreamResponse:
    """Set several settings; the others stay."""
    return await _changed(request, await read_object(request, MOST_SETTINGS / 2**20))


async def change_setting(request: web.Request) -> web.StreamResponse:
    """Set one setting to any JSON value."""
    return await _changed(
        request, {request.match_info["id"]: await read_json(request, MOST_SETTINGS / 2**20)}
    )


async def listing(request: web.Request) -> web.StreamResponse:
    """The files in a folder of the user."""
    name = request.query.get("dir", "")
    if not name:
        raise web.HTTPBadRequest(text="Directory not provided")
    return web.json_response(await asyncio.to_thread(_listed, request, name))


async def tree(request: web.Request) -> web.StreamResponse:
    """All files and folders below a folder of the user."""
    return web.json_response(await asyncio.to_thread(_tree, request))


async def read(request: web.Request) -> web.StreamResponse:
    """One file."""
    path = await asyncio.to_thread(_there, request)
    return inert_file(path, path.name)


async def write(request: web.Request) -> web.StreamResponse:
    """Write one file from the body."""
    data, path = _data(request), await asyncio.to_thread(_path, request, "file")
    body = await read_body(request, state_of(request).server.max_upload_mb)

    def written() -> Any:
        with disk_answers():
            try:
                data.write(path, body, overwrite=_overwrite(request) and not path.is_dir())
            except FileExistsError as error:
                raise web.HTTPConflict(text="File already exists") from error
            return _said(request, path)

    return web.json_response(await asyncio.to_thread(written))


async def delete(request: web.Request) -> web.StreamResponse:
    """Delete one file."""
    path = await asyncio.to_thread(_there, request)
    await asyncio.to_thread(path.unlink, missing_ok=True)
    return web.Response(status=204)


async def move(request: web.Request) -> web.StreamResponse:
    """Give one file another name."""

    def moved() -> Any:
        source, to = _there(request), _path(request, "dest")
        with disk_answers():
            try:
                _data(request).move(source, to, overwrite=_overwrite(request) and not to.is_dir())
            except FileExistsError as error:
                raise web.HTTPConflict(text="File already exists") from error
            return _said(request, to)

    return web.json_response(await asyncio.to_thread(moved))


def _data(request: web.Request) -> UserData:
    return UserData.under(state_of(request).settings.base_directory)


async def _changed(request: web.Request, changes: dict[str, Any]) -> web.StreamResponse:
    def change() -> None:
        with disk_answers():
            _data(request).change_settings(changes)

    try:
        await asyncio.to_thread(change)
    except TooMuch as error:
        raise web.HTTPBadRequest(text=f"{error}") from error
    return web.Response()


def _path(request: web.Request, part: str) -> Path:
    """The path that a part of the URL names: a file below the user's folder."""
    data = _data(request)
    try:
        path = data.path(request.match_info[part])
    except Refused as error:
        raise web.HTTPForbidden(text=f"{error}") from error
    if path == data.root.resolve():
        raise web.HTTPForbidden(text="the name of a file is missing")
    return path


def _there(request: web.Request) -> Path:
    path = _path(request, "file")
    if not path.is_file():
        raise web.HTTPNotFound(text=f"no file {request.match_info['file']!r}")
    return path


def _listed(request: web.Request, name: str) -> list[Any]:
    data, query = _data(request), request.query
    try:
        folder = data.path(name)
    except Refused as error:
        raise web.HTTPForbidden(text="Invalid directory") from error
    if not folder.is_dir():
        raise web.HTTPNotFound(text="Directory not found")
    found: list[Any] = []
    for path in data.files(folder, below=_flag(request, "recurse")):
        relative = path.relative_to(folder).as_posix()
        if _flag(request, "full_info"):
            found.append(_info(path, relative))
        else:
            found.append([relative, *relative.split("/")] if query.get("split") == "true" else relative)
    return found


def _tree(request: web.Request) -> list[dict[str, Any]]:
    data, name = _data(request), request.query.get("path", "")
    try:
        folder = data.path(name)
    except Refused as error:
        raise web.HTTPBadRequest(text="Invalid path requested") from error
    if not folder.exists() and folder != data.root.resolve():
        raise web.HTTPNotFound(text="Requested path not found")
    if folder.is_file():
        raise web.HTTPBadRequest(text="Requested path is not a directory")
    return data.tree(folder)


def _said(request: web.Request, path: Path) -> Any:
    """What is answered of a written file: its path, or with size and times if asked."""
    relative = _data(request).relative(path)
    return _info(path, relative) if _flag(request, "full_info") else relative


def _info(path: Path, relative: str) -> dict[str, Any]:
    stat = path.stat()
    return {"path": relative, "size": stat.st_size, "modified": stat.st_mtime, "created": stat.st_ctime}


def _flag(request: web.Request, name: str) -> bool:
    return request.query.get(name, "").lower() == "true"


def _overwrite(request: web.Request) -> bool:
    return request.query.get("overwrite", "true") != "false"


ROUTES = (
    web.get("/users", users),
    web.post("/users", add_user),
    web.get("/settings", settings),
    web.get("/settings/{id}", setting),
    web.post("/settings", change_settings),
    web.post("/settings/{id}", change_setting),
    web.get("/userdata", listing),
    web.get("/v2/userdata", tree),
    web.get("/userdata/{file}", read),
    web.post("/userdata/{file}", write),
    web.delete("/userdata/{file}", delete),
    web.post("/userdata/{file}/move/{dest}", move),
)
