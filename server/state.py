"""What every request handler is given: the settings, the nodes, the queue, the connected clients."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from engine.cache import Tiers
from engine.config import Settings
from engine.files import Files
from engine.ports import Env
from engine.registry import Registry
from server.config import ServerSettings
from server.idempotency import Keys
from server.logs import LogLines
from server.metrics import Metrics
from server.object_info import Foreign, ObjectInfo
from server.overview import Titles
from server.packs import WebPack

if TYPE_CHECKING:
    from server.hub import Hub
    from server.queue.store import Queue
    from server.workers import Workers


@dataclass(frozen=True)
class State:
    """One running server.

    Args:
        queue: Jobs, durable.
        hub: Sockets and event streams.
        workers: What runs the jobs.
        foreign: Describes the nodes of custom packs.
        web_packs: What custom packs bring for editors.
        logs: The last lines that were logged.
    """

    settings: Settings
    server: ServerSettings
    registry: Registry
    env: Env
    tiers: Tiers
    queue: "Queue"
    hub: "Hub"
    workers: "Workers"
    foreign: Foreign = dict
    web_packs: tuple[WebPack, ...] = ()
    logs: LogLines = field(default_factory=LogLines)
    metrics: Metrics = field(default_factory=Metrics)
    object_info: ObjectInfo = field(default_factory=ObjectInfo)
    titles: Titles = field(default_factory=Titles)
    keys: Keys = field(default_factory=Keys)

    @property
    def files(self) -> Files:
        """The folders by role."""
        return self.env[Files]


STATE = web.AppKey("state", State)


def state_of(request: web.Request) -> State:
    """The state of the server that answers this request."""
    return request.app[STATE]
