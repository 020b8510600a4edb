"""ComfyUI's own editor in a real browser, on our server: its nodes, workflows, a run with its progress."""

import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from engine.registry import Registry
from server.routes.editor import web_root
from tests.server.browsing import Live, Seen, live, needs_chromium, window

FOLDER = Path(__file__).parents[2] / "workflows"
READY = "window.app && window.app.graph && window.app.extensionManager && window.LiteGraph"
MAY_BE_MISSING = (
    "/api/userdata",  # nothing is saved yet
    "/api/workflow_templates/latentgraph/",  # pictures of the workflows
)
HARMLESS = (
    "Failed to load resource",  # which, the responses tell
    "Failed to fetch: 404",
    "Prompt execution failed",  # a prompt that a test makes wrong
    "Refused to apply style",
    "api.comfy.org",
    "Network Error",
)
READ_BACK = """async (name) => {
    const answer = await fetch(`/api/workflow_templates/latentgraph/${name}.json`);
    await window.app.loadGraphData(await answer.json());
    return (await window.app.graphToPrompt()).output;
}"""
LISTEN = """(types) => {
    window.heard = [];
    for (const type of types)
        window.app.api.addEventListener(type, (e) => window.heard.push([type, e.detail?.value ?? null]));
}"""
SHOWN = """() => {
    const node = window.app.graph._nodes.find(n => n.type === "SaveImage");
    window.app.canvas.centerOnNode(node); // only what is in sight is drawn
    return (node.imgs ?? []).some(i => i.naturalWidth === 64);
}"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(web_root() is None, reason="no package comfyui-frontend-package"),
    needs_chromium,
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Live]:
    with live(tmp_path_factory.mktemp("editor"), registry, preview_method="auto") as found:
        yield found


@pytest.fixture
def page(served: Live, chromium: Browser) -> Iterator[Page]:
    """The editor at /editor; what it asks for is there, and it logs no error that matters."""
    context, seen = window(chromium), Seen(served.url)
    opened, failed = context.new_page(), set()
    seen.watch(opened)
    opened.on("response", lambda r: failed.add((r.status, path_of(r.url))) if r.status >= 400 else None)
    open_editor(opened, f"{served.url}editor")
    yield opened
    context.close()
    assert [
        f for f in failed - {(400, "/api/prompt")} if f[0] != 404 or not f[1].startswith(MAY_BE_MISSING)
    ] == []
    assert [e for e in seen.errors if not any(words in e for words in HARMLESS)] == []


def path_of(url: str) -> str:
    return urllib.parse.urlsplit(url).path


def open_editor(page: Page, url: str) -> None:
    page.goto(url)
    page.wait_for_function(READY, timeout=60_000)


def small() -> dict[str, Any]:
    """The shipped `text_to_image`, small and quick."""
    made: dict[str, Any] = json.loads((FOLDER / "text_to_image.json").read_text())
    for node in made.values():
        if node["_meta"]["title"] == "Size":
            node["inputs"] |= {"width": 64, "height": 64}
        if node["_meta"]["title"] == "Sampler":
            node["inputs"]["steps"] = 4
    return made


def test_it_has_all_our_nodes(page: Page, served: Live) -> None:
    known = set(page.evaluate("Object.keys(window.LiteGraph.registered_node_types)"))
    ours = set(served.ask("object_info"))
    assert len(ours) > 100
    assert ours - known == set()


def test_it_reads_every_shipped_workflow_as_it_is(page: Page) -> None:
    for path in sorted(FOLDER.glob("*.json")):
        made = page.evaluate(READ_BACK, path.stem)
        for id, node in json.loads(path.read_text()).items():
            inputs = {name: made[id]["inputs"].get(name) for name in node["inputs"]}
            assert (made[id]["class_type"], inputs) == (node["class_type"], node["inputs"]), path.stem
            assert made[id]["_meta"]["title"] == node["_meta"]["title"], path.stem


def test_it_runs_a_workflow_and_shows_its_progress_and_picture(page: Page, served: Live) -> None:
    asked: list[str] = []
    page.on("response", lambda r: asked.append(r.url) if r.status == 200 else None)
    page.evaluate(LISTEN, ["progress", "b_preview", "executed", "execution_success"])
    page.evaluate("(prompt) => window.app.loadApiJson(prompt, 'small')", small())
    page.keyboard.press("Escape")
    page.evaluate("() => window.app.queuePrompt(0)")
    page.wait_for_function("window.heard.some(([type]) => type === 'execution_success')", timeout=60_000)
    page.wait_for_function(SHOWN, timeout=30_000)
    heard = page.evaluate("window.heard")
    assert [value for type, value in heard if type == "progress"] == [1, 2, 3, 4]
    assert {"b_preview", "executed"} <= {type for type, _ in heard}
    (entry,) = served.ask("history").values()
    assert entry["status"]["status_str"] == "success"
    assert entry["prompt"][3]["client_id"]
    assert entry["prompt"][3]["extra_pnginfo"]["workflow"]["nodes"]
    assert any(path_of(url) == "/api/jobs" for url in asked), "its job list is filled"


def test_a_failed_check_is_shown_at_its_node(page: Page) -> None:
    wrong = small()
    sampler = next(id for id, node in wrong.items() if node["class_type"] == "KSampler")
    page.evaluate("(prompt) => window.app.loadApiJson(prompt, 'wrong')", wrong)
    page.evaluate(
        "(id) => { window.app.graph.getNodeById(id).widgets.find(w => w.name === 'steps').value = 0; }",
        sampler,
    )
    with page.expect_response("**/api/prompt") as answer:
        page.evaluate("() => void window.app.queuePrompt(0)")
    assert answer.value.status == 400
    page.wait_for_function("(id) => Object.keys(window.app.lastNodeErrors ?? {}).includes(id)", arg=sampler)


def test_it_stands_at_the_root_by_setting(tmp_path: Path, registry: Registry, chromium: Browser) -> None:
    with live(tmp_path, registry, root_page="editor") as served:
        context = window(chromium)
        page = context.new_page()
        open_editor(page, served.url)
        page.goto(f"{served.url}page")
        page.wait_for_selector("body[data-ready]")
        context.close()
