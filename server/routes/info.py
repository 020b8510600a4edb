"""What clients ask about the server: its nodes, machine, features, and what packs bring for editors."""

import asyncio
import json
from pathlib import Path
from typing import Any

from aiohttp import web
from networkx import NetworkXUnfeasible

from engine.devices import Devices
from engine.problems import WorkflowError
from engine.workflow import from_json
from server.editor_form import as_editor
from server.object_info import one_info
from server.packs import scripts, templates, translations
from server.paths import Refused, path_in
from server.routes.editor import core_scripts, web_root
from server.routes.socket import features as features_of
from server.state import State, state_of
from server.system import system_stats as stats_of


async def object_info(request: web.Request) -> web.StreamResponse:
    """All nodes by class: inputs, outputs, category and words for people."""
    state = state_of(request)
    body = await asyncio.to_thread(state.object_info.body, state.registry, state.env, state.foreign())
    return web.Response(body=body, content_type="application/json", charset="utf-8")


async def object_info_of(request: web.Request) -> web.StreamResponse:
    """One node by class; an empty object where there is none."""
    state, name = state_of(request), request.match_info["node_class"]
    return web.json_response(
        await asyncio.to_thread(one_info, state.registry, state.env, state.foreign(), name)
    )


async def system_stats(request: web.Request) -> web.StreamResponse:
    """Memory, devices and versions."""
    state = state_of(request)
    found = await asyncio.to_thread(stats_of, state.env[Devices], state.settings.base_directory)
    return web.json_response(found)


async def features(request: web.Request) -> web.StreamResponse:
    """What the server can do that a client may make use of."""
    return web.json_response(features_of(state_of(request)))


async def extensions(request: web.Request) -> web.StreamResponse:
    """The scripts that an editor loads: its own, then those of custom packs."""
    found = await asyncio.to_thread(scripts, state_of(request).web_packs)
    return web.json_response([*core_scripts(), *found])


async def extension_file(request: web.Request) -> web.StreamResponse:
    """A file of an editor extension."""
    name, path = request.match_info["pack"], request.match_info["path"]
    folders = {pack.name: pack.web for pack in state_of(request).web_packs}
    root = web_root()
    folder = root / "extensions" / "core" if name == "core" and root else folders.get(name)
    try:
        file = path_in(folder, path) if folder else None
    except Refused as refused:
        raise web.HTTPBadRequest(text=str(refused)) from refused
    if file is None or not await asyncio.to_thread(file.is_file):
        raise web.HTTPNotFound(text=f"no extension has a file {name}/{path}")
    return web.FileResponse(file)


async def workflow_templates(request: web.Request) -> web.StreamResponse:
    """The workflows that come along, by pack."""
    state = state_of(request)
    found = await asyncio.to_thread(templates, state.registry, state.web_packs)
    return web.json_response({pack: list(named) for pack, named in found.items()})


async def workflow_template(request: web.Request) -> web.StreamResponse:
    """One workflow that comes along, in the form that editors read."""
    state, pack, name = state_of(request), request.match_info["pack"], request.match_info["name"]
    found = await asyncio.to_thread(templates, state.registry, state.web_packs)
    path = found.get(pack, {}).get(name.removesuffix(".json")) if name.endswith(".json") else None
    if path is None:
        raise web.HTTPNotFound(text=f"no workflow {name!r} comes with {pack!r}")
    return web.json_response(await asyncio.to_thread(_for_editors, state, path))


def _for_editors(state: State, path: Path) -> Any:
    try:
        saved = json.loads(path.read_bytes())
        if isinstance(saved, dict) and isinstance(saved.get("nodes"), list):
            return saved
        return as_editor(from_json(saved, path.name), state.registry, state.env)
    except (OSError, ValueError, RecursionError, WorkflowError, NetworkXUnfeasible) as error:
        raise web.HTTPNotFound(text=f"the workflow cannot be read: {error}") from error


async def i18n(request: web.Request) -> web.StreamResponse:
    """The words of custom packs by language."""
    return web.json_response(await asyncio.to_thread(translations, state_of(request).web_packs))


async def nothing(request: web.Request) -> web.StreamResponse:
    """An empty object: editors ask, and there is none here."""
    del request
    return web.json_response({})


ROUTES = (
    web.get("/object_info", object_info),
    web.get("/object_info/{node_class}", object_info_of),
    web.get("/system_stats", system_stats),
    web.get("/features", features),
    web.get("/extensions", extensions),
    web.get("/extensions/{pack}/{path:.+}", extension_file),
    web.get("/workflow_templates", workflow_templates),
    web.get("/api/workflow_templates/{pack}/{name}", workflow_template),
    web.get("/i18n", i18n),
    web.get("/global_subgraphs", nothing),
    web.get("/node_replacements", nothing),
)
