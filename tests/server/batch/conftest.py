"""The command in this process, over tiny nodes, in an empty directory with a cache of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from server import assembly
from tests.server.batch.commands import TOYS, workflow

Batch = Callable[..., Result]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a workflow of tiny nodes."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"CACHE": str(tmp_path / "cache"), "MEMORY_GB": "0.1", "DEVICE": "cpu"}.items():
        monkeypatch.setenv(f"LATENTGRAPH_{name}", value)
    monkeypatch.setenv("COLUMNS", "200")
    workflow(tmp_path)
    return tmp_path


@pytest.fixture
def batch(here: Path, monkeypatch: pytest.MonkeyPatch) -> Batch:
    """Runs `latentgraph batch` into the folder `out`; a refusal is the result's exception."""
    from engine import cli as commands

    monkeypatch.setattr(assembly, "installed", lambda: TOYS)

    def run(*arguments: str, output: str = "out", file: str = "toy.json") -> Result:
        return CliRunner().invoke(commands.app, ["batch", file, "--output", output, *arguments])

    return run
