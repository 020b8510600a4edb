"""`latentgraph run`: run one workflow, show how far it is, say what was written."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from engine import events
from engine.cache.disk import DiskTier
from engine.cli.opened import Opened, opened
from engine.cli.say import Board, line, people, write_json
from engine.config import read_settings
from engine.plan import Plan
from engine.ports import Env
from engine.problems import WorkflowError
from engine.recorded import lock as locked
from engine.runner import Engine, Run

EPILOG = """[bold]Examples[/]

latentgraph run text_to_image

latentgraph run workflows/text_to_image.json --set "Prompt.text=a blue castle at sunset" --set Sampler.seed=7

latentgraph run image_to_image --set Image.image=photo.png --set Sampler.denoise=0.5 --output pictures

latentgraph run picture_made_earlier.png --set 3.steps=30 --dry-run --explain
"""

EXIT = {"success": 0, "error": 1, "cancelled": 130}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="run", epilog=EPILOG)(run)


def run(
    workflow: Annotated[
        str, typer.Argument(help="A workflow file (API JSON, or a picture made by one), or a shipped name.")
    ],
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NODE.INPUT=VALUE",
            help="Set an input. NODE is a title, id or class; VALUE is JSON, else text; @file reads a file.",
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for outputs.  [default: output]")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run and what is cached; run nothing.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say of each node that runs why it is not cached.")
    ] = False,
    exact: Annotated[
        bool, typer.Option("--exact", help="Never batch model calls: bit-identical whatever else runs.")
    ] = False,
    lock: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="Write what made the outputs (graph, hashes, seeds, versions, device), for `replay`.",
        ),
    ] = None,
    base_directory: Annotated[
        Path | None, typer.Option(help="Folder with models, input, output and temp.  [default: here]")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, …  [default: a GPU if there is one]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print events as JSON lines on stdout.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and details.")] = False,
) -> None:
    """Run a workflow and write what it makes."""
    try:
        settings = read_settings(output_directory=output, base_directory=base_directory, device=device)
        with (
            opened(workflow, settings, sets or ()) as world,
            Engine(world.registry, world.env, world.tiers, exact=exact) as engine,
        ):
            plan = world.planned(engine)
            if dry_run or explain:
                _show_plan(plan, world, explain, as_json)
            if dry_run:
                return
            done = _execute(engine, plan, as_json, debug)
            if lock is not None and done.status == "success":
                write_json(lock, locked(plan, done))
    except WorkflowError as error:
        if not as_json:
            raise
        for problem in error.problems:
            line({"event": "problem", **problem.as_json()})
        line(events.as_json(events.RunFinished("error", (), (), ())))
        raise typer.Exit(2) from error
    if not as_json:
        _summary(done)
    raise typer.Exit(EXIT[done.status])


def _execute(engine: Engine, plan: Plan, as_json: bool, debug: bool) -> Run:
    if as_json:
        return asyncio.run(until_done(engine, plan, lambda event: line(events.as_json(event))))
    return run_shown(engine, plan, debug)


def run_shown(engine: Engine, plan: Plan, debug: bool = False, env: Env | None = None) -> Run:
    """Run a plan and show people how far it is.

    Args:
        debug: Whether to show tracebacks of nodes that fail.
        env: In place of the engine's.
    """
    titles = {id: n.title or n.node.title for id, n in plan.graph.nodes.items()}
    with Board(titles) as board:

        def tell(event: events.Event) -> None:
            board.tell(event)
            if debug and isinstance(event, events.NodeFailed) and event.details:
                people.print(escape(event.details))

        return asyncio.run(until_done(engine, plan, tell, env))


async def until_done(
    engine: Engine, plan: Plan, listen: Callable[[events.Event], None], env: Env | None = None
) -> Run:
    """Run the plan; Ctrl-C and SIGTERM stop it at the next step."""
    job = engine.start(plan, listen, env=env)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, job.cancel)
    return await engine.finish(job)


def _summary(run: Run) -> None:
    for output in run.outputs:
        people.print(
            f"[green]wrote[/] {escape(output['path'])}"
            if output["node"] in run.executed
            else escape(output["path"])
        )
    ran, had = len(run.executed), len(run.cached)
    if run.status == "success":
        if not ran:
            people.print(
                "[dim]nothing to do: everything was made before (change an input, or remove the file)[/]"
            )
        else:
            people.print(
                f"[dim]{ran} node{'s' if ran > 1 else ''} ran"
                + (f", {had} from the cache[/]" if had else "[/]")
            )
    elif run.status == "cancelled":
        people.print("[yellow]interrupted; what was finished is kept, the same command goes on from there[/]")
    else:
        failed = f"{len(run.failures)} node{'s' if len(run.failures) > 1 else ''} failed"
        people.print(f"[red]{failed}[/]; {ran} ran, what depends on the failed was left out")


def _show_plan(plan: Plan, world: Opened, explain: bool, as_json: bool) -> None:
    disk = next((t for t in world.tiers.tiers if isinstance(t, DiskTier)), None)
    seconds = plan.seconds(disk.usual_cost) if disk else None
    rows = [(id, "run", plan.why(id, world.tiers) if explain else "") for id in plan.runs]
    rows += [(id, f"cached ({tier})", "") for id, tier in plan.served.items()]
    rows += [(id, "if asked for", "") for id in plan.lazy]
    if as_json:
        for id, action, why in rows:
            line({"event": "planned", "node_id": id, "action": action, "why": why})
        return
    headers = ["node", "class", "title", "action", *(["why"] if explain else [])]
    table = Table(*(Column(name, overflow="fold") for name in headers), box=None, header_style="bold")
    for id, action, why in rows:
        node = plan.graph.nodes[id]
        color = "green" if action.startswith("cached") else "yellow"
        table.add_row(
            id, node.node.name, node.title, f"[{color}]{action}[/]", *([escape(why)] if explain else [])
        )
    people.print(table)
    files = ", ".join(f"{role}/{name}" for role, name in plan.files()) or "none"
    people.print(f"[dim]files: {escape(files)}[/]")
    if seconds is not None and plan.runs:
        people.print(f"[dim]estimate from earlier runs: {seconds:.1f} s[/]")
