"""Who may ask: Host and Origin, the token; and the one place where an error becomes an answer."""

import hmac
import ipaddress
import logging
from collections.abc import Awaitable, Callable
from urllib.parse import unquote, urlsplit

from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from server.config import ServerSettings
from server.state import state_of
from server.wire import Refused

log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
OPEN = ("/health", "/api/health", "/api/v2/health", "/", "/page")
"""Routes that need no token; the page, and its files under `/page/`, hold nothing and ask for it."""
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a refusal with its status, and a fault of ours with a 500 that shows nothing of the inside."""
    try:
        response = await handler(request)
    except Refused as refused:
        response = answer_of(request, refused)
    except web.HTTPException as raised:
        response = told(request, raised)
    except SQLAlchemyError as error:
        log.error("the database does not answer: %s", error)
        busy = Refused(
            503, "storage_unavailable", "the queue's database cannot be written; is the disk full?"
        )
        response = answer_of(request, busy)
    except Exception:
        log.exception("%s %s", request.method, request.path)
        response = answer_of(request, Refused(500, "internal", "internal error; the server's log says more"))
    if not response.prepared:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        _let_read(request, response)
    return response


def told(request: web.Request, raised: web.HTTPException) -> web.Response:
    """An answer that was raised: with the text that its handler gave it, else as JSON."""
    if raised.text == f"{raised.status}: {raised.reason}" and raised.status >= 400:
        code, method = raised.reason.lower().replace(" ", "_"), request.method
        response = answer_of(
            request, Refused(raised.status, code, f"{raised.reason}: {method} {request.path}")
        )
        if "Allow" in raised.headers:
            response.headers["Allow"] = raised.headers["Allow"]
        return response
    headers = {k: v for k, v in raised.headers.items() if k not in ("Content-Type", "Content-Length")}
    return web.Response(status=raised.status, text=raised.text, headers=headers)


def answer_of(request: web.Request, refused: Refused) -> web.Response:
    """A refusal as JSON: the v2 envelope under /api/v2, the classic one elsewhere."""
    if request.path.startswith("/api/v2"):
        body = {"error": {"code": refused.code, "message": refused.message, "details": refused.details}}
    else:
        error = {
            "type": refused.code,
            "message": refused.message,
            "details": "",
            "extra_info": refused.details,
        }
        body = {"error": error, "node_errors": {}}
    headers = {"Retry-After": "1"} if refused.status in (409, 429, 503) else {}
    return web.json_response(body, status=refused.status, headers=headers)


@web.middleware
async def callers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what comes from another site, under a foreign name (DNS rebinding), or without the token."""
    settings = state_of(request).server
    if not host_allowed(request.headers.get("Host", ""), settings):
        raise Refused(403, "host_refused", "this Host is not served; add it to the server's allowed_hosts")
    origin = request.headers.get("Origin")
    if origin is not None and not origin_allowed(origin, request, settings):
        raise Refused(403, "origin_refused", "pages of other sites may not call; see allowed_origins")
    if _cross_site(request) and "*" not in settings.allowed_origins and origin is None:
        raise Refused(403, "origin_refused", "pages of other sites may not call; see allowed_origins")
    if request.method == "OPTIONS":
        return web.Response()
    if settings.token and not _open(request.path) and not _has_token(request, settings.token):
        raise Refused(401, "token_missing", "send the header `Authorization: Bearer <token>`")
    return await handler(request)


def host_allowed(host: str, settings: ServerSettings) -> bool:
    """Whether a Host header names this server: loopback, an address it listens on, or an allowed name."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost") or "*" in settings.allowed_hosts:
        return True
    if name in (h.strip() for h in (*settings.allowed_hosts, *settings.host.split(","))):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    everywhere = {"0.0.0.0", "::", ""} & {h.strip() for h in settings.host.split(",")}
    return address.is_loopback or bool(everywhere)  # a bare address cannot be rebound


def origin_allowed(origin: str, request: web.Request, settings: ServerSettings) -> bool:
    """Whether a page of this origin may call: our own pages, and those of the allowed origins."""
    if "*" in settings.allowed_origins or origin in settings.allowed_origins:
        return True
    try:
        there, here = urlsplit(origin), urlsplit(f"//{request.headers.get('Host', '')}")
        ports = (there.port or {"http": 80, "https": 443}.get(there.scheme), here.port)
    except ValueError:
        return False
    if not there.hostname or there.hostname != here.hostname:
        return False
    return ports[1] is None or ports[0] == ports[1]  # a proxy may leave the port out of Host


def _cross_site(request: web.Request) -> bool:
    """Whether a browser says that another site's page caused this, where it sends no Origin."""
    return request.headers.get("Sec-Fetch-Site") == "cross-site" and (
        request.method in UNSAFE or request.headers.get("Sec-Fetch-Mode") == "websocket"
    )


def _open(path: str) -> bool:
    return path in OPEN or path.startswith("/page/")


def _has_token(request: web.Request, token: str) -> bool:
    given = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
    given = given or request.query.get("token", "") or unquote(request.cookies.get("latentgraph_token", ""))
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def _let_read(request: web.Request, response: web.StreamResponse) -> None:
    """Say to the browser that a page of an allowed origin may read this answer."""
    settings, origin = state_of(request).server, request.headers.get("Origin")
    if origin and settings.allowed_origins and origin_allowed(origin, request, settings):
        response.headers["Access-Control-Allow-Origin"] = "*" if "*" in settings.allowed_origins else origin
        response.headers["Access-Control-Allow-Methods"] = "POST, GET, DELETE, PUT, PATCH, HEAD, OPTIONS"
        response.headers["Access-Control-Allow-Headers"] = "Content-Type, Authorization, Idempotency-Key"
        response.headers["Vary"] = "Origin"
