"""Our nodes in ComfyUI's dialect, compared with what ComfyUI says of the same classes."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import pytest

from engine.files import Files
from engine.literals import Choices
from engine.node import node
from engine.ports import Env, Hidden, OneOf, Port, Range
from engine.registry import Registry
from engine.steps import Lazy, Steps
from nodes import PACK
from server import comfy_classes
from server.object_info import ObjectInfo, object_info, one_info

CONTRACT = Path(__file__).parents[3] / "shared" / "reference" / "node_interfaces.json"
KNOWN: dict[str, Any] = json.loads(CONTRACT.read_text())["nodes"] if CONTRACT.is_file() else {}
NODES = Registry().with_pack(PACK).nodes
BOTH = sorted(NODES.keys() & KNOWN.keys() - comfy_classes.EDITOR_ONLY)
needs_contract = pytest.mark.skipif(not KNOWN, reason="no ../shared/reference/node_interfaces.json")
GROWING = {"sampler_name", "scheduler"}
"""Choices of which we may offer a part."""
FACTS = {"default", "min", "max", "step", "round"}
UNSTATED = {"advanced", "dynamicPrompts", "forceInput"}
"""Options that tell an editor how to draw an input, which we may leave out."""
UNUSED_HIDDEN = {("GetImageSize", "unique_id")}


@node("Sample", category="test", title="A sample")
def sample(
    *, image: Annotated[int, Port("IMAGE")], size: Annotated[int, Range(1, 9, step=2)] = 3,
    later: Lazy[Annotated[int, Port("MASK")]] | None = None,
    name: Annotated[str, OneOf(lambda env: env[Files].names("input"), "input")],
    id: Annotated[str, Hidden("UNIQUE_ID")] = "",
) -> Steps[Annotated[int, Port("IMAGE")]]:  # fmt: skip
    """Do something.

    Args:
        size: How much.
    """
    yield from ()
    return image


@pytest.fixture
def env(tmp_path: Path) -> Env:
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "a.png").touch()
    return Env(Files.under(tmp_path, items=PACK.items))


def test_a_node_is_described_by_its_declaration(env: Env) -> None:
    info = object_info(sample, Choices(env))
    names = ["a.png", *PACK.items["input"]]
    assert info["input"] == {
        "required": {
            "image": ["IMAGE", {}],
            "size": ["INT", {"default": 3, "min": 1, "max": 9, "step": 2, "tooltip": "How much."}],
            "name": [names, {}],
        },
        "optional": {"later": ["MASK", {"lazy": True}]},
        "hidden": {"id": "UNIQUE_ID"},
    }
    assert info["input_order"] == {
        "required": ["image", "size", "name"],
        "optional": ["later"],
        "hidden": ["id"],
    }
    assert (info["output"], info["output_name"], info["output_is_list"]) == (["IMAGE"], ["IMAGE"], [False])
    assert (info["name"], info["display_name"], info["description"]) == (
        "Sample",
        "A sample",
        "Do something.",
    )
    assert info["python_module"].startswith("custom_nodes.")


def test_a_class_of_the_third_api_spells_choices_and_hidden_inputs_its_way(
    env: Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.object_info.V3", frozenset({"Sample"}))
    info = object_info(sample, Choices(env))
    names = ["a.png", *PACK.items["input"]]
    assert info["input"]["required"]["name"] == ["COMBO", {"multiselect": False, "options": names}]
    assert info["input"]["hidden"] == {"id": ["UNIQUE_ID"]}
    assert (info["deprecated"], info["experimental"], info["api_node"]) == (False, False, False)
    assert info["output_tooltips"] == [None]


@needs_contract
def test_the_third_apis_classes_are_those_of_comfyui() -> None:
    assert {name for name, n in KNOWN.items() if n.get("schema") == "v3"} == comfy_classes.V3
    assert {name for name, n in KNOWN.items() if n.get("experimental")} == comfy_classes.EXPERIMENTAL
    assert {name for name, n in KNOWN.items() if n.get("deprecated")} == comfy_classes.DEPRECATED


@needs_contract
@pytest.mark.parametrize("name", BOTH)
def test_a_class_that_comfyui_has_is_described_as_there(name: str, env: Env) -> None:
    ours, theirs = json.loads(json.dumps(object_info(NODES[name], Choices(env)))), KNOWN[name]
    assert ours["name"] == name
    assert ours["display_name"] == theirs.get("display_name", name)
    assert ours["category"] == theirs["category"]
    assert ours["output_node"] == theirs["output_node"]
    outputs = [(o["type"], o["name"], o.get("list", False)) for o in theirs["outputs"]]
    assert list(zip(ours["output"], ours["output_name"], ours["output_is_list"], strict=True)) == outputs
    assert ours.get("deprecated", False) == theirs.get("deprecated", False)
    assert ours.get("experimental", False) == theirs.get("experimental", False)
    hidden = {k: v for k, v in theirs.get("hidden", {}).items() if (name, k) not in UNUSED_HIDDEN}
    v3 = theirs.get("schema") == "v3"
    assert ours["input"].get("hidden", {}) == {k: [v] if v3 else v for k, v in hidden.items()}
    for group in ("required", "optional"):
        specs = ours["input"].get(group, {})
        assert list(specs) == list(theirs.get(group, {}))
        for port, wanted in theirs.get(group, {}).items():
            compare(f"{name}.{port}", specs[port], wanted, v3)


def compare(where: str, ours: list[Any], theirs: dict[str, Any], v3: bool) -> None:
    kind, options = ours
    if theirs["type"] != "COMBO":
        assert kind == theirs["type"], where
    elif v3:
        assert kind == "COMBO", where
        assert options["multiselect"] is False, where
        kind = options["options"]
    wanted = theirs.get("choices")
    if isinstance(wanted, list):
        names = list(dict.fromkeys(wanted))
        known = [choice for choice in names if choice in kind]
        assert list(kind) == (known if where.split(".")[1] in GROWING else names), where
    for key in FACTS & theirs.keys():
        assert options.get(key) == theirs[key], (where, key)
    for key in theirs.keys() - FACTS - UNSTATED - {"type", "choices"}:
        assert options.get(key, False) == theirs[key], (where, key)
    known_options = FACTS | theirs.keys() | {"tooltip", "options", "multiselect"} | UNSTATED
    assert options.keys() <= known_options, where


def test_nodes_that_the_editor_makes_itself_are_not_listed(registry: Registry, env: Env) -> None:
    listed = json.loads(ObjectInfo().body(registry, env, {}))
    assert listed.keys() == registry.nodes.keys() - comfy_classes.EDITOR_ONLY
    assert one_info(registry, env, {}, "Reroute") == {}


def test_a_new_file_is_offered_at_once(registry: Registry, env: Env, tmp_path: Path) -> None:
    infos = ObjectInfo()

    def images() -> list[str]:
        choices: list[str] = json.loads(infos.body(registry, env, {}))["LoadImage"]["input"]["required"][
            "image"
        ][0]
        return choices

    assert "new.png" not in images()
    (tmp_path / "input" / "new.png").touch()
    assert "new.png" in images()


def test_the_answer_is_kept_while_nothing_changes(registry: Registry, env: Env) -> None:
    infos = ObjectInfo()
    first = infos.body(registry, env, {})
    assert infos.body(registry, env, {}) is first
    assert infos.body(registry, env, {"Foreign": {"name": "Foreign"}}) is not first


def test_a_folder_is_listed_once_a_request_however_many_nodes_offer_it(tmp_path: Path) -> None:
    listings = 0

    def names(env: Env) -> list[str]:
        nonlocal listings
        listings += 1
        return ["a"]

    def loader(number: int) -> Any:
        def load(*, name: Annotated[str, OneOf(names)]) -> None: ...

        load.__annotations__["name"] = Annotated[str, OneOf(names)]
        return node(f"Load{number}", category="test")(load)

    registry = Registry().with_nodes(*(loader(i) for i in range(5)))
    ObjectInfo().body(registry, Env(), {})
    assert listings == 1


def test_custom_packs_describe_their_own_nodes(registry: Registry, env: Env) -> None:
    foreign = {"KSampler": {"name": "KSampler", "category": "theirs"}, "Odd": {"name": "Odd"}}
    listed = json.loads(ObjectInfo().body(registry, env, foreign))
    assert listed["KSampler"]["category"] == "theirs"
    assert listed["Odd"] == {"name": "Odd"} == one_info(registry, env, foreign, "Odd")["Odd"]


def test_a_node_that_its_pack_describes_is_not_asked_for_its_choices(env: Env) -> None:
    def broken(env: Env) -> list[str]:
        raise OSError("a pack's own folder is gone")

    def load(*, name: str) -> None: ...

    load.__annotations__["name"] = Annotated[str, OneOf(broken)]
    registry = Registry().with_nodes(node("Theirs", category="test")(load))
    listed = json.loads(ObjectInfo().body(registry, env, {"Theirs": {"name": "Theirs"}}))
    assert listed == {"Theirs": {"name": "Theirs"}}


def test_all_nodes_are_described_within_the_budget(registry: Registry, env: Env, tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / "input" / f"{number}.png").touch()

    def seconds(infos: ObjectInfo) -> float:
        started = time.perf_counter()
        infos.body(registry, env, {})
        return time.perf_counter() - started

    kept = ObjectInfo()
    assert min(seconds(ObjectInfo()) for _ in range(3)) <= 0.3
    assert min(seconds(kept) for _ in range(4)) <= 0.05
