"""Servers on real ports beside the tests, and a real browser that looks at them."""

import asyncio
import json
import shutil
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from playwright.sync_api import Browser, BrowserContext, Page, Request, sync_playwright

from engine.config import read_settings
from engine.registry import Registry
from server.app import make_app
from server.config import read_server_settings
from server.serving import started
from server.state import State

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")


@dataclass(frozen=True)
class Live:
    """A server at work."""

    url: str
    state: State

    def ask(self, path: str, body: Any = None, token: str = "") -> Any:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers)) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def run(self, prompt: Any) -> str:
        """Submit a prompt; gives its id."""
        id: str = self.ask("prompt", {"prompt": prompt})["prompt_id"]
        return id

    def ran(self, prompt: Any) -> str:
        """Submit a prompt and wait for its end; gives its id."""
        ended: Future[str] = Future()
        id = str(uuid.uuid4())

        def listener(job: Any, ending: Any) -> None:
            if job.id == id:
                ended.set_result(ending.status)

        self.state.workers.listeners.append(listener)
        self.ask("prompt", {"prompt": prompt, "prompt_id": id})
        ended.result(120)
        self.state.workers.listeners.remove(listener)
        return id

    def idle(self) -> None:
        """End everything that waits or runs."""
        self.ask("queue", {"clear": True})
        self.ask("interrupt", {})


@contextmanager
def live(base: Path, registry: Registry, **flags: Any) -> Iterator[Live]:
    """A server on a free port, on a thread of its own."""
    settings = read_settings(base_directory=base, cache=base / "cache", device="cpu")
    server = read_server_settings(**flags)
    up: Future[Live] = Future()
    stop = threading.Event()

    async def serve() -> None:
        async with started(settings, server, registry) as state:
            runner = web.AppRunner(make_app(state), access_log=None, shutdown_timeout=1.0)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            up.set_result(Live(f"http://127.0.0.1:{runner.addresses[0][1]}/", state))
            await asyncio.to_thread(stop.wait)
            state.workers.cancel()
            await state.hub.close()
            await runner.cleanup()

    def main() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if up.done():
                raise
            up.set_exception(error)

    thread = threading.Thread(target=main)
    thread.start()
    try:
        yield up.result(60)
    finally:
        stop.set()
        thread.join()


@dataclass
class Seen:
    """What must not happen while a page is looked at: errors, and requests to anybody else."""

    origin: str
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.on("request", self._asked)

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.origin, self.origin.replace("http", "ws"), "blob:", "data:")):
            self.foreign.append(request.url)


@contextmanager
def browser() -> Iterator[Browser]:
    with sync_playwright() as tools:
        chromium = tools.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def window(chromium: Browser, width: int = 1280, height: int = 800, **how: Any) -> BrowserContext:
    phone = width < 500
    size: Any = {"width": width, "height": height}
    return chromium.new_context(viewport=size, has_touch=phone, is_mobile=phone, **how)
