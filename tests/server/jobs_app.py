"""A server of the versioned API over tiny nodes, in the test's own loop; and what to send to it."""

import asyncio
import io
import json
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import PIL.Image
from aiohttp import ClientSession as Client
from aiohttp.test_utils import TestServer

from engine.config import read_settings
from engine.files import Files
from engine.node import node
from engine.ports import Given, Port, Range, Shown
from engine.registry import Registry
from engine.steps import Progress, Steps, call
from server.app import make_app
from server.config import ServerSettings
from server.serving import started
from server.state import State

Picture = Annotated[Any, Port("PICTURE")]
GATES: dict[str, threading.Event] = {}
RAN: list[str] = []
BEGUN: dict[str, threading.Event] = {}


def gate(name: str) -> threading.Event:
    """What a node `Gate` of this name waits for; step by step, so that it can be stopped."""
    BEGUN[name] = threading.Event()
    return GATES.setdefault(name, threading.Event())


async def begun(name: str) -> None:
    """Wait until the node of a gate runs."""
    assert await asyncio.to_thread(BEGUN[name].wait, 20)


class Tick:
    """What a gate asks again and again, so that it can be stopped between two of its steps."""

    def batch_key(self, request: str) -> str:
        return request

    def answer(self, requests: Sequence[str]) -> list[bool]:
        return [GATES[request].wait(0.005) for request in requests]


TICK = Tick()


@node("Paint", category="tiny")
def paint(
    *, color: Annotated[int, Range(0, 0xFFFFFF)] = 0, size: Annotated[int, Range(1, 4096)] = 8
) -> Picture:
    """A picture of one colour."""
    RAN.append("Paint")
    return PIL.Image.new("RGB", (size, size), (color >> 16, color >> 8 & 255, color & 255))


@node("Keep", category="tiny", is_output=True)
def keep(*, picture: Picture, prefix: str = "p", files: Annotated[Files, Given()]) -> Shown[None]:
    """Write a picture."""
    RAN.append("Keep")
    return Shown(None, {"images": [files.write("output", prefix, ".png", png(picture)).as_link()]})


@node("Gate", category="tiny")
def gated(*, picture: Picture, name: str = "") -> Steps[Picture]:
    """A picture, once the gate is open."""
    yield Progress(1, 4, preview=picture)
    BEGUN[name].set()
    while not (yield from call(TICK, name))[0]:
        pass
    return picture


@node("Say", category="tiny", is_output=True)
def say(*, text: str = "hello") -> Shown[None]:
    """Show a text."""
    return Shown(None, {"text": [text]})


@node("Quiet", category="tiny", is_output=True)
def quiet(*, picture: Picture) -> None:
    """An output that shows nothing."""


@node("Raise", category="tiny")
def fail(*, picture: Picture) -> Picture:
    """Fail."""
    raise ValueError("out of order")


def png(picture: Any) -> bytes:
    """A picture's file."""
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def painted(color: int, size: int = 8) -> bytes:
    """The file of `Paint`."""
    return png(PIL.Image.new("RGB", (size, size), (color >> 16, color >> 8 & 255, color & 255)))


def tiny(*more: Any) -> Registry:
    """The tiny nodes, and others."""
    return Registry().with_nodes(paint, keep, gated, say, quiet, fail, *more)


def graph(color: int = 1, prefix: str = "p", through: str = "", **inputs: Any) -> dict[str, Any]:
    """Paint, perhaps something in between, and keep."""
    found: dict[str, Any] = {
        "1": {"class_type": "Paint", "inputs": {"color": color, "size": 8}, "_meta": {"title": "Colour"}},
        "9": {"class_type": "Keep", "inputs": {"picture": ["1", 0], "prefix": prefix}},
    }
    if through:
        found["5"] = {"class_type": through, "inputs": {"picture": ["1", 0], **inputs}}
        found["9"]["inputs"]["picture"] = ["5", 0]
    return found


@asynccontextmanager
async def served(base: Path, registry: Registry, **settings: Any) -> AsyncIterator[tuple[Client, State]]:
    """A server over a base directory and a client of it, until the block ends."""
    paths = read_settings(base_directory=base, cache=Path("off"), device="cpu")
    async with (
        started(paths, ServerSettings(**settings), registry) as state,
        TestServer(make_app(state)) as server,
        Client(server.make_url("/")) as client,
    ):
        yield client, state


async def submit(client: Client, workflow: Any, status: int = 201, headers: Any = None, **more: Any) -> Any:
    """Submit a job; what was answered."""
    body = {"workflow": workflow, **more}
    async with client.post("/api/v2/jobs", json=body, headers=headers or {}) as response:
        found = await response.json()
        assert response.status == status, (response.status, found)
        return found


async def shown(client: Client, id: str) -> Any:
    """A job as it is now."""
    async with client.get(f"/api/v2/jobs/{id}") as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def ended(client: Client, id: str) -> Any:
    """A job once it has ended; waits by long polling."""
    after = ""
    async with asyncio.timeout(60):
        while True:
            async with client.get(f"/api/v2/jobs/{id}/events?wait=20{after}") as response:
                assert response.status == 200, await response.text()
                found = await response.json()
            if found["ended"]:
                return await shown(client, id)
            after = f"&after={found['after']}"


async def run_once(client: Client, workflow: Any, **more: Any) -> Any:
    """Submit a job and wait for its end."""
    return await ended(client, (await submit(client, workflow, **more))["id"])


async def frames(client: Client, path: str, until: Callable[[str, Any], bool], **headers: str) -> list[Any]:
    """Server-sent events as (number, type, data), until one fulfils a condition or the stream ends."""
    found: list[Any] = []
    async with client.get(path, headers=headers) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        frame: dict[str, str] = {}
        async for raw in response.content:
            line = raw.decode().rstrip("\n")
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                frame[name] = value
            elif not line and frame:
                found.append((int(frame["id"]), frame["event"], json.loads(frame["data"])))
                frame = {}
                if until(*found[-1][1:]):
                    break
    return found
