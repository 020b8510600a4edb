"""What only the editor asks: the log, the folders, what stands in them newest first."""

import asyncio
import shutil
from pathlib import Path

from aiohttp import web

from server.logs import LOG_LINES
from server.model_files import model_roles
from server.paths import TYPES
from server.routes.models import places
from server.state import state_of
from server.wire import read_object


async def logs(request: web.Request) -> web.StreamResponse:
    """The last lines of the log as one text."""
    lines = [f"{line['t']} - {line['m']}" for line in request.app[LOG_LINES].entries]
    return web.json_response("".join(lines))


async def raw_logs(request: web.Request) -> web.StreamResponse:
    """The last lines of the log, each with its time."""
    columns, rows = shutil.get_terminal_size()
    size = {"cols": columns, "rows": rows}
    return web.json_response({"entries": request.app[LOG_LINES].entries, "size": size})


async def subscribe(request: web.Request) -> web.StreamResponse:
    """Start or stop sending new lines to a client's socket."""
    asked = await read_object(request)
    client_id, enabled = asked.get("clientId"), asked.get("enabled")
    if not isinstance(client_id, str) or not 0 < len(client_id) <= 256 or not isinstance(enabled, bool):
        raise web.HTTPBadRequest(text='send {"clientId": "…", "enabled": true}')
    if enabled:
        request.app[LOG_LINES].subscribe(client_id, state_of(request).hub.send)
    else:
        request.app[LOG_LINES].unsubscribe(client_id)
    return web.Response()


async def folder_paths(request: web.Request) -> web.StreamResponse:
    """The folders of each kind of models, relative to the base directory."""
    state = state_of(request)
    return web.json_response({role: places(state, role) for role in model_roles(state.files)})


async def files(request: web.Request) -> web.StreamResponse:
    """The files in the input, output or temp folder, newest first, without those in folders below."""
    type = request.match_info["type"]
    if type not in TYPES:
        return web.json_response({"error": "Invalid directory type"}, status=400)
    return web.json_response(await asyncio.to_thread(_newest_first, state_of(request).files.folders[type][0]))


def _newest_first(folder: Path) -> list[str]:
    here = [p for p in folder.iterdir() if not p.name.startswith(".")] if folder.is_dir() else []
    found = sorted((-p.stat().st_mtime, p.name) for p in here if p.is_file())
    return [name for _, name in found]


ROUTES = (
    web.get("/internal/logs", logs),
    web.get("/internal/logs/raw", raw_logs),
    web.patch("/internal/logs/subscribe", subscribe),
    web.get("/internal/folder_paths", folder_paths),
    web.get("/internal/files/{type}", files),
)
