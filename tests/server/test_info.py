"""What clients and editors ask about the server."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from pytest_aiohttp.plugin import AiohttpClient

from engine.registry import Registry
from server.packs import WebPack
from server.routes import editor, health, info
from server.routes.editor import editor_mounts, web_root
from tests.server.states import app_of, state_at

Client = TestClient[Any, Any]
needs_editor = pytest.mark.skipif(web_root() is None, reason="no package comfyui-frontend-package")


@pytest.fixture
async def client(tmp_path: Path, registry: Registry, aiohttp_client: AiohttpClient) -> Client:
    (tmp_path / "pack" / "web").mkdir(parents=True)
    (tmp_path / "pack" / "web" / "tool.js").write_text("1")
    (tmp_path / "pack" / "secret.py").write_text("2")
    packs = (WebPack("pack", tmp_path / "pack", tmp_path / "pack" / "web"),)
    state = state_at(tmp_path, registry, web_packs=packs, foreign=lambda: {"Foreign": {"name": "Foreign"}})
    app = app_of(state, (*info.ROUTES, *health.ROUTES, *editor.ROUTES))
    app.add_routes(editor_mounts())
    return await aiohttp_client(app)


async def body(client: Client, path: str, status: int = 200) -> Any:
    answer = await client.get(path)
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    return await answer.json()


async def test_all_nodes_are_told_with_those_of_custom_packs(client: Client, registry: Registry) -> None:
    listed = await body(client, "/object_info")
    assert listed["KSampler"]["input_order"]["required"][0] == "model"
    assert listed["Foreign"] == {"name": "Foreign"}
    assert len(listed) > len(registry.nodes) - 5
    assert await body(client, "/api/object_info") == listed


async def test_one_node_is_told_by_its_class(client: Client) -> None:
    listed = await body(client, "/object_info")
    assert await body(client, "/object_info/KSampler") == {"KSampler": listed["KSampler"]}
    assert await body(client, "/api/object_info/Foreign") == {"Foreign": {"name": "Foreign"}}


async def test_an_unknown_class_is_an_empty_object(client: Client) -> None:
    assert await body(client, "/object_info/Nope") == {}


async def test_the_machine_is_told(client: Client, tmp_path: Path) -> None:
    stats = await body(client, "/system_stats")
    assert stats["devices"][0]["type"] == "cpu"
    assert str(tmp_path.parent) not in str(stats)


async def test_the_features_say_how_much_may_be_uploaded(client: Client) -> None:
    assert await body(client, "/features") == {
        "supports_preview_metadata": True,
        "max_upload_size": 100 * 2**20,
    }


async def test_shipped_workflows_are_templates(client: Client, registry: Registry) -> None:
    (folder,) = (pack.workflows for pack in registry.packs if pack.name == "latentgraph")
    assert folder is not None
    listed = await body(client, "/workflow_templates")
    assert listed["latentgraph"] == sorted(p.stem for p in folder.glob("*.json"))
    answer = await client.get("/api/workflow_templates/latentgraph/text_to_image.json")
    assert answer.status == 200
    form = await answer.json()
    assert form["version"] == 0.4
    assert "KSampler" in [node["type"] for node in form["nodes"]]


async def test_templates_of_packs_are_sent_as_they_are_if_editors_read_them(
    client: Client, tmp_path: Path
) -> None:
    folder = tmp_path / "pack" / "examples"
    folder.mkdir()
    (folder / "theirs.json").write_text('{"nodes": [], "odd": 1}')
    (folder / "broken.json").write_text("{")
    loop = {"1": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}}}
    (folder / "loop.json").write_text(json.dumps(loop))
    answer = await client.get("/api/workflow_templates/pack/theirs.json")
    assert await answer.json() == {"nodes": [], "odd": 1}
    for name in ("broken", "loop"):
        answer = await client.get(f"/api/workflow_templates/pack/{name}.json")
        assert answer.status == 404
        assert "cannot be read" in await answer.text()


@pytest.mark.parametrize("name", ["nope.json", "text_to_image.jpg", "..%2Ftext_to_image.json"])
async def test_a_template_that_is_not_there_is_not_found(client: Client, name: str) -> None:
    assert (await client.get(f"/api/workflow_templates/latentgraph/{name}")).status == 404


async def test_scripts_of_packs_are_listed_and_served(client: Client) -> None:
    listed = await body(client, "/extensions")
    assert listed[-1] == "/extensions/pack/tool.js"
    assert await (await client.get(listed[-1])).text() == "1"
    assert (await client.get("/extensions/pack/nope.js")).status == 404
    assert (await client.get("/extensions/nope/tool.js")).status == 404


@pytest.mark.parametrize("path", ["..%2Fsecret.py", "%2e%2e/secret.py", "a%00b", "..%252Fsecret.py"])
async def test_no_file_outside_a_packs_scripts_is_served(client: Client, path: str) -> None:
    answer = await client.get(f"/extensions/pack/{path}")
    assert answer.status in (400, 404)


@pytest.mark.parametrize("path", ["/i18n", "/global_subgraphs", "/node_replacements"])
async def test_what_there_is_none_of_is_an_empty_object(client: Client, path: str) -> None:
    assert await body(client, path) == {}


@needs_editor
async def test_the_editor_and_all_that_its_page_names_is_served(client: Client) -> None:
    answer = await client.get("/editor")
    assert answer.headers["Cache-Control"] == "no-cache"
    page = await answer.text()
    assert "<html" in page
    named = [part.split('"')[0] for part in page.split('="./')[1:]] + ["materialdesignicons.min.css"]
    assert len(named) > 1
    for path in named:
        assert (await client.get(f"/{path}")).status == 200, path
    scripts = [path for path in await body(client, "/extensions") if path.startswith("/extensions/core/")]
    assert scripts
    assert (await client.get(scripts[0])).status == 200


async def test_the_server_says_that_it_lives(client: Client) -> None:
    for path in ("/health", "/api/health", "/api/v2/health"):
        assert await body(client, path) == {"status": "ok"}
