"""The workflows that come along, with the inputs that people set as a form and as a JSON schema."""

import asyncio
import re
from pathlib import Path
from typing import Any

from aiohttp import web

from engine.problems import nearest
from engine.workflow import Workflow, load
from server.packs import templates
from server.parameters import json_schema, parameters
from server.state import State, state_of


async def workflows(request: web.Request) -> web.StreamResponse:
    """The workflows that come along: name, title, what they need."""
    return web.json_response({"workflows": await asyncio.to_thread(_listed, state_of(request))})


async def workflow(request: web.Request) -> web.StreamResponse:
    """One workflow, ready for `POST /prompt`, and what may be set in it."""
    state, name = state_of(request), request.match_info["name"]
    return web.json_response(await asyncio.to_thread(_form_of, state, name))


def _listed(state: State) -> list[dict[str, Any]]:
    return [_summary(name, load(path)) for name, path in _shipped(state).items()]


def _shipped(state: State) -> dict[str, Path]:
    """The workflows of installed packs; those of custom packs are the editor's."""
    return {name: path for named in templates(state.registry, ()).values() for name, path in named.items()}


def _summary(name: str, saved: Workflow) -> dict[str, Any]:
    titles = list(dict.fromkeys(node.title for node in saved.nodes.values() if node.title))
    return {"name": name, "title": _title(name), "description": " → ".join(titles), "nodes": len(saved.nodes)}


def _title(name: str) -> str:
    return re.sub(r"[_-]+", " ", name).capitalize()


def _form_of(state: State, name: str) -> dict[str, Any]:
    shipped = _shipped(state)
    if name not in shipped:
        hint = nearest(name, shipped) or f"there are {', '.join(sorted(shipped))}"
        raise web.HTTPNotFound(text=f"no workflow is called {name!r}; {hint}")
    saved = load(shipped[name])
    form = parameters(saved, state.registry, state.env)
    return {
        "workflow": saved.as_api(),
        "form": [parameter.as_json() for parameter in form],
        "json_schema": json_schema(_title(name), form),
    }


ROUTES = (
    web.get("/api/latentgraph/workflows", workflows),
    web.get("/api/latentgraph/workflows/{name}", workflow),
)
