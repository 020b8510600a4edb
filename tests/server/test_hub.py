"""Sockets: who hears what; one that does not read is dropped and holds up nobody."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from engine.config import read_settings
from server import serving
from server.app import make_app
from server.config import ServerSettings
from server.hub import MOST_BYTES, MOST_WAITING
from server.state import State
from tests.server.faulty import TINY


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[State]:
    settings = read_settings(base_directory=tmp_path, cache=Path("off"), device="cpu")
    async with serving.started(settings, ServerSettings(), TINY) as state:
        yield state


@pytest.fixture
async def client(state: State, aiohttp_client: Any) -> Any:
    return await aiohttp_client(make_app(state))


async def greeted(client: Any, sid: str, **negotiated: Any) -> Any:
    socket = await client.ws_connect(f"/ws?clientId={sid}", max_msg_size=0)
    assert (await socket.receive_json())["data"]["sid"] == sid
    if negotiated:
        await socket.send_json({"type": "feature_flags", "data": negotiated})
        assert (await socket.receive_json())["type"] == "feature_flags"
    return socket


async def silent(client: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A socket that is opened and never read from."""
    reader, writer = await asyncio.open_connection(client.server.host, client.server.port, limit=1_024)
    key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13"
    writer.write(
        f"GET /ws?clientId=slow HTTP/1.1\r\nHost: {client.server.host}:{client.server.port}\r\n"
        f"Upgrade: websocket\r\nConnection: Upgrade\r\n{key}\r\n\r\n".encode()
    )
    assert b"101" in await reader.readline()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    return reader, writer


async def until(hub: Any, count: int) -> None:
    async with asyncio.timeout(10):
        while hub.count != count:
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("size", "count"), [(1_000_000, 2 * MOST_BYTES // 1_000_000), (2_000, 5 * MOST_WAITING)]
)
async def test_a_socket_that_does_not_read_is_dropped_and_the_others_hear_everything(
    state: State, client: Any, size: int, count: int
) -> None:
    good = await greeted(client, "good")
    _, writer = await silent(client)
    await until(state.hub, 2)
    text = "x" * size

    burst = 1_000_000 // size
    for first in range(0, count, burst):
        for i in range(first, first + burst):
            state.hub.send(None, "news", {"i": i, "text": text})
        for i in range(first, first + burst):
            assert (await good.receive_json())["data"]["i"] == i
    await until(state.hub, 1)
    writer.close()
    await good.close()


async def test_a_message_reaches_all_sockets_of_its_client_or_of_all(state: State, client: Any) -> None:
    a, b, c = [await greeted(client, sid) for sid in ("one", "one", "two")]
    state.hub.send("one", "mine", {"n": 1})
    state.hub.send(None, "ours", {"n": 2})
    state.hub.send("nobody", "lost", {})
    for socket in (a, b):
        assert [(await socket.receive_json())["type"] for _ in range(2)] == ["mine", "ours"]
    assert (await c.receive_json())["type"] == "ours"
    for socket in (a, b, c):
        await socket.close()
    await until(state.hub, 0)


async def test_pictures_are_described_to_those_that_asked_for_it(state: State, client: Any) -> None:
    plain = await greeted(client, "plain")
    wide = await greeted(client, "wide", supports_preview_metadata=True)
    odd = await greeted(client, "odd", supports_preview_metadata="yes")
    state.hub.send_preview(None, struct.pack(">I", 1) + b"p", struct.pack(">I", 4) + b"d")
    got = [(await socket.receive_bytes())[:4] for socket in (plain, wide, odd)]
    assert [struct.unpack(">I", head)[0] for head in got] == [1, 4, 1]
    for socket in (plain, wide, odd):
        await socket.close()


async def test_only_the_first_message_negotiates_and_nonsense_is_passed_over(
    state: State, client: Any
) -> None:
    socket = await greeted(client, "x")
    for text in ("{", "[]", "1", json.dumps({"type": "feature_flags", "data": 5}), "[" * 100_000):
        await socket.send_str(text)
    await socket.send_json({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
    state.hub.send("x", "after", {})
    assert (await socket.receive_json())["type"] == "after"
    await socket.close()


async def test_closing_says_goodbye_to_all(state: State, client: Any) -> None:
    socket = await greeted(client, "x")
    closing = asyncio.ensure_future(state.hub.close())
    assert (await socket.receive()).data == 1001
    await closing
    await socket.close()
