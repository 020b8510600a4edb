"""`Idempotency-Key`: sent twice, answered twice, done once."""

import asyncio
import contextlib
import http.client
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, FormData
from sqlalchemy import select, update

from server.queue.tables import answers
from tests.server.asking import outputs, rows, until_empty
from tests.server.faulty import EXIT_AT, Process, prompt
from tests.server.jobs_app import begun, gate, graph, painted, run_once, served, submit, tiny


async def post(client: ClientSession, key: str, workflow: Any, **more: Any) -> tuple[int, bool, Any]:
    """Submit under a key: status, whether it was replayed, answer."""
    body = {"workflow": workflow, **more}
    async with client.post("/api/v2/jobs", json=body, headers={"Idempotency-Key": key}) as response:
        return response.status, "Idempotency-Replayed" in response.headers, await response.json()


async def count(client: ClientSession) -> int:
    """How many jobs there are."""
    async with client.get("/api/v2/jobs") as response:
        return len((await response.json())["jobs"])


async def test_the_same_request_gets_the_recorded_answer_and_no_second_run(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        first, second = await post(client, "k1", graph(1)), await post(client, "k1", graph(1))
        assert (first[:2], second[:2]) == ((201, False), (201, True))
        assert {k: v for k, v in first[2].items() if k != "queue_position"} == {
            k: v for k, v in second[2].items() if k != "queue_position"
        }
        assert await count(client) == 1


async def test_a_key_that_was_used_for_another_body_is_refused(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        await post(client, "k1", graph(1))
        for more in ({"workflow": graph(2)}, {"workflow": graph(1), "priority": 1}):
            status, _, found = await post(client, "k1", **more)
            assert (status, found["error"]["code"]) == (422, "idempotency_key_reuse")
        assert await count(client) == 1


async def test_the_order_of_keys_in_a_body_does_not_matter(tmp_path: Path) -> None:
    flow = graph(1)
    turned = {id: dict(reversed(node.items())) for id, node in reversed(flow.items())}
    assert json.dumps(flow) != json.dumps(turned)
    async with served(tmp_path, tiny()) as (client, _):
        await post(client, "k1", flow)
        assert (await post(client, "k1", turned))[:2] == (201, True)


async def test_a_request_that_made_no_job_leaves_its_key_free(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        assert (await post(client, "k1", graph(-5)))[0] == 422
        assert (await post(client, "k1", graph(1)))[:2] == (201, False)


async def test_while_the_first_is_answered_a_second_is_asked_to_wait(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, state):
        held = asyncio.Event()

        async def slowly() -> Any:
            yield json.dumps({"workflow": graph(1)}).encode()[:20]
            under_way.set()
            await held.wait()
            yield json.dumps({"workflow": graph(1)}).encode()[20:]

        under_way = asyncio.Event()
        keyed = {"Idempotency-Key": "k1"}
        first = asyncio.create_task(_status(client, slowly(), keyed))
        await under_way.wait()
        while not state.keys._busy:
            await asyncio.sleep(0)
        async with client.post("/api/v2/jobs", json={"workflow": graph(1)}, headers=keyed) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (
                409,
                "idempotency_conflict",
            )
            assert int(response.headers["Retry-After"]) >= 1
        held.set()
        assert await first == 201
        assert (await post(client, "k1", graph(1)))[:2] == (201, True)
        assert not state.keys._busy


async def _status(client: ClientSession, body: Any, headers: dict[str, str]) -> int:
    async with client.post("/api/v2/jobs", data=body, headers=headers) as response:
        return response.status


async def test_many_at_once_make_one_job(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        found = await asyncio.gather(*(post(client, "k1", graph(1)) for _ in range(20)))
        assert {status for status, _, _ in found} <= {201, 409}
        assert len({answer["id"] for status, _, answer in found if status == 201}) == 1
        assert await count(client) == 1


async def test_keys_outlive_a_restart_and_a_day_ends_them(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        first = await post(client, "k1", graph(1))
    async with served(tmp_path, tiny()) as (client, state):
        again = await post(client, "k1", graph(1))
        assert (again[:2], again[2]["id"]) == ((201, True), first[2]["id"])
        old = update(answers).values(created=time.time() - 90_000)
        state.queue.writer.submit(lambda connection: connection.execute(old) and None).result()
        assert (await post(client, "k1", graph(2)))[:2] == (201, False)
        assert len(state.queue.read(lambda c: c.execute(select(answers)).all())) == 1


async def test_the_key_is_recorded_with_the_job_or_not_at_all(tmp_path: Path) -> None:
    opened = gate("one")
    async with served(tmp_path, tiny(), max_queue=1) as (client, state):
        await submit(client, graph(1, through="Gate", name="one"))
        await begun("one")
        await submit(client, graph(2))
        assert (await post(client, "k1", graph(3)))[0] == 429
        assert state.queue.read(lambda c: c.execute(select(answers)).all()) == []
        opened.set()


@pytest.mark.parametrize("key", ["", "x" * 256, "grün"])
async def test_what_is_no_key_is_refused(tmp_path: Path, key: str) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        assert (await post(client, key, graph(1)))[0] == 400


async def test_an_upload_is_kept_once_under_its_key(tmp_path: Path) -> None:
    async def upload(data: bytes) -> tuple[int, bool, Any]:
        form = FormData()
        form.add_field("file", io.BytesIO(data), filename="a.png")
        async with client.post("/api/v2/assets", data=form, headers={"Idempotency-Key": "k"}) as response:
            return response.status, "Idempotency-Replayed" in response.headers, await response.json()

    async with served(tmp_path, tiny()) as (client, _):
        first, again = await upload(painted(1)), await upload(painted(1))
        assert (first[:2], again[:2], first[2]) == ((201, False), (201, True), again[2])
        other = await upload(painted(2))
        assert (other[0], other[2]["error"]["code"]) == (422, "idempotency_key_reuse")


@pytest.mark.slow
@pytest.mark.parametrize("n", range(1, 13))
def test_a_server_that_ends_at_any_write_makes_one_job_of_one_key(tmp_path: Path, n: int) -> None:
    def post() -> int:
        connection = http.client.HTTPConnection(process.address.removeprefix("http://"), timeout=20)
        body = json.dumps({"workflow": prompt(1, "p"), "webhook": "http://localhost:1/hook"})
        try:
            connection.request("POST", "/api/v2/jobs", body, {"Idempotency-Key": "k1"})
            return connection.getresponse().status
        finally:
            connection.close()

    hosts = ("localhost",)
    process = Process(tmp_path, {EXIT_AT: str(n)}, webhook_hosts=hosts)
    with contextlib.suppress(OSError, http.client.HTTPException):
        assert post() == 201
        process.wait(2)
    process.kill()
    process = Process(tmp_path, webhook_hosts=hosts)
    try:
        assert post() == 201
        until_empty(process.address)
    finally:
        process.terminate()
    (job,) = rows(tmp_path)
    assert job["status"] == "success"
    assert len(rows(tmp_path, "SELECT * FROM webhooks")) == 1
    assert len(rows(tmp_path, "SELECT * FROM assets")) == 1
    assert len(outputs(tmp_path)) == 1


async def test_without_a_key_every_request_is_another_job(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        assert (await run_once(client, graph(1)))["id"] != (await run_once(client, graph(1)))["id"]
