"""Workflows in the editor's own form, read back by the rules that editors follow."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from engine.files import Files
from engine.ports import Env
from engine.registry import Registry
from engine.workflow import Workflow, from_json, load
from server.editor_form import as_editor

FOLDER = Path(__file__).parents[2] / "workflows"
SHIPPED = sorted(p.stem for p in FOLDER.glob("*.json"))
CONTROL = ("fixed", "increment", "decrement", "randomize")


@pytest.fixture
def env(tmp_path: Path, registry: Registry) -> Env:
    return Env(Files.under(tmp_path, items=registry.items))


def read_back(form: dict[str, Any], registry: Registry) -> dict[str, Any]:
    """The API form that an editor makes: widgets by their order, then links by their number."""
    links = {link[0]: link for link in form["links"]}
    prompt = {}
    for node in form["nodes"]:
        declared = registry.nodes[node["type"]].inputs
        widgets = [v for v in sorted(declared, key=lambda v: v.optional) if v.is_widget]
        values, inputs, uploads = list(node["widgets_values"]), {}, 0
        for value in widgets:
            inputs[value.name] = values.pop(0)
            hints = {getattr(fact, "key", None) for fact in value.facts}
            if "control_after_generate" in hints:
                assert values.pop(0) in CONTROL
            uploads += "image_upload" in hints
        assert values == ["image"] * uploads
        for place, socket in enumerate(node["inputs"]):
            if socket["link"] is not None:
                _, origin, slot, target, at, kind = links[socket["link"]]
                assert (target, at) == (node["id"], place)
                source = next(n for n in form["nodes"] if n["id"] == origin)
                assert socket["link"] in source["outputs"][slot]["links"]
                assert source["outputs"][slot]["type"] == kind
                inputs[socket["name"]] = [str(origin), slot]
        meta = {"_meta": {"title": node["title"]}} if "title" in node else {}
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs, **meta}
    return prompt


@pytest.mark.parametrize("name", SHIPPED)
def test_an_editor_reads_back_what_was_shipped(name: str, registry: Registry, env: Env) -> None:
    shipped = load(FOLDER / f"{name}.json").as_api()
    made = read_back(as_editor(from_json(shipped), registry, env), registry)
    assert made.keys() == shipped.keys()
    for id, node in shipped.items():
        assert made[id]["class_type"] == node["class_type"]
        assert made[id].get("_meta") == node.get("_meta")
        assert {k: made[id]["inputs"][k] for k in node["inputs"]} == node["inputs"]
        for port in made[id]["inputs"].keys() - node["inputs"].keys():
            value = registry.nodes[node["class_type"]].input(port)
            assert value is not None
            assert value.optional, f"{id}.{port} was not there"


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_written_in_the_form_is_read_again(name: str, registry: Registry, env: Env) -> None:
    shipped = load(FOLDER / f"{name}.json")
    read = from_json(as_editor(shipped, registry, env), name, classes=registry.nodes).as_api()
    assert read == read_back(as_editor(shipped, registry, env), registry)


@pytest.mark.parametrize("name", SHIPPED)
def test_no_two_nodes_overlap_and_links_go_to_the_right(name: str, registry: Registry, env: Env) -> None:
    form = as_editor(load(FOLDER / f"{name}.json"), registry, env)
    boxes = {n["id"]: (*n["pos"], *n["size"]) for n in form["nodes"]}
    for a, (x, y, width, height) in boxes.items():
        for b, (other_x, other_y, _, _) in boxes.items():
            inside = x <= other_x < x + width and y <= other_y < y + height
            assert a == b or not inside, f"{a} and {b}"
    for _, origin, _, target, _, _ in form["links"]:
        assert boxes[origin][0] + boxes[origin][2] < boxes[target][0]
    assert [c for c in Counter(n["order"] for n in form["nodes"]).values() if c > 1] == []


def test_ids_that_are_no_numbers_are_counted(registry: Registry, env: Env) -> None:
    prompt = {
        "EmptyImage.0": {"class_type": "EmptyImage", "inputs": {"width": 8}},
        "out": {"class_type": "PreviewImage", "inputs": {"images": ["EmptyImage.0", 0]}},
    }
    form = as_editor(from_json(prompt), registry, env)
    assert [n["id"] for n in form["nodes"]] == [1, 2]
    assert form["links"] == [[1, 1, 0, 2, 0, "IMAGE"]]
    assert (form["last_node_id"], form["last_link_id"]) == (2, 1)


def test_what_cannot_be_bound_is_left_out(registry: Registry, env: Env) -> None:
    prompt = {
        "1": {"class_type": "Nope", "inputs": {}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 5]}},
    }
    form = as_editor(from_json(prompt), registry, env)
    assert [n["type"] for n in form["nodes"]] == ["PreviewImage"] * 2
    assert form["links"] == []
    assert as_editor(Workflow({}), registry, env)["nodes"] == []
