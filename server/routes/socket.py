"""The WebSocket: /ws, on which a client hears of its jobs as they run."""

import asyncio
import contextlib
import json
from typing import Any

from aiohttp import WSMsgType, web

from server.hub import Client
from server.state import State, state_of

PING_S = 30.0
LARGEST = 2**20
"""Bytes of a message that a client may send; all that it has to say is short."""


def features(state: State) -> dict[str, Any]:
    """What the server can do, as clients ask for it."""
    return {"supports_preview_metadata": True, "max_upload_size": int(state.server.max_upload_mb * 2**20)}


async def socket(request: web.Request) -> web.StreamResponse:
    """Tell a client what happens, until it leaves."""
    state = state_of(request)
    ws = web.WebSocketResponse(heartbeat=PING_S, max_msg_size=LARGEST, compress=False)
    await ws.prepare(request)
    client = state.hub.join(request.query.get("clientId") or None, ws, request.transport)
    remaining = {"exec_info": {"queue_remaining": state.queue.remaining}}
    greeting = {"type": "status", "data": {"status": remaining, "sid": client.sid}}
    client.put(json.dumps(greeting))
    if node := state.hub.executing.get(client.sid):
        client.put(json.dumps({"type": "executing", "data": {"node": node}}))
    if job_id := state.hub.missed(client.sid):
        client.put(json.dumps({"type": "executing", "data": {"node": None, "prompt_id": job_id}}))
    writing = asyncio.get_running_loop().create_task(client.write())
    try:
        first = True
        async for message in ws:
            if message.type is WSMsgType.TEXT and first:
                _negotiate(state, client, message.data)
            first = False
    finally:
        state.hub.leave(client)
        client.finish()
        with contextlib.suppress(Exception):
            await writing
    return ws


def _negotiate(state: State, client: Client, text: str) -> None:
    """Take a client's features, if that is what its first message says."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return
    if isinstance(said, dict) and said.get("type") == "feature_flags" and isinstance(said.get("data"), dict):
        client.features = said["data"]
        client.put(json.dumps({"type": "feature_flags", "data": features(state)}))


ROUTES = (web.get("/ws", socket),)
