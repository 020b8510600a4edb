"""Submitting, the queue, interrupting and freeing: literal bodies of /prompt, /queue, /interrupt, /free."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from engine.registry import Registry
from engine.workflow import from_json
from server.editor_form import as_editor
from tests.server.served import LET_GO, Served, heard, heard_until_end, pair, served


@pytest.fixture
async def server(tmp_path: Path, registry: Registry) -> AsyncIterator[Served]:
    async with served(tmp_path, registry) as found:
        yield found


async def busy(server: Served) -> str:
    """Have something run, so that what is sent next waits; its id."""
    async with server.socket("busy") as socket:
        id = await server.send(pair(0, "Hold"), client_id="busy")
        while (await heard(socket))["type"] != "progress":
            pass
    return id


def without_hints(told: Any) -> Any:
    """An answer without what we say beyond the classic."""
    for entry in told["node_errors"].values():
        for error in entry["errors"]:
            for ours in ("hint", "input_config"):
                error["extra_info"].pop(ours, None)
    return told


async def test_a_sound_prompt_is_answered_with_its_id_and_number(server: Served) -> None:
    status, told = await server.post("/prompt", {"prompt": pair(), "client_id": "me"})
    assert (status, told) == (200, {"prompt_id": told["prompt_id"], "number": 0, "node_errors": {}})
    assert (await server.post("/api/prompt", {"prompt": pair()}))[1]["number"] == 1


async def test_a_prompt_as_the_editor_saves_it_is_turned_into_the_api_form(server: Served) -> None:
    state = server.state
    form = as_editor(from_json(pair()), state.registry, state.env)
    async with server.socket("me") as socket:
        id = await server.send(form, client_id="me")
        await heard_until_end(socket, id)
    job = state.queue.job(id)
    assert job is not None
    assert job.status == "success"
    assert {i: n["class_type"] for i, n in job.prompt.items()} == {
        i: n["class_type"] for i, n in pair().items()
    }
    assert job.extra_data["extra_pnginfo"] == {"workflow": form}
    status, told = await server.post("/prompt", {"prompt": form | {"nodes": [5], "links": [6]}})
    assert status == 400
    assert "entry 0 of" in told["error"]["message"] + told["error"]["details"]


async def test_an_id_of_the_callers_own_is_kept_and_taken_once(server: Served) -> None:
    assert await server.send(pair(), prompt_id="mine") == "mine"
    status, told = await server.post("/prompt", {"prompt": pair(), "prompt_id": "mine"})
    assert (status, told["error"]["type"]) == (409, "id_taken")
    assert await server.send(pair(), prompt_id=7) == "7"


async def test_a_number_is_echoed_as_it_was_given(server: Served) -> None:
    _, told = await server.post("/prompt", {"prompt": pair(), "number": 7})
    assert (told["number"], type(told["number"])) == (7.0, float)
    _, told = await server.post("/prompt", {"prompt": pair(), "front": True})
    assert (told["number"], type(told["number"])) == (0, int)
    assert (await server.post("/prompt", {"prompt": pair(), "front": True}))[1]["number"] == -1
    await server.post("/prompt", {"prompt": {}})
    assert (await server.post("/prompt", {"prompt": pair()}))[1]["number"] in (2, 3)


async def test_what_waits_is_listed_in_the_order_in_which_it_will_run(server: Served) -> None:
    running = await busy(server)
    p2 = await server.send(pair(2), front=True)
    p3 = await server.send(pair(3))
    p4 = await server.send(pair(4), front=True)
    p5 = await server.send(pair(5), number=-100)
    queue = await server.get("/queue")
    assert [item[1] for item in queue["queue_running"]] == [running]
    assert [(item[0], item[1]) for item in queue["queue_pending"]] == [
        (-100.0, p5),
        (-3, p4),
        (-1, p2),
        (2, p3),
    ]
    assert await server.get("/prompt") == {"exec_info": {"queue_remaining": 5}}
    LET_GO.set()
    await server.ended(p3)
    assert list(await server.get("/history")) == [running, p5, p4, p2, p3]


async def test_an_item_of_the_queue_has_five_parts_and_no_secrets(server: Served) -> None:
    await busy(server)
    extra = {"extra_pnginfo": {"workflow": {"nodes": []}}, "api_key_comfy_org": "secret", "mine": 1}
    extra["auth_token_comfy_org"] = "secret"
    id = await server.send(pair(1), extra_data=extra, client_id="me")
    shown = {"extra_pnginfo": {"workflow": {"nodes": []}}, "mine": 1, "client_id": "me"}
    queue = await server.get("/queue")
    assert queue["queue_pending"] == [[1, id, pair(1), shown, ["2"]]]


async def test_waiting_jobs_can_be_deleted_and_cleared(server: Served) -> None:
    running = await busy(server)
    ids = [await server.send(pair(i)) for i in range(1, 5)]
    assert await server.post("/queue", {"delete": [ids[1], "unknown", running]}) == (200, None)
    left = [item[1] for item in (await server.get("/queue"))["queue_pending"]]
    assert left == [ids[0], ids[2], ids[3]]
    assert await server.post("/queue", {"clear": True}) == (200, None)
    queue = await server.get("/queue")
    assert queue["queue_pending"] == []
    assert [item[1] for item in queue["queue_running"]] == [running]


async def test_an_interrupt_of_another_job_is_without_effect(server: Served) -> None:
    running = await busy(server)
    waiting = await server.send(pair(1))
    for id in (waiting, "unknown"):
        assert await server.post("/interrupt", {"prompt_id": id}) == (200, None)
    assert [i[1] for i in (await server.get("/queue"))["queue_running"]] == [running]
    assert await server.post("/interrupt", {"prompt_id": running}) == (200, None)
    await server.ended(running, waiting)
    assert (await server.get(f"/history/{waiting}"))[waiting]["status"]["status_str"] == "success"


@pytest.mark.parametrize("body", [b"", b"{}", b"not json", b"[]"])
async def test_an_interrupt_needs_no_body(server: Served, body: bytes) -> None:
    running = await busy(server)
    async with server.session.post(server.address + "/interrupt", data=body) as answer:
        assert (answer.status, await answer.read()) == (200, b"")
    await server.ended(running)


async def test_an_interrupt_while_nothing_runs_does_not_touch_the_next_job(server: Served) -> None:
    await server.post("/interrupt")
    async with server.socket("me") as socket:
        id = await server.send(pair(1), client_id="me")
        await heard_until_end(socket, id)
    assert (await server.get(f"/history/{id}"))[id]["status"]["completed"]


async def test_memory_is_freed_and_results_with_it_if_asked(server: Served) -> None:
    await server.ended(await server.send(pair(1)))
    assert (await server.post("/free", {}))[0] == 200
    assert (await server.post("/free", {"unload_models": True}))[0] == 200
    assert (await server.post("/free", {"unload_models": True, "free_memory": True}))[0] == 200


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", ""])
async def test_the_body_is_json_whatever_its_type_says(server: Served, kind: str) -> None:
    headers = {"Content-Type": kind} if kind else {}
    where = server.address + "/prompt"
    async with server.session.post(where, data=b'{"prompt": {}}', headers=headers) as answer:
        assert (await answer.json())["error"]["type"] == "prompt_no_outputs"


NO_PROMPT = {
    "type": "no_prompt",
    "message": "No prompt provided",
    "details": "No prompt provided",
    "extra_info": {},
}


async def test_a_body_without_a_prompt_is_refused(server: Served) -> None:
    assert await server.post("/prompt", {}) == (400, {"error": NO_PROMPT, "node_errors": {}})


@pytest.mark.parametrize("body", [{"prompt": {}}, {"prompt": pair(), "partial_execution_targets": []}])
async def test_a_prompt_without_outputs_is_refused(server: Served, body: Any) -> None:
    status, told = await server.post("/prompt", body)
    assert (status, told["node_errors"]) == (400, {})
    error = {k: told["error"][k] for k in ("type", "message", "details")}
    assert error == {"type": "prompt_no_outputs", "message": "Prompt has no outputs", "details": ""}


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"inputs": {}}, "Cannot execute because a node is missing the class_type property."),
        ({"class_type": "Nope", "inputs": {}}, "Cannot execute because node Nope does not exist."),
    ],
)
async def test_a_node_of_no_class_is_refused(server: Served, node: Any, message: str) -> None:
    status, told = await server.post("/prompt", {"prompt": {**pair(), "9": node}})
    assert status == 400
    assert {k: told["error"][k] for k in ("type", "message", "details")} == {
        "type": "invalid_prompt",
        "message": message,
        "details": "Node ID '#9'",
    }


async def test_outputs_that_can_run_do_and_the_others_are_told_of(server: Served) -> None:
    graph = {**pair(), "3": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}}}
    status, told = await server.post("/prompt", {"prompt": graph})
    assert status == 200
    assert without_hints(told)["node_errors"] == {
        "3": {
            "errors": [
                {
                    "type": "required_input_missing",
                    "message": "Required input is missing",
                    "details": "filename_prefix",
                    "extra_info": {"input_name": "filename_prefix"},
                }
            ],
            "dependent_outputs": ["3"],
            "class_type": "SaveImage",
        }
    }
    await server.ended(told["prompt_id"])
    entry = (await server.get(f"/history/{told['prompt_id']}"))[told["prompt_id"]]
    assert entry["prompt"][4] == ["2"]
    assert list(entry["outputs"]) == ["2"]


async def test_partial_execution_runs_the_outputs_that_are_named(server: Served) -> None:
    more = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "other"}}
    graph = {**pair(), "3": more}
    id = await server.send(graph, partial_execution_targets=["3", "1", "unknown"])
    await server.ended(id)
    entry = (await server.get(f"/history/{id}"))[id]
    assert entry["prompt"][4] == ["3"]
    assert list(entry["outputs"]) == ["3"]


def changed(node: str, name: str, value: Any) -> dict[str, Any]:
    graph = pair()
    graph[node]["inputs"][name] = value
    return graph


@pytest.mark.parametrize(
    ("graph", "at", "type", "message", "details", "extra"),
    [
        (
            changed("1", "width", 0),
            "1",
            "value_smaller_than_min",
            "Value 0 smaller than min of 1",
            "width",
            {"input_name": "width", "received_value": 0},
        ),
        (
            changed("1", "width", 99999999),
            "1",
            "value_bigger_than_max",
            "Value 99999999 bigger than max of 16384",
            "width",
            {"input_name": "width", "received_value": 99999999},
        ),
        (
            changed("1", "batch_size", "x"),
            "1",
            "invalid_input_type",
            "Failed to convert an input value to a INT value",
            "batch_size, x, ",
            {"input_name": "batch_size", "received_value": "x"},
        ),
        (
            changed("2", "images", ["1"]),
            "2",
            "bad_linked_input",
            "Bad linked input, must be a length-2 list of [node_id, slot_index]",
            "images",
            {"input_name": "images", "received_value": ["1"]},
        ),
    ],
)
async def test_wrong_values_are_told_by_node_and_input(
    server: Served, graph: Any, at: str, type: str, message: str, details: str, extra: Any
) -> None:
    status, told = await server.post("/prompt", {"prompt": graph})
    assert (status, told["error"]["type"]) == (400, "prompt_outputs_failed_validation")
    assert told["error"]["message"] == "Prompt outputs failed validation"
    assert list(told["node_errors"]) == [at]
    entry = told["node_errors"][at]
    assert (entry["dependent_outputs"], entry["class_type"]) == (["2"], graph[at]["class_type"])
    [error] = entry["errors"]
    assert (error["type"], error["message"]) == (type, message)
    assert error["details"].startswith(details)
    assert extra.items() <= error["extra_info"].items()


async def test_a_link_of_another_type_is_told_with_both_types(server: Served) -> None:
    graph = pair()
    graph["3"] = {"class_type": "EmptyLatentImage", "inputs": {"width": 16, "height": 16, "batch_size": 1}}
    graph["2"]["inputs"]["images"] = ["3", 0]
    _, told = await server.post("/prompt", {"prompt": graph})
    [error] = told["node_errors"]["2"]["errors"]
    assert error["type"] == "return_type_mismatch"
    assert error["message"] == "Return type mismatch between linked nodes"
    assert error["details"] == "images, received_type(LATENT) mismatch input_type(IMAGE)"
    assert told["error"]["details"] == f"{error['message']}: {error['details']}"


async def test_a_value_that_is_no_choice_is_told_with_the_choices(server: Served) -> None:
    graph = pair()
    graph["3"] = {
        "class_type": "ImageScale",
        "inputs": {"image": ["1", 0], "upscale_method": "foo", "width": 8, "height": 8, "crop": "disabled"},
    }
    graph["2"]["inputs"]["images"] = ["3", 0]
    _, told = await server.post("/prompt", {"prompt": graph})
    [error] = told["node_errors"]["3"]["errors"]
    assert (error["type"], error["message"]) == ("value_not_in_list", "Value not in list")
    assert error["details"].startswith("upscale_method: ")
    assert "nearest-exact" in error["details"]


async def test_a_circle_is_refused(server: Served) -> None:
    graph = pair()
    for id, other in (("3", "4"), ("4", "3")):
        graph[id] = {"class_type": "ImageInvert", "inputs": {"image": [other, 0]}}
    graph["2"]["inputs"]["images"] = ["3", 0]
    status, told = await server.post("/prompt", {"prompt": graph})
    assert status == 400
    assert "circle" in str(told) or "cycle" in str(told)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[1]", b'"text"', b"null", b"[" * 10_000])
async def test_what_is_no_json_object_is_refused_and_says_so(server: Served, body: bytes) -> None:
    async with server.session.post(server.address + "/prompt", data=body) as answer:
        assert answer.status == 400
        assert answer.content_type == "application/json"
        assert (await answer.json())["error"]["message"]


@pytest.mark.parametrize(
    "more",
    [
        {"extra_data": []},
        {"number": "first"},
        {"number": float("inf")},
        {"partial_execution_targets": "2"},
        {"prompt_id": ""},
        {"prompt_id": "x" * 300},
    ],
)
async def test_fields_of_a_wrong_form_are_refused(server: Served, more: Any) -> None:
    status, told = await server.post("/prompt", {"prompt": pair(), **more})
    assert (status, told["error"]["type"]) == (400, "invalid_request")
    assert next(iter(more)) in told["error"]["message"]


@pytest.mark.parametrize("body", [{"delete": "all"}, {"delete": {"1": 2}}])
async def test_ids_to_delete_are_a_list(server: Served, body: Any) -> None:
    for path in ("/queue", "/history"):
        assert (await server.post(path, body))[0] == 400


async def test_while_stopping_nothing_more_is_accepted(server: Served) -> None:
    server.state.workers.stopping = True
    status, told = await server.post("/prompt", {"prompt": pair()})
    assert (status, told["error"]["type"]) == (503, "stopping")
