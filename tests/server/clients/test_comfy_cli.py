"""comfy-cli, unmodified: run, jobs, upload, download."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.server.clients.graphs import Graph, drawing, picture

pytestmark = pytest.mark.slow
Comfy = Callable[..., str]


def envelope(printed: str) -> dict[str, Any]:
    """What a command says in the end; while it waits it may print events before."""
    found: dict[str, Any] = json.loads(printed.strip().splitlines()[-1])
    return found


def saved(folder: Path, graph: Graph) -> str:
    path = folder / "workflow.json"
    path.write_text(json.dumps(graph))
    return str(path)


def test_run_waits_for_the_pictures_and_says_where_they_are(comfy: Comfy, tmp_path: Path) -> None:
    told = envelope(comfy("run", "--workflow", saved(tmp_path, picture("cli")), "--wait"))
    assert told["ok"]
    assert told["data"]["status"] == "completed"
    assert told["data"]["executed_node_ids"] == ["1", "2"]
    assert told["data"]["cached_node_ids"] == []
    [url] = told["data"]["outputs"]
    with urlopen(url) as answer:
        assert answer.read(8) == b"\x89PNG\r\n\x1a\n"


def test_a_second_run_of_the_same_workflow_is_told_as_cached(comfy: Comfy, tmp_path: Path) -> None:
    path = saved(tmp_path, picture("cli_again"))
    first = envelope(comfy("run", "--workflow", path, "--wait"))
    again = envelope(comfy("run", "--workflow", path, "--wait"))
    assert again["data"]["cached_node_ids"] == ["1", "2"]
    assert again["data"]["outputs"] == first["data"]["outputs"]


def test_a_wrong_workflow_is_refused_with_the_reasons(comfy: Comfy, tmp_path: Path) -> None:
    graph = picture()
    graph["1"]["inputs"]["width"] = 0
    told = envelope(comfy("run", "--workflow", saved(tmp_path, graph), "--wait", ok=False))
    assert not told["ok"]
    assert "width" in json.dumps(told["error"])


def test_a_job_can_be_followed_watched_and_cancelled(comfy: Comfy, tmp_path: Path) -> None:
    sent = envelope(comfy("run", "--workflow", saved(tmp_path, drawing(3000))))
    id = sent["data"]["prompt_id"]
    assert sent["data"]["status"] == "queued"
    status = envelope(comfy("jobs", "status", id))["data"]["status"]
    assert status in ("running", "pending", "queued")
    assert envelope(comfy("jobs", "cancel", id))["data"]["found"]
    waited = envelope(comfy("jobs", "wait", id, ok=False))
    assert waited["error"]["code"] == "cancelled"
    watched = envelope(comfy("jobs", "watch", id, ok=False))
    assert watched["error"]["code"] == "cancelled"
    listed = {job["prompt_id"]: job["status"] for job in envelope(comfy("jobs", "ls"))["data"]["jobs"]}
    assert listed[id] == "error"  # what it calls all that did not complete


def test_files_go_up_and_outputs_come_down(comfy: Comfy, tmp_path: Path, base_directory: Path) -> None:
    (tmp_path / "mine.png").write_bytes(b"a picture")
    assert envelope(comfy("upload", str(tmp_path / "mine.png")))["ok"]
    assert (base_directory / "input" / "mine.png").read_bytes() == b"a picture"
    sent = envelope(comfy("run", "--workflow", saved(tmp_path, picture("down")), "--wait"))
    comfy("download", sent["data"]["prompt_id"], "--out-dir", str(tmp_path / "got"))
    [got] = (tmp_path / "got").rglob("*.png")
    assert got.read_bytes() == (base_directory / "output" / "down_00001_.png").read_bytes()


def test_the_default_workflow_draws_with_the_model_that_comes_along(comfy: Comfy) -> None:
    settings = ("checkpoint=storybook", "steps=2", "width=64", "height=64", "cfg=1")
    chosen = [word for setting in settings for word in ("--set", setting)]
    told = envelope(comfy("run", "--prompt", "a red house", *chosen, "--wait"))
    assert told["data"]["status"] == "completed"
    assert len(told["data"]["outputs"]) == 1


@pytest.mark.parametrize("what", [("nodes", "ls"), ("models", "list-folders")])
def test_it_lists_what_the_server_has(comfy: Comfy, what: tuple[str, ...]) -> None:
    assert envelope(comfy(*what))["ok"]
