"""The page at `/`: queue, progress, gallery, graph, and forms that run a workflow; plain files, no build."""

from functools import cache
from pathlib import Path

from aiohttp import web

from server.routes.editor import editor
from server.state import state_of

FOLDER = Path(__file__).parents[1] / "page"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "manifest-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@cache
def files() -> dict[str, Path]:
    """The files that the page loads, by name."""
    return {path.name: path for path in FOLDER.iterdir() if path.suffix in KINDS}


async def root(request: web.Request) -> web.StreamResponse:
    """The page, or the editor where the setting `root_page` says so."""
    if state_of(request).server.root_page == "editor":
        return await editor(request)
    return await page(request)


async def page(request: web.Request) -> web.StreamResponse:
    """The page, whatever stands at `/`."""
    del request
    headers = {**HEADERS, "Content-Type": "text/html; charset=utf-8"}
    return web.FileResponse(FOLDER / "index.html", headers=headers)


async def page_file(request: web.Request) -> web.StreamResponse:
    """A script, style or icon of the page; asked for anew each time, answered 304 where it is known."""
    name = request.match_info["name"]
    path = files().get(name)
    if path is None:
        raise web.HTTPNotFound(text=f"the page has no file {name!r:.80}")
    return web.FileResponse(path, headers={**HEADERS, "Content-Type": f"{KINDS[path.suffix]}; charset=utf-8"})


ROUTES = (
    web.get("/", root),
    web.get("/page", page),
    web.get("/page/{name}", page_file),
)
