"""The command line run in this process, in an empty directory, with a cache of its own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

Cli = Callable[..., Result]

PICTURE: dict[str, Any] = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 16, "height": 8, "batch_size": 1, "color": 255},
        "_meta": {"title": "Picture"},
    },
    "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
    "3": {
        "class_type": "SaveImage",
        "inputs": {"images": ["2", 0], "filename_prefix": "made/it"},
        "_meta": {"title": "Save"},
    },
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LATENTGRAPH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "picture.json").write_text(json.dumps(PICTURE))
    return tmp_path


@pytest.fixture
def cli(here: Path) -> Cli:
    """Runs the command line as `main` does; WorkflowError becomes exit code 2 with its problems."""
    from engine import cli as commands

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(commands.app, list(arguments), catch_exceptions=True)

    return run
