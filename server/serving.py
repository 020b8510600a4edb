"""A server from its settings: opens the queue, starts the workers, listens, stops in order."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from engine.cache.disk import DiskTier
from engine.config import Settings, make_env, open_tiers
from engine.drafts import sweep
from engine.files import Files
from engine.registry import Registry, installed
from engine.runner import Engine
from server.app import make_app
from server.config import ServerSettings
from server.hub import Hub
from server.live import Streams
from server.lock import Lock
from server.metrics import Metrics
from server.queue.opening import open_database
from server.queue.store import Queue
from server.state import State
from server.workers import Workers

log = logging.getLogger(__name__)
TIDY_S = 30.0
"""Seconds between prunings of the history and looks for jobs whose worker is gone."""


def database_url(settings: Settings, server: ServerSettings) -> str:
    """Where the queue is kept."""
    default = settings.base_directory.resolve() / "user" / "latentgraph.sqlite"
    return server.database or f"sqlite:///{default}"


@asynccontextmanager
async def started(
    settings: Settings, server: ServerSettings, registry: Registry | None = None
) -> AsyncIterator[State]:
    """A server's state with its workers at work, until the block ends; it listens to nothing by itself.

    Raises:
        HeldError: Another server has the base directory.
        SQLAlchemyError: The queue's database cannot be opened.
    """
    lock = Lock(settings.base_directory / "user" / "server.lock")
    with contextlib.ExitStack() as stack:
        stack.callback(lock.close)
        queue = Queue(open_database(database_url(settings, server)), server.max_queue)
        stack.callback(queue.close)
        registry = registry or installed()
        tiers = open_tiers(settings)
        for tier in tiers.tiers:
            if isinstance(tier, DiskTier):
                stack.callback(tier.close)
        env = make_env(settings, registry, tiers)
        _prepare(env[Files])
        engine = stack.enter_context(Engine(registry, env, tiers))
        for id in await asyncio.wrap_future(queue.recover(all_owners=server.database is None)):
            log.error("job %s was given up: the process ended each time it was begun", id)
        queue.recount()
        hub = Hub()
        metrics = Metrics(version("latentgraph"))
        workers = Workers(engine, queue, hub, Streams(), server, metrics)
        state = State(settings, server, registry, env, tiers, queue, hub, workers, metrics=metrics)
        workers.start()
        tidying = asyncio.get_running_loop().create_task(_tidy(state))
        try:
            yield state
        finally:
            tidying.cancel()
            await workers.stop()
            await hub.close()


def _prepare(files: Files) -> None:
    """Make the folders; remove the drafts that a killed process left, and last time's previews."""
    for role in ("input", "output", "temp"):
        folder = files.folders[role][0]
        with contextlib.suppress(OSError):  # read-only: jobs say so when they write
            folder.mkdir(parents=True, exist_ok=True)
            sweep(folder)
    for path in files.folders["temp"][0].rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file():
                path.unlink()


async def _tidy(state: State) -> None:
    """Keep the history within its bounds, and free the jobs of workers that are gone."""
    while True:
        try:
            await asyncio.wrap_future(
                state.queue.prune(state.server.history_entries, state.server.history_days)
            )
            await asyncio.wrap_future(state.queue.recover(all_owners=False))
            await asyncio.to_thread(state.queue.recount)
        except SQLAlchemyError as error:
            log.error("the history could not be pruned: %s", error)
        await asyncio.sleep(TIDY_S)


async def serve(settings: Settings, server: ServerSettings, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM: then lease nothing more, finish or put back what runs, and return.

    Args:
        ready: Told the address once requests are answered.

    Raises:
        OSError: The address cannot be listened on.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with started(settings, server) as state:
        runner = web.AppRunner(
            make_app(state), access_log=None, handler_cancellation=True, shutdown_timeout=1.0
        )
        await runner.setup()
        for host in server.host.split(","):
            await web.TCPSite(runner, host.strip(), server.port, backlog=1024).start()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        ready(f"http://{_shown(server.host.split(',')[0].strip())}:{_port(runner, server.port)}")
        await stop.wait()
        state.workers.stopping = True
        await state.workers.stop()
        await state.hub.close()
        await runner.cleanup()


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else "127.0.0.1" if host == "0.0.0.0" else host


def _port(runner: web.AppRunner, wanted: int) -> int:
    for address in runner.addresses:
        return int(address[1])
    return wanted
