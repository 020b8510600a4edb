"""What is kept of ended jobs: literal entries of /history, its pages, forgetting."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.registry import Registry
from tests.server.served import Served, heard, pair, served


@pytest.fixture
async def server(tmp_path: Path, registry: Registry) -> AsyncIterator[Served]:
    async with served(tmp_path, registry) as found:
        yield found


async def test_the_entry_of_a_job_has_the_classic_form(server: Served) -> None:
    extra = {"extra_pnginfo": {"workflow": {"a": 1}}}
    id = await server.send(pair(1), client_id="cid1", extra_data=extra)
    await server.ended(id)
    found = await server.get(f"/history/{id}")
    start, cached, success = found[id]["status"]["messages"]
    stamps = [message[1].pop("timestamp") for message in (start, cached, success)]
    assert stamps == sorted(stamps)
    assert all(isinstance(stamp, int) for stamp in stamps)
    image = {"filename": "pair_00001_.png", "subfolder": "", "type": "output"}
    assert found == {
        id: {
            "prompt": [0, id, pair(1), {**extra, "client_id": "cid1"}, ["2"]],
            "outputs": {"2": {"images": [image]}},
            "status": {
                "status_str": "success",
                "completed": True,
                "messages": [
                    ["execution_start", {"prompt_id": id}],
                    ["execution_cached", {"nodes": [], "prompt_id": id}],
                    ["execution_success", {"prompt_id": id}],
                ],
            },
            "meta": {"2": {"node_id": "2", "display_node": "2", "parent_node": None, "real_node_id": "2"}},
        }
    }
    async with server.session.get(f"{server.address}/view", params=image) as answer:
        assert (answer.status, answer.content_type) == (200, "image/png")


async def test_cached_outputs_are_in_the_entry_too(server: Served) -> None:
    first = await server.send(pair(2))
    second = await server.send(pair(2))
    await server.ended(first, second)
    found = await server.get("/history")
    assert found[first]["outputs"] == found[second]["outputs"]
    assert found[second]["status"]["messages"][1][1]["nodes"] == ["1", "2"]


async def test_a_failure_is_kept_with_what_is_shown_of_it(server: Served) -> None:
    id = await server.send(pair(3, "Break"))
    await server.ended(id)
    status = (await server.get(f"/history/{id}"))[id]["status"]
    assert (status["status_str"], status["completed"]) == ("error", False)
    name, error = status["messages"][-1]
    assert (name, error["node_id"], error["node_type"]) == ("execution_error", "3", "Break")
    assert error["exception_message"].startswith("out of order")
    assert error["exception_type"] == "RuntimeError"
    assert set(error["current_inputs"]) == {"image", "mark"}


async def test_an_interrupted_job_keeps_what_was_made_before(server: Served) -> None:
    graph = pair(4, "Hold")
    graph["4"] = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "early"}}
    async with server.socket("me") as socket:
        id = await server.send(graph, client_id="me")
        seen: set[str] = set()
        while not {"executed", "progress"} <= seen:
            seen.add((await heard(socket))["type"])
        await server.post("/interrupt")
    await server.ended(id)
    entry = (await server.get(f"/history/{id}"))[id]
    assert entry["status"]["status_str"] == "error"
    assert not entry["status"]["completed"]
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"
    assert list(entry["outputs"]) == ["4"]


async def test_what_waits_runs_or_is_unknown_has_no_entry(server: Served) -> None:
    running = await server.send(pair(5, "Hold"))
    waiting = await server.send(pair(6))
    for id in (running, waiting, "unknown"):
        assert await server.get(f"/history/{id}") == {}
    assert await server.get("/history") == {}


async def test_a_job_deleted_while_it_waited_is_told_as_interrupted(server: Served) -> None:
    await server.send(pair(7, "Hold"))
    id = await server.send(pair(8))
    await server.post("/queue", {"delete": [id]})
    status = (await server.get(f"/history/{id}"))[id]["status"]
    assert (status["status_str"], status["messages"][-1][0]) == ("error", "execution_interrupted")


async def test_the_history_is_listed_oldest_first_in_pages(server: Served) -> None:
    ids = [await server.send(pair(i)) for i in range(5)]
    await server.ended(*ids)

    async def listed(query: str) -> list[str]:
        return list(await server.get(f"/history{query}"))

    assert await listed("") == ids
    assert await listed("?max_items=2") == ids[3:]
    assert await listed("?max_items=2&offset=-1") == ids[3:]
    assert await listed("?max_items=2&offset=1") == ids[1:3]
    assert await listed("?offset=3") == ids[3:]
    assert await listed("?max_items=0") == []
    assert await listed("?max_items=99&offset=99") == []


@pytest.mark.parametrize("query", ["max_items=x", "offset=1.5", "max_items="])
async def test_a_page_that_is_no_number_is_refused(server: Served, query: str) -> None:
    async with server.session.get(f"{server.address}/history?{query}") as answer:
        assert answer.status == 400
        assert "whole number" in (await answer.json())["error"]["message"]


async def test_ended_jobs_can_be_forgotten(server: Served) -> None:
    ids = [await server.send(pair(i)) for i in range(3)]
    await server.ended(*ids)
    assert await server.post("/history", {"delete": [ids[1], "unknown"]}) == (200, None)
    assert list(await server.get("/history")) == [ids[0], ids[2]]
    assert await server.post("/history", {"clear": True}) == (200, None)
    assert await server.get("/history") == {}
