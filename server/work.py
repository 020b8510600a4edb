"""`latentgraph work`: runs jobs of a queue that others fill, here, with no HTTP."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from engine.config import Settings
    from server.config import ServerSettings
    from server.foreman import News

EPILOG = """[bold]Examples[/]

latentgraph work --database postgresql://user:password@host/name --base-directory /mnt/shared

LATENTGRAPH_SERVER_DATABASE=postgresql://host/name latentgraph work --workers 2 --at-once 4

latentgraph work --database postgresql://host/name --output-directory /mnt/pictures --until-empty --json
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="work", epilog=EPILOG)(work)


def work(
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The queue: postgresql://USER:PASSWORD@HOST/NAME, or sqlite:///PATH on this machine.",
        ),
    ] = None,
    base_directory: Annotated[
        Path | None,
        typer.Option(help="Folder with models, input and output, shared by all machines.  \\[default: here]"),
    ] = None,
    output_directory: Annotated[Path | None, typer.Option(help="Folder for outputs.")] = None,
    input_directory: Annotated[Path | None, typer.Option(help="Folder for inputs.")] = None,
    temp_directory: Annotated[Path | None, typer.Option(help="Folder for previews.")] = None,
    extra_model_paths_config: Annotated[
        Path | None, typer.Option(help="YAML file with more model folders; its custom_nodes are loaded.")
    ] = None,
    custom_nodes: Annotated[
        list[Path] | None, typer.Option(help="Folder of custom node packs: code that runs with your rights.")
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(metavar="N|ray", help="Worker processes; 0 works in this one.  \\[default: 0]"),
    ] = None,
    at_once: Annotated[
        int | None, typer.Option(help="Jobs that each worker runs together.  \\[default: 1]")
    ] = None,
    until_empty: Annotated[
        bool, typer.Option("--until-empty", help="End once no job waits or runs, here or elsewhere.")
    ] = False,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, …  \\[default: a GPU if there is one]")
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="The same as --device cpu.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what becomes of each job as JSON lines on stdout.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and details.")] = False,
) -> None:
    """Run jobs of a queue that servers or batches fill, on this machine, until told to stop.

    Ctrl-C or SIGTERM: what runs gets some seconds to end, else it goes back into the queue.
    """
    del debug  # read before the commands are
    from engine.config import read_settings
    from server.config import read_server_settings

    settings = read_settings(
        base_directory=base_directory,
        output_directory=output_directory,
        input_directory=input_directory,
        temp_directory=temp_directory,
        extra_model_paths_config=extra_model_paths_config,
        device="cpu" if cpu else device,
    )
    server = read_server_settings(
        database=database,
        custom_nodes=tuple(custom_nodes) if custom_nodes else None,
        workers=workers,
        jobs_at_once=at_once,
    )
    _refuse_no_database(server)
    _run(settings, server, until_empty, as_json)


def _refuse_no_database(server: "ServerSettings") -> None:
    from engine.problems import Problem, WorkflowError

    if server.database is None:
        hint = "--database postgresql://USER:PASSWORD@HOST/NAME, or LATENTGRAPH_SERVER_DATABASE"
        raise WorkflowError([Problem("no_database", "no queue is named to take jobs from", hint=hint)])


def _run(settings: "Settings", server: "ServerSettings", until_empty: bool, as_json: bool) -> None:
    import logging
    import sys

    from rich.markup import escape
    from sqlalchemy.exc import SQLAlchemyError

    from engine.cli.say import line, people
    from server.foreman import work_until_stopped

    def tell(news: "News") -> None:
        if as_json:
            line(news.as_json())
        elif news.event != "begun":
            people.print(_said(news))

    try:
        work_until_stopped(settings, server, tell, until_empty)
    except SQLAlchemyError as error:
        people.print(f"[red]the queue's database cannot be opened:[/] {escape(str(error))}")
        raise typer.Exit(2) from error
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)  # a node that takes no steps must not keep the process: its job was put back


def _said(news: Any) -> str:
    """A line for people."""
    from rich.markup import escape

    found = news.as_json()
    colour = {"success": "green", "error": "red"}.get(found["event"], "yellow")
    text = f"[{colour}]{found['event']}[/]"
    if "job" in found:
        text = f"{escape(found['job'])} {text}"
    if "seconds" in found:
        text += f" in {found['seconds']:.1f} s"
    if "outputs" in found:
        text += "".join(f", {escape(path)}" for path in found["outputs"])
    return text + (f": {escape(found['message'].splitlines()[0])}" if found.get("message") else "")
