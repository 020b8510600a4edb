"""`latentgraph draw`: a picture of a workflow's graph."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from engine.problems import Problem, WorkflowError

if TYPE_CHECKING:
    from engine.registry import Registry
    from engine.workflow import Workflow
    from nodes.drawing.scene import Scene

SUFFIXES = (".svg", ".png")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="draw")(draw)


def draw(
    workflow: Annotated[str, typer.Argument(help="A workflow file or a shipped name.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="File to write, .svg or .png.  [default: the workflow's name + .svg]"
        ),
    ] = None,
    base_directory: Annotated[
        Path | None, typer.Option(help="Folder with models and input.  [default: here]")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and details.")] = False,
) -> None:
    """Draw a workflow's graph, with what is wrong with it marked in red; it need not be valid."""
    del debug
    if output is not None and output.suffix.lower() not in SUFFIXES:
        raise _refused(f"cannot draw a {output.suffix or 'file without a suffix'}", "name it .svg or .png")
    from engine.cli.opened import find_workflow
    from engine.cli.say import people
    from engine.drafts import write_whole
    from engine.registry import installed
    from engine.workflow import load
    from nodes.drawing.boxes import diagram
    from nodes.drawing.layout import laid_out
    from nodes.drawing.scene import scene

    registry = installed()
    path = find_workflow(workflow, registry)
    loaded = load(path, registry.nodes)
    found = _problems(loaded, registry, base_directory)
    output = output or Path(f"{path.stem}.svg")
    picture = diagram(loaded, registry, found, path.stem)
    layout = laid_out(picture)
    shapes = scene(picture, layout)
    try:
        write_whole(output, _content(shapes, output.suffix.lower(), path.stem))
    except OSError as error:
        raise _refused(f"{output}: {error.strerror}", "choose another file") from error
    closing = sum(route.backward for route in layout.routes)
    if closing:
        people.print(f"[yellow]the nodes depend on themselves: links drawn backwards, dashed: {closing}[/]")
    if found:
        people.print(f"[yellow]{len(found)} problem{'s' if len(found) > 1 else ''}, marked in red[/]")
    people.print(f"[green]wrote[/] {escape(str(output))}")


def _problems(workflow: "Workflow", registry: "Registry", base: Path | None) -> tuple[Problem, ...]:
    from engine.check import check
    from engine.config import make_env, open_tiers, read_settings
    from engine.graph import bind

    settings = read_settings(base_directory=base, cache="off")
    return check(bind(workflow, registry), make_env(settings, registry, open_tiers(settings))).problems


def _content(shapes: "Scene", suffix: str, name: str) -> bytes:
    if suffix == ".png":
        from nodes.drawing.png import as_png

        return as_png(shapes)
    from nodes.drawing.svg import as_svg

    return as_svg(shapes, name).encode()


def _refused(message: str, hint: str) -> WorkflowError:
    return WorkflowError([Problem("unwritable", message, hint=hint)])
