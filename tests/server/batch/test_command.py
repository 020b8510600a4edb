"""`latentgraph batch` as it is typed: help, and what it takes to say it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from engine.problems import WorkflowError
from server.batch import command

COMMAND = [sys.executable, "-c", "from engine.cli import main; main()"]


def test_help_fits_80_columns_and_has_examples_and_defaults() -> None:
    environment = {**os.environ, "COLUMNS": "80", "TERM": "dumb"}
    done = subprocess.run(
        [*COMMAND, "batch", "-h"], env=environment, capture_output=True, text=True, check=True
    )
    assert max(map(len, done.stdout.splitlines())) <= 80
    for said in (
        "--vary",
        "--zip",
        "--jobs",
        "--retry-failed",
        "[default: here]",
        "[default: 8]",
        "Examples",
    ):
        assert said in done.stdout


def test_asking_for_help_loads_no_database_and_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys\nsys.argv = ['latentgraph', '--help']\nfrom engine.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert 'batch' in sys.modules['server.batch.command'].__name__\n"
        "print({m for m in ('sqlalchemy', 'torch', 'PIL', 'server.queue.store') if m in sys.modules})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_without_a_folder_it_is_not_begun() -> None:
    done = subprocess.run([*COMMAND, "batch", "text_to_image"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--output" in done.stderr


@pytest.mark.parametrize(
    ("workers", "queue", "kind"),
    [(None, None, 0), ("1", None, 1), ("64", None, 64), ("ray", None, "ray"), ("none", "sqlite://", "none")],
)
def test_workers_are_a_number_ray_or_none(workers: str | None, queue: str | None, kind: object) -> None:
    assert command._kind(workers, queue) == kind


@pytest.mark.parametrize("workers", ["0", "65", "-1", "²", "many", "", "none"])
def test_other_workers_are_refused(workers: str) -> None:
    with pytest.raises(WorkflowError, match="--workers"):
        command._kind(workers, None)


def test_it_is_registered_under_its_name() -> None:
    app = typer.Typer()
    command.register(app)
    assert [c.name for c in app.registered_commands] == ["batch"]
