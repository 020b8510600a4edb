"""What an output says of how it was made: enough to tell why two differ, never the time or place."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from pydantic import ValidationError
from toys import World, n

from engine.cache import Tier, Tiers
from engine.cache.disk import DiskTier
from engine.devices import Devices
from engine.files import Files
from engine.node import node
from engine.ports import Env
from engine.record import Record, surroundings
from engine.registry import Registry, installed
from engine.runner import Engine
from engine.workflow import from_json
from nodes.image_files import ExtraInfo, Prompt, workflow_texts

GRAPH: dict[str, Any] = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "in.png"}},
    "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "made"}},
}


def saved(registry: Registry, base: Path, color: str = "red") -> tuple[bytes, dict[str, Any]]:
    (base / "input").mkdir(parents=True)
    PIL.Image.new("RGB", (4, 4), color).save(base / "input" / "in.png")
    with Engine(registry, Env(Files.under(base)), Tiers(())) as engine:
        run = engine.run(engine.plan(from_json(GRAPH)))
    path = Path(run.outputs[0]["path"])
    with PIL.Image.open(path) as picture:
        return path.read_bytes(), json.loads(picture.text["latentgraph"])  # type: ignore[attr-defined]


def test_a_picture_says_what_made_it(tmp_path: Path) -> None:
    registry = installed()
    _, made = saved(registry, tmp_path / "a")
    assert set(made["keys"]) == {"1", "2"}
    assert set(made["files"]) == {"input/in.png"}
    assert made["targets"] == ["3"]
    assert set(made["results"]) == {"1", "2"}
    assert made["device"] == "cpu"
    assert {"latentgraph", "torch"} <= made["versions"].keys()
    assert Record(**made).as_json() == made


def test_the_same_made_elsewhere_has_the_same_bytes(tmp_path: Path) -> None:
    registry = installed()
    assert saved(registry, tmp_path / "a")[0] == saved(registry, tmp_path / "b")[0]


def test_another_input_file_shows_in_the_record(tmp_path: Path) -> None:
    registry = installed()
    red, blue = saved(registry, tmp_path / "a")[1], saved(registry, tmp_path / "b", "blue")[1]
    assert red["files"] != blue["files"]
    assert red["keys"]["2"] != blue["keys"]["2"]


def test_a_picture_has_the_same_bytes_however_much_of_it_was_in_the_cache(tmp_path: Path) -> None:
    """Cold, with its inputs at hand, and with the result before them only."""
    registry, files = installed(), Files.under(tmp_path)
    (tmp_path / "input").mkdir()
    PIL.Image.new("RGB", (4, 4), "red").save(tmp_path / "input" / "in.png")
    found = []
    for worth in (1e9, 0.0, 0.0):
        tiers: list[Tier] = [DiskTier(tmp_path / "cache", worth=worth)]
        with Engine(registry, Env(files), Tiers(tiers)) as engine:
            run = engine.run(engine.plan(from_json(GRAPH)))
        path = Path(run.outputs[0]["path"])
        found.append((run.executed, path.read_bytes()))
        path.unlink()
        tiers[0].close()  # type: ignore[attr-defined]
    assert [len(executed) for executed, _ in found] == [3, 3, 1]
    assert len({content for _, content in found}) == 1


def test_a_file_tells_only_of_what_it_is_made_of(tmp_path: Path) -> None:
    other = {
        **GRAPH,
        "4": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "5": {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "other"}},
    }
    (tmp_path / "input").mkdir()
    PIL.Image.new("RGB", (4, 4)).save(tmp_path / "input" / "in.png")
    with Engine(installed(), Env(Files.under(tmp_path)), Tiers(())) as engine:
        run = engine.run(engine.plan(from_json(other)))
    for output in run.outputs:
        with PIL.Image.open(output["path"]) as picture:
            made = json.loads(picture.text["latentgraph"])  # type: ignore[attr-defined]
        assert set(made["keys"]) == ({"4"} if output["node"] == "5" else {"1", "2"})
        assert ("files" in made) == (output["node"] == "3")


def test_defaults_that_stood_in_are_recorded(world: World) -> None:
    given = {"n": 2, "x": 0.5, "text": "", "flag": False, "choice": "red"}
    graph = {"1": {"class_type": "Widgets", "inputs": given}, "2": n("Show", value=["1", 0])}
    assert world.run(graph).record().filled == {"1": {"left": 3}}


def test_what_is_another_each_time_is_left_out(world: World) -> None:
    volatile = {"1": n("Volatile"), "2": n("Add", a=["1", 0]), "4": n("Show2", values=["2", 0])}
    record = world.run({**volatile, "3": n("Value", value=1), "5": n("Show", value=["3", 0])}).record()
    assert record.keys.keys() == record.results.keys() == {"3"}


def test_a_result_made_in_other_surroundings_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = {"1": n("Value", value=1), "2": n("Show", value=["1", 0])}
    first = World(tmp_path, disk=True)
    first.run(graph)
    first.close()
    monkeypatch.setattr("engine.record.PACKAGES", ("pytest",))
    second = World(tmp_path, disk=True)
    record = second.run({**graph, "2": n("Show2", values=["1", 0])}).record()
    second.close()
    assert record.elsewhere == ("1",)
    assert record.surroundings == surroundings(Devices("cpu"))


@pytest.mark.parametrize("rungs", [3, 0, 10**9, [[[2, -1]]], [[[2]]], [[[64, 1]]]])
def test_rungs_that_no_run_has_are_refused(rungs: Any) -> None:
    with pytest.raises(ValidationError):
        Record.model_validate({"rungs": {"1": rungs}})


def test_a_record_is_read_as_it_was_written(world: World) -> None:
    made = world.run({"1": n("Value", value=1), "2": n("Show", value=["1", 0])}).record()
    assert Record.model_validate(json.loads(json.dumps(made.as_json()))) == made


def test_many_outputs_take_the_workflows_text_from_one_place() -> None:
    seen: list[Any] = []

    @node("Listens", category="toys", is_output=True)
    def listens(*, number: int, prompt: Prompt = None, extra_pnginfo: ExtraInfo = None) -> None:
        """Note what hidden inputs give."""
        seen.append((prompt, extra_pnginfo["workflow"], extra_pnginfo["latentgraph"]["targets"], number))

    saved = {str(i): {"class_type": "Listens", "inputs": {"number": i}} for i in range(5)}
    with Engine(Registry().with_nodes(listens), Env(), Tiers(())) as engine:
        plan = engine.plan(from_json(saved))
        engine.run(replace(plan, extra={"workflow": {"nodes": []}}))
    assert [(targets, number) for *_, targets, number in seen] == [([str(i)], i) for i in range(5)]
    assert len({id(prompt) for prompt, *_ in seen}) == len({id(drawn) for _, drawn, *_ in seen}) == 1
    texts = workflow_texts(*seen[0][:2])
    assert (json.loads(texts["prompt"]), texts["nodes"]) == (saved, "[]")
    assert workflow_texts(*seen[1][:2])["prompt"] is texts["prompt"]
