"""A whole server within the test's process, listening on a port of its own; and nodes to try it with."""

import json
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import PIL.Image
from aiohttp import ClientSession, ClientWebSocketResponse, CookieJar, WSMsgType, web

from engine.config import read_settings
from engine.node import node
from engine.ports import Port
from engine.registry import Registry
from engine.steps import Progress, Steps, call
from server.app import make_app
from server.config import read_server_settings
from server.connections import BODY_S, HEAD_S, make_runner
from server.serving import started
from server.state import State

Image = Annotated[Any, Port("IMAGE")]
LET_GO = threading.Event()
"""Ends `Hold`."""


@dataclass(frozen=True)
class Waits:
    """A model each of whose passes takes a moment."""

    weights: str = "waits"

    def batch_key(self, request: Any) -> str:
        return "waits"

    def answer(self, requests: Sequence[Any]) -> list[Any]:
        LET_GO.wait(0.005)
        return list(requests)


@node("Hold", category="toys")
def hold(*, image: Image, mark: int = 0) -> Steps[Image]:
    """Pass an image on once it is let go."""
    for i in range(10**6):
        yield Progress(i + 1, 10**6)
        yield from call(Waits(), mark)
        if LET_GO.is_set():
            break
    return image


@node("Break", category="toys")
def broken(*, image: Image, mark: int = 0) -> Image:
    """Raise."""
    raise RuntimeError("out of order")


@node("Preview", category="toys")
def previewed(*, image: Image, mark: int = 0) -> Steps[Image]:
    """Show pictures while it works."""
    picture = PIL.Image.new("RGB", (64, 32), (200, 30, 60))
    yield Progress(1, 2, ("JPEG", picture, 16))
    yield Progress(2, 2, ("PNG", picture, None))
    return image


NODES = (hold, broken, previewed)


@dataclass
class Served:
    """A running server, and a session with it."""

    state: State
    session: ClientSession
    address: str
    runner: web.AppRunner

    async def get(self, path: str, **how: Any) -> Any:
        async with self.session.get(self.address + path, **how) as answer:
            return await answer.json(content_type=None)

    async def post(self, path: str, body: Any = None, **how: Any) -> tuple[int, Any]:
        """Status and JSON of the answer, None where it is empty."""
        async with self.session.post(self.address + path, json=body, **how) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None

    async def send(self, prompt: Any, **more: Any) -> str:
        """Send a prompt that is accepted; its id."""
        status, told = await self.post("/prompt", {"prompt": prompt, **more})
        assert status == 200, told
        id: str = told["prompt_id"]
        return id

    def socket(self, client: str | None = None, **how: Any) -> Any:
        query = f"?clientId={client}" if client else ""
        return self.session.ws_connect(f"{self.address}/ws{query}", **how)

    async def ended(self, *ids: str) -> None:
        """Wait for the ends of jobs, until all were told of them."""
        streams = self.state.workers.streams
        async with self.socket() as socket:
            for id in ids:
                while not await self.get(f"/history/{id}"):
                    await heard(socket)
                while streams.waits(id) and (stream := streams.of(id)):
                    await stream.wait(stream.last, 30)


@asynccontextmanager
async def served(
    base: Path, registry: Registry, head_s: float = HEAD_S, body_s: float = BODY_S, **server: Any
) -> AsyncIterator[Served]:
    """A server on a free port of 127.0.0.1, with our nodes beside the installed ones."""
    LET_GO.clear()
    settings = read_settings(base_directory=base, cache=base / "cache", device="cpu")
    async with started(settings, read_server_settings(**server), registry.with_nodes(*NODES)) as state:
        runner = make_runner(make_app(state, body_s), head_s)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as session:
                yield Served(state, session, f"http://127.0.0.1:{runner.addresses[0][1]}", runner)
        finally:
            LET_GO.set()
            await state.hub.close()
            await runner.cleanup()


async def heard(socket: ClientWebSocketResponse) -> Any:
    """The next message: decoded, or bytes."""
    message = await socket.receive(timeout=30)
    assert message.type in (WSMsgType.TEXT, WSMsgType.BINARY), message
    return message.json() if message.type is WSMsgType.TEXT else message.data


async def heard_until_end(socket: ClientWebSocketResponse, id: str) -> list[Any]:
    """All messages to the last of a job."""
    found = []
    while True:
        found.append(message := await heard(socket))
        if message == {"type": "executing", "data": {"node": None, "prompt_id": id}}:
            return found


def pair(color: int = 0, through: str | None = None, prefix: str = "pair") -> dict[str, Any]:
    """EmptyImage 1 → (a node 3 →) SaveImage 2."""
    empty = {"width": 16, "height": 8, "batch_size": 1, "color": color}
    graph: dict[str, Any] = {
        "1": {"class_type": "EmptyImage", "inputs": empty},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
    }
    if through:
        graph["3"] = {"class_type": through, "inputs": {"image": ["1", 0], "mark": color}}
        graph["2"]["inputs"]["images"] = ["3", 0]
    return graph
