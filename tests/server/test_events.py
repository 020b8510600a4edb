"""Events of a job: a snapshot, what happens, its end; replayed to who comes back."""

import asyncio
import base64
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from server.jobview import OVER
from tests.server.jobs_app import begun, ended, frames, gate, graph, run_once, served, submit, tiny


def to_the_end(type: str, data: Any) -> bool:
    """Nothing ends a stream but its end."""
    return False


async def poll(client: ClientSession, id: str, query: str) -> Any:
    """One answer of the long poll."""
    async with client.get(f"/api/v2/jobs/{id}/events?{query}") as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def test_a_stream_begins_with_how_things_are_and_ends_after_the_end(tmp_path: Path) -> None:
    opened = gate("watched")
    async with served(tmp_path, tiny(), preview_method="auto") as (client, _):
        job = await submit(client, graph(1, through="Gate", name="watched"))
        await begun("watched")
        path = f"/api/v2/jobs/{job['id']}/events"
        first = await frames(client, path, lambda type, data: type == "progress" and "step" in data)
        assert first[0][1:] == ("status", {"status": "running", "queue_position": None})
        progress = first[-1][2]
        assert (progress["current_node"], progress["step"], progress["steps"]) == ("5", 1, 4)
        watching = asyncio.create_task(frames(client, path, to_the_end))
        opened.set()
        told = await watching
        assert told[-1][1:] == ("status", {"status": "succeeded", "queue_position": None})
        assert [d["node_id"] for _, type, d in told if type == "output"] == ["9"]
        numbers = [n for n, _, _ in told]
        assert numbers == sorted(numbers)


async def test_previews_are_pictures_in_base64(tmp_path: Path) -> None:
    gate("seen").set()
    async with served(tmp_path, tiny()) as (client, _):
        job = await run_once(client, graph(1, through="Gate", name="seen"))
        told = await frames(client, f"/api/v2/jobs/{job['id']}/events?after=0", to_the_end)
        (preview,) = [data for _, type, data in told if type == "preview"]
        assert (preview["node_id"], preview["content_type"]) == ("5", "image/jpeg")
        assert base64.b64decode(preview["data_base64"]).startswith(b"\xff\xd8")


async def test_who_comes_back_gets_what_was_missed_and_nothing_twice(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        job = await run_once(client, graph(1))
        path = f"/api/v2/jobs/{job['id']}/events"
        whole = await frames(client, f"{path}?after=0", to_the_end)
        assert [d["status"] for _, type, d in whole if type == "status"] == ["queued", "running", "succeeded"]
        middle = whole[len(whole) // 2][0]
        rest = await frames(client, path, to_the_end, **{"Last-Event-ID": str(middle)})
        assert rest == [entry for entry in whole if entry[0] > middle]
        last = await frames(client, path, to_the_end, **{"Last-Event-ID": str(whole[-1][0])})
        assert [(type, data["status"]) for _, type, data in last] == [("status", "succeeded")]


async def test_a_number_from_another_time_gives_a_snapshot(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        job = await run_once(client, graph(1))
        told = await frames(client, f"/api/v2/jobs/{job['id']}/events?after=99999999", to_the_end)
        assert [type for _, type, _ in told] == ["output", "status"]
        for wrong in ("x", "-1", "1e3", "٣"):
            async with client.get(f"/api/v2/jobs/{job['id']}/events", params={"after": wrong}) as response:
                assert response.status == 400


async def test_after_a_restart_the_end_is_told_from_the_row(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        job = await run_once(client, graph(1))
    async with served(tmp_path, tiny()) as (client, _):
        told = await frames(client, f"/api/v2/jobs/{job['id']}/events", to_the_end)
        assert [type for _, type, _ in told] == ["output", "status"]
        assert told[-1][2]["status"] == "succeeded"


async def test_a_job_that_waits_since_before_the_start_is_watched_to_its_end(tmp_path: Path) -> None:
    gate("held")
    async with served(tmp_path, tiny(), stop_seconds=0.0) as (client, _):
        await submit(client, graph(1, through="Gate", name="held"))
        await begun("held")
        job = await submit(client, graph(2))
    gate("held")  # once more: it begins again
    async with served(tmp_path, tiny()) as (client, _):
        await begun("held")
        path = f"/api/v2/jobs/{job['id']}/events"
        first = await frames(client, path, lambda type, _: type == "status")
        assert first[0][2] == {"status": "queued", "queue_position": 0}
        watching = asyncio.create_task(frames(client, path, to_the_end))
        gate("held").set()
        assert (await watching)[-1][2]["status"] == "succeeded"


async def test_long_polling_waits_for_what_comes_next(tmp_path: Path) -> None:
    opened = gate("polled")
    async with served(tmp_path, tiny()) as (client, _):
        job = await submit(client, graph(1, through="Gate", name="polled"))
        await begun("polled")
        now = await poll(client, job["id"], "wait=0")
        assert (now["status"], now["ended"]) == ("running", False)
        seen = now
        while (more := await poll(client, job["id"], f"wait=0&after={seen['after']}"))["events"]:
            seen = more
        assert (more["after"], more["status"], more["ended"]) == (seen["after"], "running", False)
        waiting = asyncio.create_task(poll(client, job["id"], f"wait=30&after={more['after']}"))
        opened.set()
        assert (await waiting)["events"]
        assert (await ended(client, job["id"]))["status"] == "succeeded"
        for wrong in ("wait=-1", "wait=999", "wait=x"):
            async with client.get(f"/api/v2/jobs/{job['id']}/events?{wrong}") as response:
                assert response.status == 400


async def test_a_watched_job_that_is_cancelled_while_it_waits_ends_its_stream(tmp_path: Path) -> None:
    gate("before")
    async with served(tmp_path, tiny()) as (client, _):
        await submit(client, graph(1, through="Gate", name="before"))
        await begun("before")
        job = await submit(client, graph(2))
        async with client.get(f"/api/v2/jobs/{job['id']}/events") as response:
            await response.content.readuntil(b"\n\n")
            async with client.post(job["urls"]["cancel"]):
                pass
            rest = await response.content.read()
        assert b'"canceled"' in rest
        assert await _told_last(client, job["id"]) in OVER


async def test_a_stream_goes_on_when_its_job_is_run_again(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        job = await run_once(client, graph(1))
        before = await frames(client, f"/api/v2/jobs/{job['id']}/events?after=0", to_the_end)
        async with client.post(f"/api/v2/jobs/{job['id']}/retry"):
            pass
        after = await frames(client, f"/api/v2/jobs/{job['id']}/events?after={before[-1][0]}", to_the_end)
        assert after[0][0] > before[-1][0]
        assert after[-1][2]["status"] == "succeeded"


async def test_a_watcher_that_leaves_disturbs_nobody(tmp_path: Path) -> None:
    opened = gate("left")
    async with served(tmp_path, tiny()) as (client, _):
        job = await submit(client, graph(1, through="Gate", name="left"))
        await begun("left")
        for _ in range(20):
            async with client.get(f"/api/v2/jobs/{job['id']}/events") as response:
                response.close()
        opened.set()
        assert (await ended(client, job["id"]))["status"] == "succeeded"


async def _told_last(client: ClientSession, id: str) -> str:
    told = await frames(client, f"/api/v2/jobs/{id}/events", to_the_end)
    return str(told[-1][2]["status"])
