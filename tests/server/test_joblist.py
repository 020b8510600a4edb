"""The newer classic job list: what the editor's queue panel reads."""

from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from tests.server.jobs_app import begun, ended, gate, graph, run_once, served, submit, tiny

WORKFLOW = {"extra_pnginfo": {"workflow": {"id": "wf-1"}}}


async def listed(client: ClientSession, query: str = "", status: int = 200) -> Any:
    """The list for a query."""
    async with client.get(f"/api/jobs?{query}") as response:
        assert response.status == status, await response.text()
        return await response.json()


async def test_jobs_are_listed_newest_first_by_page(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        ids = [(await run_once(client, graph(i)))["id"] for i in range(3)]
        found = await listed(client, "limit=2&offset=0")
        assert [job["id"] for job in found["jobs"]] == [ids[2], ids[1]]
        assert found["pagination"] == {"offset": 0, "limit": 2, "total": 3, "has_more": True}
        assert [j["id"] for j in (await listed(client, "sort_order=asc&offset=1"))["jobs"]] == ids[1:]
        took = [
            j["execution_end_time"] - j["execution_start_time"]
            for j in (await listed(client, "sort_by=execution_duration"))["jobs"]
        ]
        assert took == sorted(took, reverse=True)


async def test_a_line_tells_times_outputs_and_the_picture_to_show(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        job = await run_once(client, graph(1), extra_data=WORKFLOW)
        (line,) = (await listed(client, "status=completed&workflow_id=wf-1"))["jobs"]
        assert (line["id"], line["status"], line["workflow_id"]) == (job["id"], "completed", "wf-1")
        assert line["create_time"] <= line["execution_start_time"] <= line["execution_end_time"]
        assert (line["outputs_count"], line["execution_error"]) == (1, None)
        assert line["preview_output"] == {
            "filename": "p_00001_.png", "subfolder": "", "type": "output", "nodeId": "9",
            "mediaType": "images",
        }  # fmt: skip
        assert (await listed(client, "workflow_id=wf-2"))["jobs"] == []


async def test_one_job_has_its_outputs_and_its_workflow(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        job = await run_once(client, graph(1), extra_data={**WORKFLOW, "api_key_comfy_org": "secret"})
        async with client.get(f"/api/jobs/{job['id']}") as response:
            text = await response.text()
            found = await response.json()
        assert found["workflow"]["prompt"] == graph(1)
        assert found["outputs"]["9"]["images"][0]["filename"] == "p_00001_.png"
        assert found["execution_status"]["completed"]
        assert "secret" not in text
        async with client.get("/api/jobs/none") as response:
            assert (response.status, await response.json()) == (404, {"error": "Job not found"})


async def test_statuses_are_told_apart_and_jobs_cancelled_in_any(tmp_path: Path) -> None:
    gate("list")
    async with served(tmp_path, tiny()) as (client, _):
        await run_once(client, graph(1, through="Raise"))
        running = await submit(client, graph(1, through="Gate", name="list"))
        await begun("list")
        waiting = await submit(client, graph(2))
        found = {j["status"]: j for j in (await listed(client))["jobs"]}
        assert set(found) == {"pending", "in_progress", "failed"}
        assert found["failed"]["execution_error"]["node_id"] == "5"
        assert [j["id"] for j in (await listed(client, "status=in_progress,pending"))["jobs"]] == [
            waiting["id"],
            running["id"],
        ]
        for job in (waiting, running):
            async with client.post(f"/api/jobs/{job['id']}/cancel") as response:
                assert (response.status, (await response.json())["cancelled"]) == (200, True)
            assert (await ended(client, job["id"]))["status"] == "canceled"
        async with client.post("/api/jobs/none/cancel") as response:
            assert response.status == 404
        assert len((await listed(client, "status=cancelled"))["jobs"]) == 2


async def test_wrong_parameters_are_told(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        for query in ("status=done", "sort_by=x", "sort_order=x", "limit=x", "limit=0", "offset=x"):
            assert "error" in await listed(client, query, 400)
