"""Real workflows: pictures that carry both forms, and every file in the editor's form."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from engine.editor import flattened
from engine.registry import Registry, installed

CORPUS = Path(__file__).parents[4] / "shared" / "corpus"
OLD_KEYS = {"upload", "choose file to upload", "control_after_generate", "speak_and_recognation"}
"""What old editors wrote beside the inputs."""
pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="no ../shared/corpus")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return installed()


def read(file: str) -> dict[str, Any]:
    value = json.loads((CORPUS / file).read_text())
    return value if "nodes" in value else value.get("workflow", value)


def pairs() -> list[tuple[str, str]]:
    """The pictures' two forms: what the editor saved, and what it sent."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for row in map(json.loads, (CORPUS / "index.jsonl").read_text().splitlines()):
        if row["part"].startswith("meta:"):
            found[row["source"]][row["format"]] = row["file"]
    return [(both["ui"], both["api"]) for both in found.values() if len(both) == 2]


def sent(inputs: dict[str, Any], known: bool) -> dict[str, Any]:
    """The inputs to compare: of unknown classes the links, as most of their values have no names."""
    inputs = {name: value for name, value in inputs.items() if name not in OLD_KEYS}
    if known:
        return inputs
    return {name: v for name, v in inputs.items() if isinstance(v, list) and isinstance(v[0], str)}


def differs(ui: str, api: str, registry: Registry) -> bool:
    flat = flattened(read(ui), registry.nodes, ui).nodes
    wanted = {id: n for id, n in read(api).items() if isinstance(n, dict) and "class_type" in n}
    return flat.keys() != wanted.keys() or any(
        flat[id]["class_type"] != n["class_type"]
        or sent(flat[id]["inputs"], n["class_type"] in registry.nodes)
        != sent(n["inputs"], n["class_type"] in registry.nodes)
        for id, n in wanted.items()
    )


def test_what_is_sent_is_what_the_editor_sent(registry: Registry) -> None:
    """Of the 24 others 19 were edited after they were run; what is left are conditions of "use everywhere", a
    widget of a browser's preview, and a file name with a value of a class that is not known."""
    found = pairs()
    others = [ui for ui, api in found if differs(ui, api, registry)]
    assert len(found) >= 169
    assert len(others) <= 24, others


def test_every_workflow_of_the_editor_is_read(registry: Registry) -> None:
    files = sorted((CORPUS / "ui").glob("*.json"))
    assert len(files) > 1_000
    empty = [f.name for f in files if not flattened(read(f"ui/{f.name}"), registry.nodes, f.name).nodes]
    assert len(empty) <= 1, empty
