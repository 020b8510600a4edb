"""Jobs by the versioned API: what is recorded, what came of it, and what can be done with it meanwhile."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from comfy_low.models import Job as Contract

from tests.server.jobs_app import (
    RAN,
    begun,
    ended,
    frames,
    gate,
    graph,
    painted,
    run_once,
    served,
    shown,
    submit,
    tiny,
)


async def test_a_job_is_recorded_run_and_shown_in_the_shape_of_the_contract(tmp_path: Path) -> None:
    async with served(tmp_path, tiny(), history_days=2) as (client, _):
        async with client.post("/api/v2/jobs", json={"workflow": graph(1)}) as response:
            new = await response.json()
            assert (response.status, response.headers["Location"]) == (201, new["urls"]["self"])
        assert Contract.model_validate(new).status.value == "queued"
        job = await ended(client, new["id"])
        assert Contract.model_validate(job).status.value == "succeeded"
        (output,) = job["outputs"]
        assert {k: output[k] for k in ("node_id", "name", "type", "content_type", "folder")} == {
            "node_id": "9", "name": "p_00001_.png", "type": "image", "content_type": "image/png",
            "folder": "output",
        }  # fmt: skip
        assert output["size_bytes"] == (tmp_path / "output" / output["name"]).stat().st_size
        assert output["url"].startswith(new["urls"]["self"].partition("/api/")[0])
        async with client.get(output["url"]) as response:
            assert await response.read() == painted(1)
        assert (job["executed"], job["outputs_reused"]) == (["1", "9"], [])
        assert job["progress"]["value"] == 1.0
        assert job["metrics"]["execution_ms"] >= 0
        until = datetime.fromisoformat(job["expires_at"]) - datetime.now(UTC)
        assert timedelta(days=1.9) < until < timedelta(days=2.1)


async def test_a_cached_run_gives_the_same_outputs_and_says_what_it_reused(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        first, second = await run_once(client, graph(1)), await run_once(client, graph(1))
        told = [{k: o[k] for k in ("node_id", "name", "hash", "sha256")} for o in second["outputs"]]
        assert told == [{k: o[k] for k in ("node_id", "name", "hash", "sha256")} for o in first["outputs"]]
        assert (second["executed"], set(second["outputs_reused"])) == ([], {"1", "9"})
        (tmp_path / "output" / first["outputs"][0]["name"]).unlink()
        third = await run_once(client, graph(1))
        assert third["executed"] == ["9"]
        async with client.get(third["outputs"][0]["url"]) as response:
            assert await response.read() == painted(1)


async def test_a_job_can_be_run_without_the_cache(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        await run_once(client, graph(2))
        again = await run_once(client, graph(2), no_cache=True)
        assert again["executed"] == ["1", "9"]
        assert again["outputs"][0]["name"] == "p_00002_.png"


async def test_success_without_outputs_says_so(tmp_path: Path) -> None:
    flow = graph(1) | {"9": {"class_type": "Quiet", "inputs": {"picture": ["1", 0]}}}
    async with served(tmp_path, tiny()) as (client, _):
        job = await run_once(client, flow)
        assert (job["status"], job["outputs"]) == ("succeeded", [])
        assert "shows a file" in job["note"]


async def test_texts_are_outputs_too(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        job = await run_once(client, {"3": {"class_type": "Say", "inputs": {"text": "grüß"}}})
        (output,) = job["outputs"]
        assert (output["type"], output["size_bytes"], output["name"]) == ("text", 6, "text_1.txt")
        async with client.get(output["url"]) as response:
            assert (await response.text(), response.content_type) == ("grüß", "text/plain")


async def test_a_failed_job_tells_where_and_why(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        job = await run_once(client, graph(1, through="Raise"))
        Contract.model_validate(job)
        assert job["status"] == "failed"
        error = job["error"]
        assert (error["code"], error["node_id"], error["class_type"]) == (
            "node_execution_error",
            "5",
            "Raise",
        )
        assert "out of order" in error["message"]
        assert "ValueError" in error["traceback"]


@pytest.mark.parametrize(
    ("workflow", "code", "word"),
    [
        ({"nodes": [], "links": [], "last_node_id": 1}, "workflow_format_ui", "Export (API)"),
        ([], "invalid_workflow", "object"),
        ({}, "invalid_workflow", "no nodes"),
        ({"1": {"class_type": "Nix", "inputs": {}}}, "invalid_workflow", "Nix"),
        ({"1": {"class_type": "Paint", "inputs": {"color": 1, "size": 1}}}, "invalid_workflow", "output"),
        ({"1": 5}, "invalid_workflow", "class_type"),
    ],
)
async def test_what_cannot_run_is_refused(tmp_path: Path, workflow: Any, code: str, word: str) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        found = await submit(client, workflow, 422)
        assert found["error"]["code"] == code
        assert word in found["error"]["message"]
        async with client.get("/api/v2/jobs") as response:
            assert (await response.json()) == {"jobs": []}


async def test_an_invalid_workflow_is_told_by_node_and_field(tmp_path: Path) -> None:
    flow = graph(-1)
    del flow["9"]["inputs"]["picture"]
    async with served(tmp_path, tiny()) as (client, _):
        found = (await submit(client, flow, 422))["error"]["details"]["node_errors"]
        assert [(e["field"], e["reason"]) for e in found["9"]] == [("picture", "required_input_missing")]
        flow["9"]["inputs"]["picture"] = ["1", 0]
        found = (await submit(client, flow, 422))["error"]["details"]["node_errors"]
        assert [(e["field"], e["reason"]) for e in found["1"]] == [("color", "value_smaller_than_min")]


async def test_outputs_that_cannot_run_are_left_out_and_told(tmp_path: Path) -> None:
    flow = graph(1) | {"8": {"class_type": "Keep", "inputs": {"prefix": "x"}}}
    async with served(tmp_path, tiny()) as (client, _):
        job = await run_once(client, flow)
        assert [o["node_id"] for o in job["outputs"]] == ["9"]
        assert set(job["node_errors"]) == {"8"}
        assert "left out" in job["warnings"][0]


@pytest.mark.parametrize("path", ["", "/events", "/workflow", "/cancel", "/retry", "/pause", "/resume"])
async def test_an_unknown_job_is_404(tmp_path: Path, path: str) -> None:
    method = "GET" if path in ("", "/events", "/workflow") else "POST"
    async with served(tmp_path, tiny()) as (client, _):  # noqa: SIM117
        async with client.request(method, f"/api/v2/jobs/nothing{path}") as response:
            assert (response.status, (await response.json())["error"]["code"]) == (404, "not_found")


async def test_a_full_queue_asks_to_come_back(tmp_path: Path) -> None:
    opened = gate("full")
    async with served(tmp_path, tiny(), max_queue=1) as (client, _):
        await submit(client, graph(1, through="Gate", name="full"))
        await begun("full")
        await submit(client, graph(2))
        async with client.post("/api/v2/jobs", json={"workflow": graph(3)}) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (429, "queue_full")
            assert int(response.headers["Retry-After"]) >= 1
        opened.set()


async def test_higher_priority_runs_first_and_positions_say_so(tmp_path: Path) -> None:
    opened = gate("order")
    async with served(tmp_path, tiny()) as (client, _):
        await submit(client, graph(1, through="Gate", name="order"), priority=9)
        await begun("order")
        low = await submit(client, graph(2), priority=-1)
        high = await submit(client, graph(3), priority=5)
        usual = await submit(client, graph(4))
        places = [(await shown(client, job["id"]))["queue_position"] for job in (high, usual, low)]
        assert places == [0, 1, 2]
        opened.set()
        times = [(await ended(client, job["id"]))["started_at"] for job in (high, usual, low)]
        assert times == sorted(times)


async def test_what_is_asked_for_wrongly_is_refused(tmp_path: Path) -> None:
    wrong: list[dict[str, Any]] = [
        {"priority": "high"}, {"priority": True}, {"priority": 2**40}, {"metadata": {"a": 1}},
        {"metadata": 1},
        {"metadata": "x" * 1030}, {"no_cache": "yes"}, {"id": "a b"}, {"id": ""}, {"targets": "9"},
        {"extra_data": [1]}, {"inputs": [1]},
    ]  # fmt: skip
    async with served(tmp_path, tiny()) as (client, state):
        for more in wrong:
            assert (await submit(client, graph(1), 422, **more))["error"]["code"] in (
                "invalid_request",
                "invalid_inputs",
                "metadata_invalid",
            )
        assert state.queue.counts() == {}


async def test_an_unknown_field_is_told(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        assert "did you mean 'priority'?" in (await submit(client, graph(1), prioriy=1))["warnings"][0]


async def test_a_client_may_give_the_id_once(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        assert (await submit(client, graph(1), id="shot-7:a"))["id"] == "shot-7:a"
        assert (await submit(client, graph(1), 409, id="shot-7:a"))["error"]["code"] == "id_taken"


async def test_jobs_are_listed_by_page_status_and_label(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        ids = [(await run_once(client, graph(i), metadata={"run": str(i % 2)}))["id"] for i in range(5)]
        texts = await run_once(client, graph(9), metadata="one text")
        pages, cursor = [], ""
        for _ in range(3):
            async with client.get(f"/api/v2/jobs?limit=2{cursor}") as response:
                page = await response.json()
            pages += [job["id"] for job in page["jobs"]]
            cursor = f"&cursor={page.get('next_cursor')}"
        assert pages == [texts["id"], *reversed(ids)]
        assert "next_cursor" not in page
        async with client.get("/api/v2/jobs", params={"metadata[run]": "1"}) as response:
            found = (await response.json())["jobs"]
        assert [(j["id"], j["metadata"]) for j in found] == [(ids[3], {"run": "1"}), (ids[1], {"run": "1"})]
        async with client.get("/api/v2/jobs?status=failed,queued") as response:
            assert (await response.json())["jobs"] == []
        for query in ("status=done", "limit=0", "limit=x", "cursor=-1"):
            async with client.get(f"/api/v2/jobs?{query}") as response:
                assert response.status == 400


async def test_a_waiting_job_is_cancelled_at_once_and_again_without_effect(tmp_path: Path) -> None:
    opened = gate("first")
    async with served(tmp_path, tiny()) as (client, _):
        await submit(client, graph(1, through="Gate", name="first"))
        await begun("first")
        job = await submit(client, graph(2))
        for _ in range(2):
            async with client.post(job["urls"]["cancel"]) as response:
                assert (response.status, (await response.json())["status"]) == (200, "canceled")
        opened.set()
    assert not list((tmp_path / "output").glob("*2*"))


async def test_a_running_job_is_cancelled_at_its_next_step(tmp_path: Path) -> None:
    gate("never")
    async with served(tmp_path, tiny()) as (client, _):
        job = await submit(client, graph(1, through="Gate", name="never"))
        await begun("never")
        async with client.post(job["urls"]["cancel"]) as response:
            assert (await response.json())["status"] in ("canceling", "canceled")
        async with asyncio.timeout(1.5):  # sooner than a worker looks into the database
            assert (await ended(client, job["id"]))["status"] == "canceled"
        async with client.post(job["urls"]["cancel"]) as response:
            assert (response.status, (await response.json())["status"]) == (200, "canceled")


async def test_many_are_cancelled_by_id(tmp_path: Path) -> None:
    gate("many")
    async with served(tmp_path, tiny()) as (client, _):
        ids = [(await submit(client, graph(1, through="Gate", name="many")))["id"]]
        await begun("many")
        ids += [(await submit(client, graph(i)))["id"] for i in (2, 3)]
        async with client.post("/api/v2/jobs/cancel", json={"ids": [*ids, "nobody"]}) as response:
            found = await response.json()
        assert found["unknown"] == ["nobody"]
        assert [j["id"] for j in found["jobs"]] == ids
        assert [(await ended(client, id))["status"] for id in ids] == ["canceled"] * 3


async def test_a_paused_job_waits_until_it_is_resumed(tmp_path: Path) -> None:
    opened = gate("busy")
    async with served(tmp_path, tiny()) as (client, _):
        busy = await submit(client, graph(1, through="Gate", name="busy"))
        await begun("busy")
        job = await submit(client, graph(2))
        async with client.post(f"/api/v2/jobs/{job['id']}/pause") as response:
            found = await response.json()
        assert (found["status"], found["paused"], found["queue_position"]) == ("queued", True, None)
        opened.set()
        await ended(client, busy["id"])
        after = await run_once(client, graph(3))
        assert (await shown(client, job["id"]))["paused"]
        async with client.post(f"/api/v2/jobs/{job['id']}/resume") as response:
            assert not (await response.json())["paused"]
        found = await ended(client, job["id"])
        assert found["started_at"] > after["completed_at"]


async def test_a_running_job_is_put_aside_and_goes_on_from_the_cache(tmp_path: Path) -> None:
    opened = gate("aside")
    async with served(tmp_path, tiny()) as (client, _):
        job = await submit(client, graph(1, through="Gate", name="aside"))
        await begun("aside")
        async with client.post(f"/api/v2/jobs/{job['id']}/pause") as response:
            assert (await response.json())["paused"]
        RAN.clear()
        other = await run_once(client, graph(7))
        assert other["status"] == "succeeded"
        assert (await shown(client, job["id"]))["paused"]
        opened.set()
        RAN.clear()
        async with client.post(f"/api/v2/jobs/{job['id']}/resume") as response:
            assert response.status == 200
        found = await ended(client, job["id"])
        assert (found["status"], RAN) == ("succeeded", ["Keep"])


@pytest.mark.parametrize("what", ["pause", "resume"])
async def test_an_ended_job_is_not_paused_or_resumed(tmp_path: Path, what: str) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        job = await run_once(client, graph(1))
        async with client.post(f"/api/v2/jobs/{job['id']}/{what}") as response:
            assert (response.status, (await response.json())["error"]["code"]) == (409, "ended")


async def test_an_ended_job_is_run_again_under_its_id(tmp_path: Path) -> None:
    gate("again")
    async with served(tmp_path, tiny()) as (client, _):
        job = await submit(client, graph(1, through="Gate", name="again"))
        await begun("again")
        async with client.post(f"/api/v2/jobs/{job['id']}/retry") as response:
            assert (response.status, (await response.json())["error"]["code"]) == (409, "not_ended")
        async with client.post(job["urls"]["cancel"]):
            pass
        assert (await ended(client, job["id"]))["status"] == "canceled"
        gate("again").set()
        async with client.post(f"/api/v2/jobs/{job['id']}/retry") as response:
            assert response.status == 200
            assert (await response.json())["status"] in ("queued", "running")  # a worker may be that quick
        found = await ended(client, job["id"])
        assert (found["status"], found["outputs_reused"]) == ("succeeded", ["1"])
        async with client.post(f"/api/v2/jobs/{job['id']}/retry") as response:
            assert response.status == 200
        again = await ended(client, job["id"])
        assert [o["id"] for o in again["outputs"]] == [o["id"] for o in found["outputs"]]


async def test_progress_and_outputs_are_there_while_a_job_runs(tmp_path: Path) -> None:
    opened = gate("half")
    flow = graph(1, "late", "Gate", name="half") | {
        "8": {"class_type": "Keep", "inputs": {"picture": ["1", 0], "prefix": "soon"}}
    }
    async with served(tmp_path, tiny()) as (client, _):
        job = await submit(client, flow)
        await begun("half")
        told = await frames(client, f"/api/v2/jobs/{job['id']}/events", lambda type, _: type == "output")
        found = await shown(client, job["id"])
        Contract.model_validate(found)
        assert found["status"] == "running"
        assert 0 < found["progress"]["value"] < 1
        (output,) = found["outputs"]
        assert (output["node_id"], output["size_bytes"] > 0, output) == ("8", True, told[-1][2])
        async with client.get(output["url"]) as response:
            assert await response.read() == painted(1)
        opened.set()
        whole = await ended(client, job["id"])
        assert {o["node_id"]: o["id"] for o in whole["outputs"]}["8"] == output["id"]


async def test_the_workflow_of_a_job_can_be_had(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        job = await submit(client, graph(1), inputs={"Colour.color": 5})
        async with client.get(f"/api/v2/jobs/{job['id']}/workflow") as response:
            found = await response.json()
        assert (found["format"], found["workflow"]["1"]["inputs"]["color"]) == ("api", 5)


async def test_jobs_and_their_outputs_outlive_a_restart(tmp_path: Path) -> None:
    gate("stop")
    async with served(tmp_path, tiny(), stop_seconds=0.0) as (client, _):
        done = await run_once(client, graph(1), metadata={"k": "v"})
        running = await submit(client, graph(2, through="Gate", name="stop"))
        await begun("stop")
        waiting = await submit(client, graph(3))
    gate("stop").set()
    async with served(tmp_path, tiny()) as (client, _):
        found = await shown(client, done["id"])
        same = ("id", "status", "created_at", "completed_at", "metadata", "executed")
        assert {k: found[k] for k in same} == {k: done[k] for k in same}
        assert [o["id"] for o in found["outputs"]] == [o["id"] for o in done["outputs"]]
        async with client.get(found["outputs"][0]["url"]) as response:
            assert await response.read() == painted(1)
        assert (await ended(client, running["id"]))["status"] == "succeeded"
        assert (await ended(client, waiting["id"]))["status"] == "succeeded"


async def test_a_server_that_stops_takes_no_more(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, state):
        state.workers.stopping = True
        async with client.post("/api/v2/jobs", json={"workflow": graph(1)}) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (503, "stopping")
            assert "Retry-After" in response.headers
