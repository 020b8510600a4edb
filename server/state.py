"""What every request handler is given: the settings, the nodes, the queue, the connected clients."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from engine.cache import Tiers
from engine.config import Settings
from engine.files import Files
from engine.ports import Env
from engine.registry import Registry
from server.config import ServerSettings

if TYPE_CHECKING:
    from server.hub import Hub
    from server.queue.store import Queue
    from server.worker import Workers


@dataclass(frozen=True)
class State:
    """One running server.

    Args:
        queue: Jobs, durable.
        hub: Sockets and event streams.
        workers: What runs the jobs.
    """

    settings: Settings
    server: ServerSettings
    registry: Registry
    env: Env
    tiers: Tiers
    queue: "Queue"
    hub: "Hub"
    workers: "Workers"

    @property
    def files(self) -> Files:
        """The folders by role."""
        return self.env[Files]


STATE = web.AppKey("state", State)


def state_of(request: web.Request) -> State:
    """The state of the server that answers this request."""
    return request.app[STATE]
