"""`latentgraph convert`: a workflow from any form we read to the API form."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from engine.cli.opened import find_workflow
from engine.cli.say import people
from engine.drafts import write_whole
from engine.problems import Problem, WorkflowError
from engine.registry import Registry
from engine.workflow import load


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="convert")(convert)


def convert(
    workflow: Annotated[
        str, typer.Argument(help="API JSON, or a PNG, WebP or .latent that carries a workflow.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write.  [default: stdout]")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and details.")] = False,
) -> None:
    """Write a workflow in the API format (the editor's own format cannot be read yet)."""
    del debug
    text = json.dumps(load(find_workflow(workflow, Registry())).as_api(), indent=2, ensure_ascii=False) + "\n"
    if output is None:
        sys.stdout.write(text)
        return
    try:
        write_whole(output, text.encode())
    except OSError as error:
        raise WorkflowError(
            [Problem("unwritable", f"{output}: {error.strerror}", hint="choose another file")]
        ) from error
    people.print(f"[green]wrote[/] {output}")
