"""States of real parts for tests of routes that use neither the queue nor the sockets nor the workers."""

import importlib
import pkgutil
from pathlib import Path
from typing import Any

from aiohttp import web

import server.routes
from engine.config import make_env, open_tiers, read_settings
from engine.registry import Registry
from server.app import twinned
from server.config import read_server_settings
from server.state import STATE, State


def state_at(base: Path, registry: Registry, **facts: Any) -> State:
    settings = read_settings(base_directory=base, cache=Path("off"), device="cpu")
    tiers = open_tiers(settings)
    unused: Any = None
    env = make_env(settings, registry, tiers)
    parts = {"queue": unused, "hub": unused, "workers": unused, **facts}
    return State(settings, read_server_settings(), registry, env, tiers, **parts)


def app_of(state: State, routes: tuple[web.RouteDef, ...]) -> web.Application:
    app = web.Application(middlewares=[state.metrics.middleware])
    app[STATE] = state
    app.add_routes(list(twinned(routes)))
    return app


def all_routes() -> tuple[web.RouteDef, ...]:
    """The routes of all modules."""
    names = [m.name for m in pkgutil.walk_packages(server.routes.__path__, "server.routes.")]
    modules = [importlib.import_module(name) for name in names]
    return tuple(route for module in modules for route in getattr(module, "ROUTES", ()))
