"""What packs know of the server: routes that they add, messages that they send, prompts that they change."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from aiohttp import web

from server.compat.context import running_now

log = logging.getLogger(__name__)

Sender = Callable[[str, Any, str | None], None]
"""Sends a message (event, data, id of a client or None for all) from any thread."""
OnPrompt = Callable[[dict[str, Any]], Any]


def _drop(event: str, data: Any, client: str | None) -> None:
    log.debug("nobody listens to %s from a pack (%s, %s)", event, type(data).__name__, client)


class BinaryEventTypes:
    """The kinds of binary messages."""

    PREVIEW_IMAGE = 1
    UNENCODED_PREVIEW_IMAGE = 2
    TEXT = 3
    PREVIEW_IMAGE_WITH_METADATA = 4


class PromptServer:
    """The server as packs know it, as `PromptServer.instance`.

    Args:
        routes: Collects the routes that packs add; `install` puts them into an application.
        send: Where their messages go; set by the server.
    """

    instance: ClassVar["PromptServer"]

    def __init__(self) -> None:
        self.routes = web.RouteTableDef()
        self.app = web.Application()
        self.on_prompt_handlers: list[OnPrompt] = []
        self.send: Sender = _drop
        self.supports = ["custom_nodes_from_web"]
        self.number = 0
        self.port, self.address = 8188, "127.0.0.1"
        self.last_node_id: str | None = None
        self.web_root = ""
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The server's event loop."""
        return self._loop or asyncio.get_event_loop()

    @property
    def client_id(self) -> str | None:
        """The client whose prompt is being run."""
        running = running_now()
        found = running.info.hidden.get("CLIENT_ID") if running else None
        return found if isinstance(found, str) else None

    @property
    def last_prompt_id(self) -> str | None:
        """The prompt that is being run."""
        running = running_now()
        return running.info.name if running else None

    def attach(self, loop: asyncio.AbstractEventLoop, send: Sender) -> None:
        """Have messages sent; `send` may be called from any thread."""
        self._loop, self.send = loop, send

    def install(self, app: web.Application) -> None:
        """Add the packs' routes, each with and without `/api`; one that is taken is left out."""
        for route in self.routes:
            if isinstance(route, web.RouteDef):
                paths = (route.path, f"/api{route.path}")
                for found in (web.RouteDef(route.method, p, route.handler, route.kwargs) for p in paths):
                    self._add(app, found)
            else:
                self._add(app, route)
        for resource in self.app.router.resources():
            app.router.register_resource(resource)

    def _add(self, app: web.Application, route: web.AbstractRouteDef) -> None:
        try:
            app.add_routes([route])
        except (RuntimeError, ValueError) as error:
            log.warning("a pack's route %s is left out: %s", route, error)

    def send_sync(self, event: Any, data: Any, sid: str | None = None) -> None:
        """Send a message, to one client or to all; from any thread."""
        self.send(event, data, sid)

    async def send_json(self, event: str, data: Any, sid: str | None = None) -> None:
        """The same within a coroutine."""
        self.send(event, data, sid)

    def send_progress_text(self, text: str, node_id: str, sid: str | None = None) -> None:
        """Show a text at a node while it runs."""
        self.send("progress_text", {"node": node_id, "text": text}, sid or self.client_id)

    def add_on_prompt_handler(self, handler: OnPrompt) -> None:
        """Have a function see, and change, each request that queues a prompt."""
        self.on_prompt_handlers.append(handler)

    def trigger_on_prompt(self, json_data: Mapping[str, Any]) -> dict[str, Any]:
        """A request as the packs' handlers leave it; a handler that raises is passed over."""
        found = dict(json_data)
        for handler in self.on_prompt_handlers:
            try:
                changed = handler(found)
            except Exception:
                log.exception("a pack's handler of prompts raises")
                continue
            found = changed if isinstance(changed, dict) else found
        return found


PromptServer.instance = PromptServer()
