"""Webhooks: told once a job has ended, signed, again where it failed, never where they may not go."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpServer
from sqlalchemy import select

from server.queue.tables import webhooks
from server.state import State
from server.webhooks import Webhooks, signature
from tests.server.jobs_app import begun, gate, graph, run_once, served, shown, submit, tiny


class Receiver:
    """A server that notes what it is sent, and answers as it is told to."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()
        self.answers: list[int] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.got.put_nowait((dict(request.headers), await request.read()))
        status = self.answers.pop(0) if self.answers else 200
        if status == 302:
            raise web.HTTPFound("/elsewhere")
        return web.Response(status=status, body=b"x" * 10_000)

    async def next(self) -> tuple[dict[str, str], Any]:
        headers, body = await asyncio.wait_for(self.got.get(), 20)
        return headers, json.loads(body)


@pytest.fixture
async def receiver(aiohttp_server: AiohttpServer) -> Receiver:
    found = Receiver()
    app = web.Application()
    app.add_routes([web.post("/hook", found.take), web.route("*", "/elsewhere", found.take)])
    server = await aiohttp_server(app)
    found.url = f"http://localhost:{server.port}/hook"
    return found


@asynccontextmanager
async def delivering(state: State, *waits: float) -> AsyncIterator[Webhooks]:
    """Deliver meanwhile."""
    found = Webhooks(state, waits or (0.01,) * 3)
    task = asyncio.get_running_loop().create_task(found.run())
    yield found
    assert not task.done(), "it must never end by itself"
    task.cancel()
    await asyncio.wait([task])


def rows(state: State) -> list[Any]:
    """What is put down to be delivered, and what came of it."""
    return state.queue.read(lambda c: [dict(r) for r in c.execute(select(webhooks)).mappings()])


async def settled(state: State) -> list[Any]:
    """The rows once nothing is to be delivered any more."""
    async with asyncio.timeout(20):
        while not rows(state) or any(row["next"] is not None for row in rows(state)):
            await asyncio.sleep(0.01)
    return rows(state)


async def test_success_failure_and_cancel_are_told_with_the_job(tmp_path: Path, receiver: Receiver) -> None:
    gate("stopped")
    async with served(tmp_path, tiny(), webhook_hosts=["localhost"]) as (client, state):
        async with delivering(state):
            hook = {"url": receiver.url}
            for flow, kind in ((graph(1), "succeeded"), (graph(1, through="Raise"), "failed")):
                job = await run_once(client, flow, webhook=hook, metadata={"k": "v"})
                headers, body = await receiver.next()
                assert (body["type"], body["data"]["id"]) == (f"job.{kind}", job["id"])
                assert body["data"]["outputs"] == job["outputs"]
                assert body["data"]["error"] == job["error"]
                assert body["data"]["metadata"] == {"k": "v"}
                assert "webhook-signature" not in headers
            running = await submit(client, graph(1, through="Gate", name="stopped"), webhook_url=receiver.url)
            await begun("stopped")
            waiting = await submit(client, graph(5), webhook=hook)
            for job in (waiting, running):
                async with client.post(job["urls"]["cancel"]):
                    pass
                _, body = await receiver.next()
                assert (body["type"], body["data"]["id"]) == ("job.canceled", job["id"])
        assert receiver.got.empty()


async def test_only_the_events_that_were_asked_for_are_told(tmp_path: Path, receiver: Receiver) -> None:
    async with served(tmp_path, tiny(), webhook_hosts=["localhost"]) as (client, state):
        await run_once(client, graph(1), webhook={"url": receiver.url, "events": ["failed"]})
        assert rows(state) == []


@pytest.mark.parametrize("own", [None, "mine", "whsec_" + base64.b64encode(b"key").decode()])
async def test_a_delivery_is_signed(tmp_path: Path, receiver: Receiver, own: str | None) -> None:
    settings = {"webhook_hosts": ["localhost"], "webhook_secret": "theirs"}
    async with served(tmp_path, tiny(), **settings) as (client, state), delivering(state):
        await run_once(client, graph(1), webhook={"url": receiver.url} | ({"secret": own} if own else {}))
        headers, raw = await asyncio.wait_for(receiver.got.get(), 20)
        id, stamp = headers["webhook-id"], headers["webhook-timestamp"]
        key = b"key" if own and own.startswith("whsec_") else (own or "theirs").encode()
        mac = hmac.new(key, f"{id}.{stamp}.".encode() + raw, hashlib.sha256).digest()
        assert headers["webhook-signature"] == f"v1,{base64.b64encode(mac).decode()}"
        assert b"secret" not in raw


def test_a_signature_is_that_of_the_standard() -> None:
    """The example of standardwebhooks.com's own libraries."""
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    found = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert found == "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_a_failed_delivery_is_tried_again_under_the_same_id(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answers = [500, 302, 204]
    async with served(tmp_path, tiny(), webhook_hosts=["localhost"]) as (client, state):  # noqa: SIM117
        async with delivering(state):
            await run_once(client, graph(1), webhook={"url": receiver.url})
            ids = [(await receiver.next())[0]["webhook-id"] for _ in range(3)]
            assert len(set(ids)) == 1
            (row,) = await settled(state)
            assert (row["attempts"], row["outcome"]) == (3, "answered 204")


async def test_it_is_given_up_in_the_end(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answers = [500] * 10
    async with served(tmp_path, tiny(), webhook_hosts=["localhost"]) as (client, state):  # noqa: SIM117
        async with delivering(state, 0.01, 0.01):
            await run_once(client, graph(1), webhook={"url": receiver.url})
            (row,) = await settled(state)
            assert (row["attempts"], row["outcome"]) == (3, "answered 500")
            assert len(receiver.answers) == 7


async def test_a_crash_between_the_end_and_the_delivery_loses_nothing(
    tmp_path: Path, receiver: Receiver
) -> None:
    async with served(tmp_path, tiny(), webhook_hosts=["localhost"]) as (client, _):
        job = await run_once(client, graph(1), webhook={"url": receiver.url})
    async with served(tmp_path, tiny(), webhook_hosts=["localhost"]) as (_, state), delivering(state):
        assert (await receiver.next())[1]["data"]["id"] == job["id"]


async def test_a_bad_webhook_holds_up_nobody(tmp_path: Path, receiver: Receiver) -> None:
    closed = "http://localhost:1/hook"
    async with served(tmp_path, tiny(), webhook_hosts=["localhost"]) as (client, state):  # noqa: SIM117
        async with delivering(state, 60.0):
            for i in range(3):
                job = await run_once(client, graph(i), webhook={"url": closed})
                assert job["status"] == "succeeded"
            await run_once(client, graph(9), webhook={"url": receiver.url})
            assert (await receiver.next())[1]["type"] == "job.succeeded"


@pytest.mark.parametrize(
    "hook",
    [
        "http://127.0.0.1/x", "http://localhost/x", "http://169.254.169.254/latest", "ftp://example.com/x",
        "http://[::1]/x", "x", "", 5, [], {}, {"url": None}, {"url": "https://example.com/", "event": []},
        {"url": "https://example.com/", "events": []}, {"url": "https://example.com/", "events": ["done"]},
        {"url": "https://example.com/", "secret": ""}, {"url": "https://a:b@example.com/"},
    ],
)  # fmt: skip
async def test_where_it_may_not_go_is_refused_at_once(tmp_path: Path, hook: Any) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        assert (await submit(client, graph(1), 422, webhook=hook))["error"]["code"] in (
            "webhook_refused",
            "invalid_request",
        )


async def test_a_name_that_leads_into_a_private_network_is_not_asked(
    tmp_path: Path, receiver: Receiver
) -> None:
    inside = receiver.url.replace("localhost", "2130706433")  # 127.0.0.1 as resolvers take it
    async with served(tmp_path, tiny()) as (client, state), delivering(state, 0.01):
        await run_once(client, graph(1), webhook={"url": inside})
        (row,) = await settled(state)
        assert (row["attempts"], receiver.got.empty()) == (2, True)


async def test_a_retried_job_tells_its_second_end_too(tmp_path: Path, receiver: Receiver) -> None:
    async with served(tmp_path, tiny(), webhook_hosts=["localhost"]) as (client, state), delivering(state):
        job = await run_once(client, graph(1), webhook={"url": receiver.url})
        first = await receiver.next()
        async with client.post(f"/api/v2/jobs/{job['id']}/retry"):
            pass
        second = await receiver.next()
        assert first[0]["webhook-id"] != second[0]["webhook-id"]
        assert (await shown(client, job["id"]))["status"] == "succeeded"
