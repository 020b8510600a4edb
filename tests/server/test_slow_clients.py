"""Clients that send or read slowly, or too often: they are ended, the others do not notice (R13)."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from engine.registry import Registry
from server import connections
from server.connections import LEAST, limit_connections, most_connections
from server.hub import MOST_BYTES, MOST_WAITING
from tests.server.served import Served, heard, served

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Open = Callable[..., Awaitable[Streams]]
SOON = 10.0
HEAD = b"GET /prompt HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
async def server(tmp_path: Path, registry: Registry) -> AsyncIterator[Served]:
    async with served(tmp_path, registry, head_s=0.4, body_s=0.4) as found:
        yield found


@pytest.fixture
async def raw(server: Served) -> AsyncIterator[Open]:
    """Opens connections that send what they are told to; closed at the test's end."""
    async with AsyncExitStack() as stack:

        async def opened(*parts: bytes) -> Streams:
            host, port = server.address.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            stack.callback(writer.close)
            for part in parts:
                writer.write(part)
            return reader, writer

        yield opened


async def rest(reader: asyncio.StreamReader) -> bytes:
    """All that still comes, once the server has ended the connection."""
    try:
        return await asyncio.wait_for(reader.read(), SOON)
    except ConnectionError:
        return b""


def test_a_head_has_half_a_minute_at_most() -> None:
    assert connections.HEAD_S <= 30
    assert connections.BODY_S <= 30


async def test_a_connection_that_says_nothing_is_ended(raw: Open) -> None:
    reader, _ = await raw()
    assert await rest(reader) == b""


async def test_a_head_that_drips_in_is_given_up(raw: Open) -> None:
    reader, writer = await raw(HEAD)

    async def drip() -> None:
        while True:
            writer.write(b"X-More: 1\r\n")
            await asyncio.sleep(0.02)

    dripping = asyncio.create_task(drip())
    assert await rest(reader) == b""
    dripping.cancel()


async def test_the_second_head_of_a_connection_is_given_up_too(raw: Open) -> None:
    reader, writer = await raw(HEAD + b"\r\n")
    assert b"exec_info" in await reader.readuntil(b"}}")
    writer.write(HEAD)
    assert await rest(reader) == b""


@pytest.mark.parametrize("path", ["/prompt", "/api/prompt", "/queue", "/userdata/x.json", "/settings"])
async def test_a_body_that_stands_still_ends_with_408(raw: Open, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
    reader, _ = await raw(head.encode(), b'{"prompt": {')
    answer = await asyncio.wait_for(reader.readuntil(b"}}"), SOON)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"body_late" in answer


async def test_an_upload_that_stands_still_leaves_nothing_behind(raw: Open, server: Served) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="u.png"\r\n\r\n'
    head = b"POST /upload/image HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n"
    head += b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    reader, _ = await raw(head, part, b"x" * 300_000)
    answer = await asyncio.wait_for(reader.readuntil(b"}}"), SOON)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert list((server.state.settings.base_directory / "input").rglob("*")) == []


async def test_a_body_that_comes_slowly_but_comes_is_read(raw: Open) -> None:
    size = 8 * LEAST
    head = f"POST /interrupt HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
    reader, writer = await raw(head.encode())
    for _ in range(8):  # takes longer than a body may stand still
        writer.write(b" " * LEAST)
        await asyncio.sleep(0.1)
    assert (await asyncio.wait_for(reader.readline(), SOON)).startswith(b"HTTP/1.1 200 ")


async def test_many_that_drip_do_not_hold_up_others(raw: Open, server: Served) -> None:
    slow = [await raw(HEAD) for _ in range(100)]
    for _ in range(20):
        await asyncio.wait_for(server.get("/prompt"), 1.0)
    assert [await rest(reader) for reader, _ in slow] == [b""] * 100


async def deaf(raw: Open) -> Streams:
    """A socket that never reads what it is sent."""
    key = base64.b64encode(b"0" * 16)
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    return await raw(
        b"GET /ws?clientId=deaf HTTP/1.1\r\nHost: localhost\r\n",
        upgrade + b"Sec-WebSocket-Key: " + key + b"\r\n\r\n",
    )


@pytest.mark.parametrize("size", [10, 2**20])
async def test_a_socket_that_does_not_read_is_dropped_and_others_hear_all(
    raw: Open, server: Served, size: int
) -> None:
    hub = server.state.hub
    await deaf(raw)
    async with server.socket("me") as socket:
        await heard(socket)
        while hub.count < 2:
            await asyncio.sleep(0)
        [slow] = hub._of("deaf")
        sent = 0
        while hub.count == 2:
            hub.send(None, "news", {"n": sent, "text": "x" * size})
            sent += 1
            assert slow._waiting.qsize() <= MOST_WAITING
            assert slow._bytes <= MOST_BYTES + 2 * size
            assert (await heard(socket))["data"]["n"] == sent - 1
        assert slow._waiting.qsize() <= 1, "only the sign to stop"
        assert await server.get("/prompt")
    assert sent * size < 4 * MOST_BYTES


async def test_goodbye_does_not_wait_for_a_socket_that_does_not_read(raw: Open, server: Served) -> None:
    await deaf(raw)
    while not server.state.hub.count:
        await asyncio.sleep(0)
    server.state.hub.send(None, "news", {"text": "x" * 2**24})
    await asyncio.wait_for(server.state.hub.close(), SOON)


async def test_one_address_cannot_take_all_connections(raw: Open, server: Served) -> None:
    limit_connections(server.runner, most=100, of_one_peer=3)
    kept = [await raw(HEAD) for _ in range(3)]
    refused, _ = await raw()
    assert await rest(refused) == b""
    for _, writer in kept:
        writer.write(b"Connection: close\r\n\r\n")
    assert all([b"exec_info" in await rest(reader) for reader, _ in kept])
    again, _ = await raw(HEAD + b"\r\n")
    assert b"exec_info" in await again.readuntil(b"}}")


async def test_there_are_no_more_connections_than_files_allow() -> None:
    most, of_one = most_connections()
    assert most >= 64
    assert of_one == most // 2
