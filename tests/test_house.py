"""The house rules that a linter cannot check: limits, first lines, documented ports and settings."""

import ast
from collections import Counter
from pathlib import Path

import pytest

from engine.config import Settings
from engine.registry import Registry, installed
from server.config import ServerSettings

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    p for package in ("engine", "nodes", "server", "training") for p in (ROOT / package).rglob("*.py")
)
LONGEST_MODULE = 300
LONGEST_FUNCTION = 50


@pytest.fixture(scope="module")
def registry() -> Registry:
    return installed()


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_says_what_it_holds_and_stays_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert text.startswith('"""'), "the first line says what the file holds"
    assert len(text.splitlines()) <= LONGEST_MODULE
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            length = node.end_lineno - first.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines"


def test_every_port_is_documented(registry: Registry) -> None:
    from engine.ports import Hidden

    bare = [
        f"{node.name}.{value.name}"
        for node in registry.nodes.values()
        for value in node.inputs
        if not value.doc and value.fact(Hidden) is None
    ]
    assert bare == []
    assert [n.name for n in registry.nodes.values() if not n.doc] == []


def test_every_setting_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in Settings.model_fields:
        assert f"`{name}`" in readme
        assert f"`LATENTGRAPH_{name.upper()}`" in readme


def test_every_setting_of_the_server_is_in_its_guide() -> None:
    guide = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
    assert [name for name in ServerSettings.model_fields if f"`{name}`" not in guide] == []


def test_every_shipped_workflow_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [p.stem for p in sorted((ROOT / "workflows").glob("*.json")) if f"`{p.stem}`" not in readme] == []


def test_every_command_is_in_the_readme() -> None:
    from engine.cli import app

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    names = [c.name for c in app.registered_commands] + [g.name for g in app.registered_groups]
    assert [n for n in names if f"latentgraph {n}" not in readme] == []


def test_no_two_test_files_have_the_same_name() -> None:
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == [], "pytest imports them by their name"


def test_no_file_holds_what_belongs_to_one_machine() -> None:
    words = ("index-url", "find" + "-links", "/ro" + "ot/", "/wo" + "rk/")
    files = [ROOT / "constraints.txt", ROOT / "pyproject.toml", ROOT / "README.md", *MODULES]
    found = [(p.name, w) for p in files for w in words if w in p.read_text(encoding="utf-8")]
    assert found == []
