"""The application: all routes as one table, each classic one with and without `/api`; the middlewares."""

from collections.abc import Iterable, Iterator

from aiohttp import web

from server import connections, guard
from server.compat.prompt_server import PromptServer
from server.logs import LOG_LINES
from server.routes import ROUTES
from server.routes.editor import editor_mounts
from server.state import STATE, State

ONCE = ("/internal/", "/api/", "/assets", "/page", "/metrics", "/openapi.json")
"""Paths that exist under one name only."""


def make_app(state: State, body_s: float = connections.BODY_S) -> web.Application:
    """The server's application; its lifetime is that of the state.

    Args:
        body_s: Seconds that a body may stand still.
    """
    app = web.Application(
        client_max_size=int(state.server.max_upload_mb * 2**20),
        middlewares=[state.metrics.middleware, guard.errors, guard.callers, connections.watch_bodies(body_s)],
    )
    app[STATE] = state
    app[LOG_LINES] = state.logs
    app.add_routes(list(twinned(ROUTES)))
    app.add_routes(editor_mounts())
    if state.web_packs:
        PromptServer.instance.install(app)
    return app


def twinned(routes: Iterable[web.RouteDef]) -> Iterator[web.RouteDef]:
    """The routes, and each that is not the server's own a second time under `/api`."""
    for route in routes:
        yield route
        if not route.path.startswith(ONCE) and route.path != "/":
            yield web.RouteDef(route.method, f"/api{route.path}", route.handler, route.kwargs)
