"""Workflows of other people, read by us and by ComfyUI's own editor in a browser: what each would send."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from engine.editor import flattened
from engine.registry import Registry
from server.routes.editor import web_root
from tests.server.browsing import Live, live, needs_chromium, window
from tests.server.test_editor import open_editor

CORPUS = Path(__file__).parents[3] / "shared" / "corpus" / "ui"
SENT = """async (form) => {
    await window.app.loadGraphData(form);
    return (await window.app.graphToPrompt()).output;
}"""
EVERY = 8
"""Of the workflows whose classes are all known, one of so many is looked at."""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(web_root() is None, reason="no package comfyui-frontend-package"),
    pytest.mark.skipif(not CORPUS.is_dir(), reason="no ../shared/corpus"),
    needs_chromium,
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Live]:
    with live(tmp_path_factory.mktemp("reading"), registry) as found:
        yield found


@pytest.fixture
def page(served: Live, chromium: Browser) -> Iterator[Page]:
    context = window(chromium)
    opened = context.new_page()
    open_editor(opened, f"{served.url}editor")
    yield opened
    context.close()


def read(form: dict[str, Any], registry: Registry) -> dict[str, dict[str, Any]]:
    """The inputs of each node as a run has them."""
    flat = flattened(form, registry.nodes)
    return {id: {**n["inputs"], **flat.missing.get(id, {})} for id, n in flat.nodes.items()}


def without_optional(
    sent: dict[str, Any], ours: dict[str, Any], registry: Registry
) -> dict[str, dict[str, Any]]:
    """What the editor sends, without values that it fills in where none is needed."""
    return {
        id: {
            name: value
            for name, value in node["inputs"].items()
            if name in ours.get(id, {})
            or not (port := registry.nodes[node["class_type"]].input(name))
            or not port.optional
        }
        for id, node in sent.items()
    }


def test_we_send_what_the_editor_sends(page: Page, registry: Registry) -> None:
    forms = {}
    for path in sorted(CORPUS.glob("*.json")):
        form = json.loads(path.read_text())
        form = form if "nodes" in form else form.get("workflow", form)
        classes = {node["class_type"] for node in flattened(form, registry.nodes).nodes.values()}
        # group nodes become subgraphs with ids of their own in new editors
        if classes and classes <= registry.nodes.keys() and not (form.get("extra") or {}).get("groupNodes"):
            forms[path.name] = form
    chosen = dict(list(forms.items())[::EVERY])
    differ = {}
    for name, form in chosen.items():
        ours, sent = read(form, registry), page.evaluate(SENT, form)
        theirs = {id: node for id, node in sent.items() if node["class_type"] in registry.nodes}
        if ours != without_optional(theirs, ours, registry):
            differ[name] = sorted(ours.keys() ^ theirs.keys())
    assert len(chosen) > 15
    assert len(differ) <= len(chosen) // 8, differ  # written by hand, with links that only one of us takes
