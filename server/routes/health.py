"""Whether the server lives, and what it has counted."""

from aiohttp import web

from server.state import state_of

TEXT = "text/plain; version=0.0.4; charset=utf-8"


async def health(request: web.Request) -> web.StreamResponse:
    """The server answers: nothing more is asked or told, so that it needs no token."""
    del request
    return web.json_response({"status": "ok"})


async def metrics(request: web.Request) -> web.StreamResponse:
    """Counters and timings, in Prometheus' text format."""
    return web.Response(body=state_of(request).metrics.text(), headers={"Content-Type": TEXT})


ROUTES = (
    web.get("/health", health),
    web.get("/api/v2/health", health),
    web.get("/metrics", metrics),
)
