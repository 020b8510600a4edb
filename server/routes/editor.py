"""ComfyUI's own editor at `/editor`, where the package `comfyui-frontend-package` is installed."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

MISSING = "the editor is not installed; `pip install 'latentgraph[editor]'` and start the server again\n"
FRESH = {"Cache-Control": "no-cache", "Pragma": "no-cache", "Expires": "0"}


@cache
def web_root() -> Path | None:
    """The editor's files, if it is installed."""
    spec = find_spec("comfyui_frontend_package")
    root = Path(spec.origin).parent / "static" if spec and spec.origin else None
    return root if root and root.is_dir() else None


@cache
def core_scripts() -> tuple[str, ...]:
    """The editor's own extensions, by the path of their route."""
    root = web_root()
    found = (root / "extensions").rglob("*.js") if root else ()
    return tuple(sorted(f"/{path.relative_to(root).as_posix()}" for path in found if root))


async def editor(request: web.Request) -> web.StreamResponse:
    """The editor's page. It takes its routes from the folder of its own path: here the root."""
    del request
    root = web_root()
    if root is None:
        raise web.HTTPNotFound(text=MISSING)
    return web.FileResponse(root / "index.html", headers=FRESH)


async def user_style(request: web.Request) -> web.StreamResponse:
    """The user's own style of the editor: none."""
    del request
    return web.Response(content_type="text/css", headers=FRESH)


async def templates(request: web.Request) -> web.StreamResponse:
    """The templates of the editor's makers, by category: none; ours stand under /workflow_templates."""
    nothing: list[None] | dict[str, None] = {} if "logo" in request.match_info["index"] else []
    return web.json_response(nothing, headers=FRESH)


def editor_mounts() -> list[web.AbstractRouteDef]:
    """What the editor's page loads beside the API: its folders, and single files, at the root."""
    root = web_root()
    mounts: list[web.AbstractRouteDef] = []
    if root:  # what its scripts name relative to the page
        mounts.append(web.static("/editor/assets", root / "assets"))
    for path in sorted(root.iterdir()) if root else ():
        if path.is_dir() and path.name != "extensions":  # those stand among the packs' own
            mounts.append(web.static(f"/{path.name}", path))
        elif path.is_file() and path.name != "index.html":
            mounts.append(web.get(f"/{path.name}", _file(path)))
    return mounts


def _file(path: Path) -> Handler:
    async def send(request: web.Request) -> web.StreamResponse:
        del request
        return web.FileResponse(path)

    return send


ROUTES = (
    web.get("/editor", editor),
    web.get("/user.css", user_style),
    web.get("/templates/{index:index[^/]*[.]json}", templates),
)
