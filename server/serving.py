"""A server from its settings: opens the queue, starts the workers, listens, stops in order."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from engine.config import Settings
from engine.drafts import sweep
from engine.files import Files
from engine.registry import Registry
from server.app import make_app
from server.assembly import assembled
from server.assets import Assets
from server.compat.foreign_info import object_info
from server.compat.packs import Packs
from server.compat.prompt_server import PromptServer
from server.config import ServerSettings
from server.connections import limit_connections, make_runner, most_connections
from server.elsewhere import Elsewhere
from server.hub import Hub
from server.live import Streams
from server.lock import Lock
from server.metrics import Metrics
from server.object_info import Foreign, Info
from server.packs import WebPack
from server.previews import from_pack
from server.queue.opening import open_database
from server.queue.owners import recover_lost
from server.queue.store import Queue
from server.state import State
from server.webhooks import Webhooks
from server.worker import Told, Worker
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
        assembly = stack.enter_context(assembled(settings, server, registry))
        engine = assembly.engine
        _prepare(engine.env[Files], settings.base_directory / "user")
        for id in await asyncio.to_thread(_recovered, queue, server):
            log.error("job %s was given up: the process ended each time it was begun", id)
        queue.recount()
        hub = Hub()
        metrics = Metrics(version("latentgraph"))
        workers = Workers(engine, queue, hub, Streams(), settings, server, metrics)
        state = State(
            settings,
            server,
            engine.registry,
            engine.env,
            engine.tiers,
            queue,
            hub,
            workers,
            foreign=foreign_of(assembly.packs),
            web_packs=tuple(WebPack(p.name, p.folder, p.web) for p in assembly.packs.packs),
            metrics=metrics,
        )
        logging.getLogger().addHandler(state.logs)
        stack.callback(logging.getLogger().removeHandler, state.logs)
        _attach_packs(state)
        workers.start()
        tasks = [_tidy(state)]
        if server.database is not None:  # others may take jobs from there
            tasks.append(Elsewhere(queue, workers).run())
        running = [asyncio.get_running_loop().create_task(task) for task in tasks]
        try:
            yield state
        finally:
            for task in running:
                task.cancel()
            await workers.stop()
            await hub.close()


def _recovered(queue: Queue, server: ServerSettings) -> list[str]:
    """Put back what ran when the last server ended; a database that is named may have other workers."""
    return recover_lost(queue) if server.database else queue.recover(all_owners=True).result()


def foreign_of(packs: Packs) -> Foreign:
    """How the classes of custom packs describe themselves, each time anew: their choices may change."""

    def described() -> dict[str, Info]:
        found = {n: object_info(f.cls, n, f.title, f.module) for n, f in packs.classes.items()}
        return {name: info for name, info in found.items() if info is not None}

    return described


@contextmanager
def working(settings: Settings, server: ServerSettings, told: Told) -> Iterator[Worker]:
    """A worker of a process that serves nothing; it leases from the server's queue."""
    with contextlib.ExitStack() as stack:
        queue = Queue(open_database(database_url(settings, server)), server.max_queue)
        stack.callback(queue.close)
        assembly = stack.enter_context(assembled(settings, server))
        yield Worker(assembly.engine, queue, told, server.jobs_at_once)


def settled() -> None:
    """Leave what was loaded at the start out of garbage collections: a full one stopped all for 180 ms."""
    gc.collect()
    gc.freeze()


def _attach_packs(state: State) -> None:
    """Send what packs send (`PromptServer.instance.send_sync`) to the sockets, from any thread."""
    if not state.web_packs:
        return
    loop = asyncio.get_running_loop()

    def send(event: Any, data: Any, client: str | None) -> None:
        if isinstance(event, int):
            message = from_pack(event, data, state.server.preview_size)
            if message is not None:
                loop.call_soon_threadsafe(state.hub.send_bytes, client, message)
        else:
            loop.call_soon_threadsafe(state.hub.send, client, str(event), data)

    PromptServer.instance.attach(loop, send)


def _prepare(files: Files, user: Path) -> None:
    """Make the folders; remove the drafts that a killed process left, and last time's previews."""
    folders = [files.folders[role][0] for role in ("input", "output", "temp")]
    for folder in (*folders, user):
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
            await asyncio.to_thread(recover_lost, state.queue)
            await asyncio.to_thread(state.queue.recount)
            await asyncio.wrap_future(Assets(state.queue, state.files).sweep())
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
        runner = make_runner(make_app(state))
        await runner.setup()
        limit_connections(runner, *most_connections())
        for host in server.host.split(","):
            await web.TCPSite(runner, host.strip(), server.port, backlog=1024).start()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, _told_to_stop, stop)
        settled()
        ready(f"http://{_shown(server.host.split(',')[0].strip())}:{_port(runner, server.port)}")
        delivering = loop.create_task(Webhooks(state).run())
        await stop.wait()
        delivering.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await delivering
        log.info("stopping: what runs gets %g s to end, then it waits again", server.stop_seconds)
        state.workers.stopping = True
        await state.workers.stop()
        await state.hub.close()
        await runner.cleanup()
    log.info("stopped")


def _told_to_stop(stop: asyncio.Event) -> None:
    """Stop in order; told again, at once: what was promised is on disk, the rest is run again."""
    if stop.is_set():
        os._exit(130)
    stop.set()


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else "127.0.0.1" if host == "0.0.0.0" else host


def _port(runner: web.AppRunner, wanted: int) -> int:
    for address in runner.addresses:
        return int(address[1])
    return wanted
