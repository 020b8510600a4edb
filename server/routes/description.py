"""The OpenAPI document of the routes that this server has."""

from collections.abc import Iterator

from aiohttp import web

from server.openapi import document
from server.system import installed


async def openapi(request: web.Request) -> web.StreamResponse:
    """The document, as of the routes that are there."""
    return web.json_response(document(registered(request.app), installed("latentgraph")))


def registered(app: web.Application) -> Iterator[tuple[str, str]]:
    """Methods and path templates of an app's routes; folders of files that are served whole left out."""
    for route in app.router.routes():
        if route.resource is not None and not isinstance(route.resource, web.StaticResource):
            yield route.method, route.resource.canonical


ROUTES = (web.get("/openapi.json", openapi),)
