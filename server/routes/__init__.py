"""The routes, one module a subject; each states its own in `ROUTES`."""

from aiohttp import web

ROUTES: tuple[web.RouteDef, ...] = ()
