"""What is told over /ws: which messages, in which order, to whom; binary layouts; what was missed."""

import io
import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from engine.registry import Registry
from tests.server.served import LET_GO, Served, heard, heard_until_end, pair, served

FLAGS = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}


@pytest.fixture
async def server(tmp_path: Path, registry: Registry) -> AsyncIterator[Served]:
    async with served(tmp_path, registry) as found:
        yield found


def shape(message: Any) -> str:
    """A message in a word: what the order of messages is compared by."""
    if isinstance(message, bytes):
        return f"binary {struct.unpack('>I', message[:4])[0]}"
    type, data = message["type"], message["data"]
    match type:
        case "status":
            return f"status {data['status']['exec_info']['queue_remaining']}"
        case "executing":
            return f"executing {data['node']}"
        case "executed":
            return f"executed {data['node']}"
        case "progress_state":
            return "state " + " ".join(f"{id}={n['state']}" for id, n in data["nodes"].items())
        case "progress":
            return f"progress {data['value']}/{data['max']}"
    return str(type)


def data_of(messages: list[Any], type: str) -> Any:
    [found] = [m["data"] for m in messages if not isinstance(m, bytes) and m["type"] == type]
    return found


async def test_a_run_is_told_in_the_classic_order(server: Served) -> None:
    async with server.socket("me") as socket:
        assert await heard(socket) == {
            "type": "status",
            "data": {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "me"},
        }
        id = await server.send(pair(1), client_id="me")
        told = await heard_until_end(socket, id)
    assert [shape(m) for m in told] == [
        "status 1",
        "status 1",
        "execution_start",
        "execution_cached",
        "state 1=running",
        "executing 1",
        "state 1=finished",
        "state 1=finished 2=running",
        "executing 2",
        "executed 2",
        "state 1=finished 2=finished",
        "execution_success",
        "status 0",
        "executing None",
    ]


async def test_the_messages_of_a_run_have_the_classic_keys(server: Served) -> None:
    async with server.socket("me") as socket:
        id = await server.send(pair(2), client_id="me")
        told = (await heard_until_end(socket, id))[1:]
    stamp = data_of(told, "execution_start")["timestamp"]
    assert isinstance(stamp, int)
    assert stamp > 1_700_000_000_000
    assert data_of(told, "execution_start") == {"prompt_id": id, "timestamp": stamp}
    cached = data_of(told, "execution_cached")
    assert cached == {"nodes": [], "prompt_id": id, "timestamp": cached["timestamp"]}
    assert data_of(told, "executed") == {
        "node": "2",
        "display_node": "2",
        "output": {"images": [{"filename": "pair_00001_.png", "subfolder": "", "type": "output"}]},
        "prompt_id": id,
    }
    assert {"type": "executing", "data": {"node": "1", "display_node": "1", "prompt_id": id}} in told
    first = next(m["data"] for m in told if m["type"] == "progress_state")
    assert first == {
        "prompt_id": id,
        "nodes": {
            "1": {
                "value": 0.0,
                "max": 1.0,
                "state": "running",
                "node_id": "1",
                "prompt_id": id,
                "display_node_id": "1",
                "parent_node_id": None,
                "real_node_id": "1",
            }
        },
    }
    assert set(data_of(told, "execution_success")) == {"prompt_id", "timestamp"}


async def test_a_rerun_of_the_same_tells_its_outputs_and_runs_nothing(server: Served) -> None:
    await server.ended(await server.send(pair(3)))
    async with server.socket("me") as socket:
        await heard(socket)
        id = await server.send(pair(3), client_id="me")
        told = await heard_until_end(socket, id)
    assert [shape(m) for m in told] == [
        "status 1",
        "status 1",
        "execution_start",
        "execution_cached",
        "executed 2",
        "state 2=finished",
        "execution_success",
        "status 0",
        "executing None",
    ]
    assert data_of(told, "execution_cached")["nodes"] == ["1", "2"]
    state = data_of(told, "progress_state")["nodes"]["2"]
    assert (state["value"], state["max"]) == (1, 1)


async def test_a_failure_is_told_with_the_node_that_failed(server: Served) -> None:
    async with server.socket("me") as socket:
        await heard(socket)
        id = await server.send(pair(4, "Break"), client_id="me")
        told = await heard_until_end(socket, id)
    assert [shape(m) for m in told][-3:] == ["execution_error", "status 0", "executing None"]
    error = data_of(told, "execution_error")
    assert set(error) == {
        "prompt_id",
        "node_id",
        "node_type",
        "executed",
        "exception_message",
        "exception_type",
        "traceback",
        "current_inputs",
        "current_outputs",
        "timestamp",
    }
    assert (error["node_id"], error["node_type"], error["executed"]) == ("3", "Break", ["1"])
    assert error["exception_message"].startswith("out of order")
    assert error["exception_type"] == "RuntimeError"
    assert all(isinstance(line, str) for line in error["traceback"])
    assert error["traceback"]
    assert all(isinstance(v, list) for v in error["current_inputs"].values())


async def test_an_interrupt_is_told_with_the_node_that_ran(server: Served) -> None:
    async with server.socket("me") as socket:
        id = await server.send(pair(5, "Hold"), client_id="me")
        told: list[Any] = []
        while not told or shape(told[-1]) != "progress 2/1000000":
            told.append(await heard(socket))
        assert (await server.post("/interrupt"))[0] == 200
        told = await heard_until_end(socket, id)
    ending = [shape(m) for m in told if not shape(m).startswith(("progress", "state"))]
    assert ending == ["execution_interrupted", "status 0", "executing None"]
    data = data_of(told, "execution_interrupted")
    stamp = data.pop("timestamp")
    assert data == {"prompt_id": id, "node_id": "3", "node_type": "Hold", "executed": ["1"]}
    assert isinstance(stamp, int)


async def test_two_clients_hear_each_of_their_own_runs(server: Served) -> None:
    async with server.socket("a") as a, server.socket("b") as b:
        first = await server.send(pair(6), client_id="a")
        second = await server.send(pair(7, "Break"), client_id="b")
        heard_a, heard_b = await heard_until_end(a, first), await heard_until_end(b, second)
    ids = [{m["data"]["prompt_id"] for m in told if "prompt_id" in m["data"]} for told in (heard_a, heard_b)]
    assert ids == [{first}, {second}]


async def test_of_a_run_without_a_client_everybody_hears_the_progress_only(server: Served) -> None:
    async with server.socket("a") as socket:
        await heard(socket)
        id = await server.send(pair(8, "Preview"))
        told = []
        while not told or shape(told[-1]) != "status 0":
            told.append(await heard(socket))
    assert {m["type"] for m in told if not isinstance(m, bytes)} == {"status", "progress_state", "progress"}
    assert {m["data"]["prompt_id"] for m in told if "progress" in str(m)[:20]} == {id}
    assert [shape(m) for m in told if isinstance(m, bytes)] == ["binary 1", "binary 1"]


async def test_an_interrupted_run_without_a_client_is_told_to_everybody(server: Served) -> None:
    async with server.socket("a") as socket:
        await server.send(pair(9, "Hold"))
        while shape(await heard(socket)) != "progress 1/1000000":
            pass
        await server.post("/interrupt")
        while (message := await heard(socket))["type"] != "execution_interrupted":
            pass
    assert message["data"]["node_id"] == "3"


async def test_features_are_agreed_on_by_the_first_message(server: Served) -> None:
    async with server.socket("me") as socket:
        await heard(socket)
        await socket.send_json(FLAGS)
        assert await heard(socket) == {
            "type": "feature_flags",
            "data": {"supports_preview_metadata": True, "max_upload_size": 104857600},
        }
    assert await server.get("/features") == {"supports_preview_metadata": True, "max_upload_size": 104857600}


@pytest.mark.parametrize("text", ["hello", "[" * 100_000, '{"type": 1}', '{"type":"feature_flags"}', "null"])
async def test_other_texts_of_a_client_are_passed_over(server: Served, text: str) -> None:
    async with server.socket("me") as socket:
        await heard(socket)
        await socket.send_str(text)
        await socket.send_json(FLAGS)  # comes too late
        id = await server.send(pair(10, "Preview"), client_id="me")
        told = await heard_until_end(socket, id)
    assert {shape(m) for m in told if isinstance(m, bytes)} == {"binary 1"}


async def test_previews_are_pictures_after_two_numbers(server: Served) -> None:
    async with server.socket("me") as socket:
        id = await server.send(pair(11, "Preview"), client_id="me")
        told = await heard_until_end(socket, id)
    first, second = [m for m in told if isinstance(m, bytes)]
    assert first[:8] == bytes.fromhex("0000000100000001")
    assert PIL.Image.open(io.BytesIO(first[8:])).format == "JPEG"
    assert PIL.Image.open(io.BytesIO(first[8:])).size == (16, 8)
    assert second[:8] == bytes.fromhex("0000000100000002")
    assert PIL.Image.open(io.BytesIO(second[8:])).format == "PNG"


async def test_previews_are_described_to_clients_that_ask(server: Served) -> None:
    async with server.socket("me") as socket:
        await socket.send_json(FLAGS)
        while (await heard(socket))["type"] != "feature_flags":
            pass
        id = await server.send(pair(12, "Preview"), client_id="me")
        told = await heard_until_end(socket, id)
    first, _ = [m for m in told if isinstance(m, bytes)]
    event, length = struct.unpack(">II", first[:8])
    assert event == 4
    assert json.loads(first[8 : 8 + length]) == {
        "node_id": "3",
        "prompt_id": id,
        "display_node_id": "3",
        "parent_node_id": None,
        "real_node_id": "3",
        "image_type": "image/jpeg",
    }
    assert PIL.Image.open(io.BytesIO(first[8 + length :])).format == "JPEG"


async def test_without_an_id_a_client_is_given_one(server: Served) -> None:
    async with server.socket() as socket:
        sid = (await heard(socket))["data"]["sid"]
        assert len(bytes.fromhex(sid)) == 16
        id = await server.send(pair(13), client_id=sid)
        await heard_until_end(socket, id)


async def test_a_client_that_comes_back_is_told_where_its_run_is(server: Served) -> None:
    async with server.socket("me") as socket:
        id = await server.send(pair(14, "Hold"), client_id="me")
        while shape(await heard(socket)) != "progress 1/1000000":
            pass
    async with server.socket("me") as socket:
        assert shape(await heard(socket)) == "status 1"
        assert await heard(socket) == {"type": "executing", "data": {"node": "3"}}
        LET_GO.set()
        await heard_until_end(socket, id)


async def test_a_second_socket_of_the_same_id_hears_the_rest_of_the_run_too(server: Served) -> None:
    async with server.socket("me") as socket, server.socket("me") as other:
        id = await server.send(pair(15), client_id="me")
        assert [shape(m) for m in await heard_until_end(socket, id)][-1] == "executing None"
        await heard_until_end(other, id)


async def test_who_posts_first_and_listens_afterwards_hears_of_the_end(server: Served) -> None:
    id = await server.send(pair(16), client_id="late")
    await server.ended(id)
    async with server.socket("late") as socket:
        assert shape(await heard(socket)) == "status 0"
        assert await heard(socket) == {"type": "executing", "data": {"node": None, "prompt_id": id}}
    async with server.socket("late") as socket:
        assert shape(await heard(socket)) == "status 0"
        again = await server.send(pair(16), client_id="late")
        told = await heard_until_end(socket, again)
        assert shape(told[0]) == "status 1"


async def test_the_history_is_there_before_the_end_is_told(server: Served) -> None:
    async with server.socket("me") as socket:
        await heard(socket)
        id = await server.send(pair(17), client_id="me")
        while shape(await heard(socket)) != "execution_success":
            pass
        assert await server.get(f"/history/{id}")
        assert (await server.get("/prompt"))["exec_info"]["queue_remaining"] == 0
