"""comfy_api_simplified, unmodified: queue, wait, pictures, upload, interrupt."""

import json
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.server.clients.graphs import drawing, picture

simplified = pytest.importorskip("comfy_api_simplified")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture
def api(address: str):
    return simplified.ComfyApiWrapper(address)


def test_it_queues_a_prompt_waits_and_gets_the_pictures(api, base_directory: Path) -> None:
    found = api.queue_and_wait_images(picture("simple", batch=2), "SaveImage")
    assert list(found) == ["simple_00001_.png", "simple_00002_.png"]
    assert found["simple_00001_.png"] == (base_directory / "output" / "simple_00001_.png").read_bytes()


def test_what_is_cached_is_found_all_the_same(api) -> None:
    graph = picture("simple_again")
    assert list(api.queue_and_wait_images(graph, "SaveImage")) == ["simple_again_00001_.png"]
    assert list(api.queue_and_wait_images(graph, "SaveImage")) == ["simple_again_00001_.png"]


def test_previews_are_not_taken_for_pictures(api) -> None:
    assert list(api.queue_and_wait_images(drawing(2, "simple_drawn"), "SaveImage")) == [
        "simple_drawn_00001_.png"
    ]


def test_it_uploads_into_a_folder(api, tmp_path: Path, base_directory: Path) -> None:
    (tmp_path / "up.png").write_bytes(b"not looked at")
    told = api.upload_image(tmp_path / "up.png")
    assert told == {"name": "up.png", "subfolder": "default_upload_folder", "type": "input"}
    assert (base_directory / "input" / "default_upload_folder" / "up.png").is_file()


def test_it_interrupts_what_runs_and_is_told(api, address: str) -> None:
    with connect(address.replace("http", "ws") + "/ws?clientId=someone") as socket:
        sent = api.queue_prompt(drawing(3000), "someone")
        behind = api.queue_prompt(picture("behind"), "someone")
        assert api.get_queue_size_before(behind["prompt_id"]) in (1, 2)
        until(socket, "progress", sent["prompt_id"])
        assert api.get_queue_size_before(sent["prompt_id"]) == 0
        assert api.get_queue_size_before(behind["prompt_id"]) == 1
        api.interrupt()
        until(socket, "executing", sent["prompt_id"], node=None)
    entry = api.get_history(sent["prompt_id"])[sent["prompt_id"]]
    assert entry["status"]["status_str"] == "error"
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"


def until(socket: ClientConnection, type: str, id: str, **data: Any) -> None:
    """Read until a message of this type is about this prompt, and says so."""
    while True:
        message = json.loads(socket.recv(timeout=60))
        if message["type"] == type and {**data, "prompt_id": id}.items() <= message["data"].items():
            return


def test_a_refused_prompt_is_an_error(api) -> None:
    with pytest.raises(simplified.exceptions.ComfyApiError, match="400"):
        api.queue_prompt({"1": {"class_type": "Nope", "inputs": {}}})


def test_it_reads_nodes_machine_and_embeddings(api) -> None:
    assert list(api.get_object_info("KSampler")) == ["KSampler"]
    assert "devices" in api.get_system_stats()
    assert api.get_embeddings() == []
