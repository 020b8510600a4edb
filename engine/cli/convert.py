"""`latentgraph convert`: a workflow from any form we read to the API form."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from engine.cli.opened import find_workflow
from engine.cli.say import people
from engine.drafts import write_whole
from engine.problems import Problem, WorkflowError
from engine.registry import installed
from engine.workflow import load

EPILOG = """[bold]Examples[/]

latentgraph convert saved_in_the_editor.json -o api.json

latentgraph convert picture_made_earlier.png > api.json
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="convert", epilog=EPILOG)(convert)


def convert(
    workflow: Annotated[
        str, typer.Argument(help="JSON of either form, or a PNG, WebP or .latent that carries a workflow.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write.  [default: stdout]")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and details.")] = False,
) -> None:
    """Write a workflow in the API format: the nodes that run, every value by its name.

    What the editor only draws is drawn through: reroutes, primitives, group nodes, subgraphs, muted and
    bypassed nodes.
    """
    del debug
    registry = installed()
    made = load(find_workflow(workflow, registry), registry.nodes)
    nodes = made.as_api()
    for id, defaults in made.filled.items():
        for name, value in defaults.items():
            del nodes[id]["inputs"][name]
            what = f"node {id} ({made.nodes[id].class_type}): the file has no {name}; `run` takes {value!r}"
            people.print(f"[yellow]{escape(what)}, other servers may want it to be set[/]")
    text = json.dumps(nodes, indent=2, ensure_ascii=False) + "\n"
    for id in made.unnamed:
        what = f"node {id} ({made.nodes[id].class_type}) is of a class that is not installed"
        people.print(f"[yellow]{escape(what)}; its values have no names in the file and are left out[/]")
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
