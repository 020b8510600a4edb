"""ComfyUI's own editor in a real browser, on our routes."""

import json
import shutil
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer

from engine.config import read_settings
from engine.registry import Registry
from server.config import read_server_settings
from server.routes.editor import editor_mounts, web_root
from server.serving import started
from tests.server.states import all_routes, app_of

FOLDER = Path(__file__).parents[2] / "workflows"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
READY = "window.app && window.app.graph && window.app.extensionManager && window.LiteGraph"
READ_BACK = """async (name) => {
    const answer = await fetch(`/api/workflow_templates/latentgraph/${name}.json`);
    await window.app.loadGraphData(await answer.json());
    return (await window.app.graphToPrompt()).output;
}"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(web_root() is None, reason="no package comfyui-frontend-package"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium"),
]


async def test_the_editor_reads_every_shipped_workflow_as_it_is(tmp_path: Path, registry: Registry) -> None:
    from playwright.async_api import async_playwright

    settings = read_settings(base_directory=tmp_path, cache=Path("off"), device="cpu")
    async with started(settings, read_server_settings(), registry) as state, async_playwright() as tools:
        app = app_of(state, all_routes())
        app.add_routes(editor_mounts())
        async with TestServer(app) as server:
            browser = await tools.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = await browser.new_page()
            await page.goto(str(server.make_url("/editor")))
            await page.wait_for_function(READY, timeout=60_000)
            for path in sorted(FOLDER.glob("*.json")):
                made = await page.evaluate(READ_BACK, path.stem)
                for id, node in json.loads(path.read_text()).items():
                    inputs = {name: made[id]["inputs"].get(name) for name in node["inputs"]}
                    assert (made[id]["class_type"], inputs) == (node["class_type"], node["inputs"]), path.stem
                    assert made[id]["_meta"]["title"] == node["_meta"]["title"], path.stem
            await browser.close()
