"""What custom packs bring for editors."""

import json
import logging
from pathlib import Path

import pytest

from engine.registry import Pack, Registry
from server.packs import WebPack, scripts, templates, translations


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def test_scripts_are_named_by_their_route(tmp_path: Path) -> None:
    for name in ("b.js", "sub/a.js", "style.css"):
        write(tmp_path / "web" / name, 0)
    packs = [WebPack("one", tmp_path, tmp_path / "web"), WebPack("two", tmp_path)]
    assert scripts(packs) == ["/extensions/one/b.js", "/extensions/one/sub/a.js"]


def test_workflows_come_from_installed_packs_and_from_the_example_folders_of_custom_ones(
    tmp_path: Path,
) -> None:
    write(tmp_path / "shipped" / "first.json", {})
    write(tmp_path / "custom" / "example_workflows" / "second.json", {})
    write(tmp_path / "custom" / "examples" / "third.json", {})
    registry = Registry(packs=(Pack("ours", (), workflows=tmp_path / "shipped"),))
    found = templates(registry, [WebPack("theirs", tmp_path / "custom"), WebPack("none", tmp_path / "none")])
    assert {pack: list(named) for pack, named in found.items()} == {
        "ours": ["first"],
        "theirs": ["second", "third"],
    }


def test_translations_of_several_packs_are_joined(tmp_path: Path) -> None:
    write(tmp_path / "a" / "locales" / "de" / "main.json", {"menu": {"run": "Los"}})
    write(tmp_path / "a" / "locales" / "de" / "nodeDefs.json", {"A": {"display_name": "Ah"}})
    write(tmp_path / "b" / "locales" / "de" / "main.json", {"menu": {"stop": "Halt"}})
    write(tmp_path / "b" / "locales" / "de" / "nodeDefs.json", {"B": {"display_name": "Beh"}})
    write(tmp_path / "b" / "locales" / "fr" / "settings.json", {"x": 1})
    assert translations([WebPack("a", tmp_path / "a"), WebPack("b", tmp_path / "b")]) == {
        "de": {
            "menu": {"run": "Los", "stop": "Halt"},
            "nodeDefs": {"A": {"display_name": "Ah"}, "B": {"display_name": "Beh"}},
        },
        "fr": {"settings": {"x": 1}},
    }


def test_a_translation_that_cannot_be_read_is_left_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "locales" / "de" / "main.json", {"a": 1})
    (tmp_path / "locales" / "de" / "commands.json").write_text("{")
    with caplog.at_level(logging.WARNING):
        assert translations([WebPack("a", tmp_path)]) == {"de": {"a": 1}}
    assert "commands.json cannot be read" in caplog.text
