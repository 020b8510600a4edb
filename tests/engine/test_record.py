"""What an output says of how it was made: enough to tell why two differ, never the time or place."""

import json
from pathlib import Path
from typing import Any

import PIL.Image

from engine.cache import Tiers
from engine.files import Files
from engine.ports import Env
from engine.registry import Registry, installed
from engine.runner import Engine
from engine.workflow import from_json

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
    assert made["device"] == "cpu"
    assert {"latentgraph", "torch"} <= made["versions"].keys()


def test_the_same_made_elsewhere_has_the_same_bytes(tmp_path: Path) -> None:
    registry = installed()
    assert saved(registry, tmp_path / "a")[0] == saved(registry, tmp_path / "b")[0]


def test_another_input_file_shows_in_the_record(tmp_path: Path) -> None:
    registry = installed()
    red, blue = saved(registry, tmp_path / "a")[1], saved(registry, tmp_path / "b", "blue")[1]
    assert red["files"] != blue["files"]
    assert red["keys"]["2"] != blue["keys"]["2"]
