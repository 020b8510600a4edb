"""The connected sockets by client id, and who hears what; a slow socket is dropped, never waited for."""

import asyncio
import json
import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from aiohttp import WSCloseCode, web

MOST_WAITING = 4_000
"""Messages that may wait for one socket; a reader that is further behind is disconnected."""
MOST_BYTES = 64 * 2**20
"""Bytes that may wait for one socket."""
MISSED_S = 10.0
"""Seconds for which a client that posts first and listens afterwards is still told of a job's end."""
MOST_MISSED = 1_000
GOODBYE_S = 1.0
"""Seconds that sockets get to say goodbye in when the server stops."""


class Client:
    """One socket: messages wait in its own queue and are written by its own task.

    Args:
        features: What it negotiated by its first message.
    """

    def __init__(
        self, sid: str, socket: web.WebSocketResponse, transport: asyncio.BaseTransport | None
    ) -> None:
        self.sid, self.socket, self._transport = sid, socket, transport
        self.features: Mapping[str, Any] = {}
        self._waiting: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self._bytes = 0
        self.dropped = False

    def put(self, message: str | bytes) -> None:
        """Have a message sent; a socket that is too far behind is dropped instead."""
        if self.dropped:
            return
        self._bytes += len(message)
        if self._waiting.qsize() >= MOST_WAITING or self._bytes > MOST_BYTES:
            self.drop()
        else:
            self._waiting.put_nowait(message)

    def drop(self) -> None:
        """Close the socket without waiting for what it has not read."""
        self.finish()
        if isinstance(self._transport, asyncio.WriteTransport):
            self._transport.abort()  # a close handshake would wait for the slow reader

    def finish(self) -> None:
        """Write nothing more."""
        self.dropped = True
        while not self._waiting.empty():
            self._waiting.get_nowait()
        self._waiting.put_nowait(None)

    async def goodbye(self) -> None:
        """Close with a reason, once the other side has heard it."""
        await self.socket.close(code=WSCloseCode.GOING_AWAY, message=b"the server stops")

    async def write(self) -> None:
        """Send what is put, until it is dropped or the socket closes."""
        try:
            while not self.socket.closed:
                message = await self._waiting.get()
                if message is None:
                    break
                self._bytes -= len(message)
                if isinstance(message, str):
                    await self.socket.send_str(message)
                else:
                    await self.socket.send_bytes(message)
        except (ConnectionError, RuntimeError):
            return


class Hub:
    """Every socket of the server; lives on the event loop's thread."""

    def __init__(self) -> None:
        self._clients: dict[str, dict[Client, None]] = {}
        self.executing: dict[str, str] = {}
        """By client id, the node that its running job is at; told to a socket that connects."""
        self._missed: OrderedDict[str, tuple[str, float]] = OrderedDict()

    @property
    def count(self) -> int:
        """Sockets connected."""
        return sum(map(len, self._clients.values()))

    def join(
        self, sid: str | None, socket: web.WebSocketResponse, transport: asyncio.BaseTransport | None = None
    ) -> Client:
        """A new socket; others of the same id stay, so that a second program can watch the first's jobs."""
        client = Client(sid or uuid.uuid4().hex, socket, transport)
        self._clients.setdefault(client.sid, {})[client] = None
        return client

    def leave(self, client: Client) -> None:
        """A socket that closed."""
        mine = self._clients.get(client.sid, {})
        mine.pop(client, None)
        if not mine:
            self._clients.pop(client.sid, None)

    def ended(self, sid: str, job_id: str) -> None:
        """Tell a client that its job is over; one that has no socket yet hears it if it opens one soon."""
        self.executing.pop(sid, None)
        self.send(sid, "executing", {"node": None, "prompt_id": job_id})
        self._missed.pop(sid, None)
        if sid not in self._clients:
            self._missed[sid] = (job_id, time.monotonic() + MISSED_S)
            if len(self._missed) > MOST_MISSED:
                self._missed.popitem(last=False)

    def missed(self, sid: str) -> str | None:
        """The job of a client that ended just before it opened its socket; told once."""
        job_id, until = self._missed.pop(sid, ("", 0.0))
        return job_id if time.monotonic() < until else None

    def send(self, sid: str | None, type: str, data: Mapping[str, Any]) -> None:
        """Send a message to the sockets of a client id, or to all for None."""
        clients = self._of(sid)
        if clients:
            text = json.dumps({"type": type, "data": data}, separators=(",", ":"), default=str)
            for client in clients:
                client.put(text)

    def send_preview(self, sid: str | None, plain: bytes, described: bytes) -> None:
        """Send a picture: with its description to those that asked for it, else the plain form."""
        for client in self._of(sid):
            client.put(described if client.features.get("supports_preview_metadata") is True else plain)

    def send_bytes(self, sid: str | None, data: bytes) -> None:
        """Send a binary message."""
        for client in self._of(sid):
            client.put(data)

    async def close(self) -> None:
        """Say goodbye to all sockets; those that do not answer soon are dropped."""
        clients = self._of(None)
        leaving = [asyncio.create_task(client.goodbye()) for client in clients]
        if leaving:
            await asyncio.wait(leaving, timeout=GOODBYE_S)
        for client in clients:
            client.drop()

    def _of(self, sid: str | None) -> list[Client]:
        if sid is None:
            return [c for clients in self._clients.values() for c in clients]
        return list(self._clients.get(sid, ()))
