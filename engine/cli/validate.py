"""`latentgraph validate`: everything wrong with some workflows, without running them."""

from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from rich.markup import escape

from engine.check import check
from engine.cli.opened import find_workflow
from engine.cli.say import line, people, problems
from engine.config import make_env, open_tiers, read_settings
from engine.graph import bind
from engine.ports import Env
from engine.problems import Problem, WorkflowError
from engine.registry import Registry, installed
from engine.workflow import load


@dataclass(frozen=True)
class Verdict:
    """What is wrong with one file; `format` is None where it was not recognised."""

    workflow: str
    format: str | None
    loaded: bool = False
    problems: tuple[Problem, ...] = field(default=())

    @property
    def valid(self) -> bool:
        """Whether it would run."""
        return self.loaded and not self.problems

    @property
    def missing_classes(self) -> list[str]:
        """Node classes that no installed pack has."""
        return sorted({p.value for p in self.problems if p.code == "missing_node_type"})

    @property
    def missing_files(self) -> list[str]:
        """Files that the workflow names and no folder has, as `role/name`."""
        return sorted({p.value for p in self.problems if p.code == "value_not_in_list" and p.value})

    def as_json(self) -> dict[str, Any]:
        """The line of `--json`."""
        return {
            "workflow": self.workflow,
            "format": self.format,
            "loaded": self.loaded,
            "valid": self.valid,
            "missing_classes": self.missing_classes,
            "missing_files": self.missing_files,
            "problems": [p.as_json() for p in self.problems],
        }


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="validate")(validate)


def validate(
    workflows: Annotated[list[str], typer.Argument(help="Workflow files.")],
    base_directory: Annotated[
        str | None, typer.Option(help="Folder with models and input.  [default: here]")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per file on stdout.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and details.")] = False,
) -> None:
    """Say everything that is wrong with workflows: classes, links, values, files. Loads no weights."""
    del debug
    settings = read_settings(base_directory=base_directory, cache="off")
    registry = installed()
    env = make_env(settings, registry, open_tiers(settings))
    verdicts = [verdict(name, registry, env) for name in workflows]
    for v in verdicts:
        if as_json:
            line(v.as_json())
        elif v.problems:
            people.print(f"[bold]{escape(v.workflow)}[/]")
            problems(v.problems)
        else:
            people.print(f"[green]✓[/] {escape(v.workflow)}")
    raise typer.Exit(0 if all(v.valid for v in verdicts) else 2)


def verdict(name: str, registry: Registry, env: Env) -> Verdict:
    """Read and check one workflow file."""
    try:
        workflow = load(find_workflow(name, registry), registry.nodes)
    except WorkflowError as error:
        return Verdict(name, error.format, False, error.problems)
    return Verdict(name, workflow.format, True, check(bind(workflow, registry), env).problems)
