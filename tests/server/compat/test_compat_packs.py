"""Finding and importing packs, and describing their nodes."""

import logging
from pathlib import Path
from typing import Any

import pytest
from packworld import PACKS, World

from engine.devices import Devices
from engine.files import Files
from engine.ports import Env
from engine.registry import Registry
from server.compat.foreign_info import object_info
from server.compat.host import host_of
from server.compat.packs import Packs, load_packs


def loaded(folder: Path, registry: Registry) -> Packs:
    env = Env(Files.under(folder), Devices("cpu"))
    return load_packs([folder], registry, host_of(env, folder))


def test_packs_say_what_they_bring(world: World) -> None:
    first, second = world.packs.packs
    assert (first.name, first.folder, first.web) == ("first", PACKS / "first", PACKS / "first" / "js")
    assert "Num" in first.nodes
    assert (second.name, second.web) == ("second", None)
    assert second.nodes[:2] == ("Scale", "Prompted")
    assert world.packs.classes["Num"].title == "A Number"
    assert world.packs.classes["Scale"].title == "Scale It"


def test_a_class_name_of_ours_stays_ours(world: World, registry: Registry) -> None:
    assert world.packs.registry.nodes["SaveImage"] is registry.nodes["SaveImage"]
    assert "SaveImage" not in world.packs.classes


def test_what_cannot_be_imported_is_logged_and_the_rest_is_loaded(
    tmp_path: Path, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('this pack is broken')")
    (tmp_path / "leaving.py").write_text("raise SystemExit(3)")
    (tmp_path / "empty.py").write_text("NOTHING = 1")
    (tmp_path / "bare").mkdir()
    off = tmp_path / "off.disabled"
    off.mkdir()
    (off / "__init__.py").write_text("raise AssertionError('never imported')")
    (tmp_path / "readme.txt").write_text("no pack")
    (tmp_path / "sound.py").write_text("class A: pass\nNODE_CLASS_MAPPINGS = {'SoundA': A}")
    start = tmp_path / "starting"
    start.mkdir()
    (start / "prestartup_script.py").write_text("raise ValueError('at the start')")
    (start / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}")
    with caplog.at_level(logging.ERROR):
        packs = loaded(tmp_path, registry)
    assert {p.name: p.error for p in packs.packs} == {
        "bare": f"ImportError: {tmp_path / 'bare'} has no __init__.py",
        "broken": "RuntimeError: this pack is broken",
        "empty": "ImportError: it has neither NODE_CLASS_MAPPINGS nor comfy_entrypoint",
        "leaving": "SystemExit: 3",
        "sound": "",
        "starting": "",
    }
    assert "at the start" in caplog.text
    assert packs.registry.nodes.keys() - registry.nodes.keys() == {"SoundA"}


def test_no_folder_means_no_packs(tmp_path: Path, registry: Registry) -> None:
    env = Env(Files.under(tmp_path), Devices("cpu"))
    packs = load_packs([tmp_path / "none"], registry, host_of(env, tmp_path))
    assert (packs.packs, packs.registry) == ((), registry)


def test_scripts_for_editors_are_named_by_the_project_file_too_and_stay_within_the_pack(
    tmp_path: Path, registry: Registry
) -> None:
    for name, web in (("inside", "web"), ("outside", "../inside/web"), ("nowhere", "none")):
        (tmp_path / name / "web").mkdir(parents=True)
        (tmp_path / name / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}")
        (tmp_path / name / "pyproject.toml").write_text(f'[tool.comfy]\nweb = "{web}"')
    webs = {p.name: p.web for p in loaded(tmp_path, registry).packs}
    assert webs == {"inside": tmp_path / "inside" / "web", "outside": None, "nowhere": None}


def info(world: World, name: str) -> Any:
    foreign = world.packs.classes[name]
    return object_info(foreign.cls, name, foreign.title, foreign.module)


def test_a_class_with_dicts_is_described_as_editors_know_it(world: World) -> None:
    assert info(world, "Num") == {
        "input": {"required": {"value": ["INT", {"default": 0, "min": -9, "max": 99, "tooltip": "which"}]}},
        "input_order": {"required": ["value"]},
        "output": ["INT"],
        "output_is_list": [False],
        "output_name": ["INT"],
        "name": "Num",
        "display_name": "A Number",
        "description": "A number.",
        "python_module": "custom_nodes.first",
        "category": "first",
        "output_node": False,
    }
    assert info(world, "Hid")["input"]["hidden"]["u"] == "UNIQUE_ID"
    assert info(world, "Listed")["output"] == [["red", "blue"], "FLOAT,INT"]
    assert info(world, "Flexible")["input"] == {"required": {}, "optional": {}}
    assert info(world, "Bad") is None


def test_a_class_with_a_schema_is_described_as_editors_know_it(world: World) -> None:
    assert info(world, "Scale") == {
        "input": {
            "required": {
                "image": ["IMAGE", {}],
                "by": ["FLOAT", {"default": 1.0, "min": 0.0, "max": 4.0}],
            },
            "hidden": {"unique_id": ["UNIQUE_ID"]},
        },
        "input_order": {"required": ["image", "by"], "hidden": ["unique_id"]},
        "output": ["IMAGE", "FLOAT"],
        "output_is_list": [False, False],
        "output_name": ["IMAGE", "Factor"],
        "output_tooltips": [None, None],
        "name": "Scale",
        "display_name": "Scale It",
        "description": "",
        "python_module": "custom_nodes.second",
        "category": "second",
        "output_node": False,
        "deprecated": False,
        "experimental": False,
        "api_node": False,
    }
    many = info(world, "Guarded")["input"]["required"]["n"]
    assert many == ["INT,FLOAT", {"default": 3, "min": 0, "max": 9, "widgetType": "INT"}]
