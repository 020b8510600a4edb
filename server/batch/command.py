"""`latentgraph batch`: one workflow as many jobs, whatever happens in between."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.problems import Problem, WorkflowError

EPILOG = """[bold]Examples[/]

latentgraph batch text_to_image --vary Sampler.seed=1..100 --output seeds

latentgraph batch text_to_image --vary Prompt.text=@prompts.txt --vary Sampler.cfg=3,5,7 --output sweep

latentgraph batch portrait.json --jobs people.csv --name "people/{job}_{name}" --output portraits --dry-run

latentgraph batch portrait.json --jobs people.csv --output portraits --workers 4

Interrupt it, kill it, pull the plug: the same command goes on, and the folder ends up the same to the byte.
"""
MOST_WORKERS = 64


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="batch", epilog=EPILOG)(batch)


def batch(
    workflow: Annotated[
        str, typer.Argument(help="A workflow file (API JSON, or a picture made by one), or a shipped name.")
    ],
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="The batch's own folder: outputs, manifest, contact sheet.")
    ],
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NODE.INPUT=SPEC",
            help="Vary an input: 1..100, 1..9..2, a,b,c, a JSON list, or @file with a value a line. "
            "Several multiply.",
        ),
    ] = None,
    zipped: Annotated[
        bool, typer.Option("--zip", help="Pair the values of all --vary instead of multiplying them.")
    ] = False,
    jobs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSONL or CSV: a job a line, its columns are NODE.INPUT."),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NODE.INPUT=VALUE",
            help="Set an input of all jobs. NODE is a title, id or class; VALUE is JSON, else text; "
            "@file reads a file.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="TEMPLATE", help="How outputs are called, e.g. {job}_{Sampler.seed}."),
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(
            metavar="N|ray|none",
            help="Worker processes; ray: a Ray cluster's; none: only those that `latentgraph work` runs on "
            "the same --queue.  \\[default: this process]",
        ),
    ] = None,
    at_once: Annotated[
        int, typer.Option(min=1, max=64, help="Jobs that a worker runs together.", show_default=True)
    ] = 16,
    rung: Annotated[
        int, typer.Option(min=1, max=32, help="Most rows of different jobs in one model call.")
    ] = 8,
    queue: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Database that other machines take jobs from (postgresql://…)."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run the jobs again that failed before.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run and what is cached; run nothing.")
    ] = False,
    exact: Annotated[
        bool, typer.Option("--exact", help="Never batch model calls: bit-identical to single runs.")
    ] = False,
    base_directory: Annotated[
        Path | None, typer.Option(help="Folder with models, input and temp.  \\[default: here]")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, …  \\[default: a GPU if there is one]")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON line on stdout for each job that ends.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and details.")] = False,
) -> None:
    """Run a workflow many times with inputs that vary; what was finished is never done again."""
    del debug  # `main` looks at it
    asked = {
        "workflow": workflow,
        "output": output,
        "vary": tuple(vary or ()),
        "zipped": zipped,
        "jobs": jobs,
        "sets": tuple(sets or ()),
        "name": name,
        "at_once": at_once,
        "rung": rung,
        "queue": queue,
        "retry_failed": retry_failed,
        "dry_run": dry_run,
        "exact": exact,
        "as_json": as_json,
    }
    _run(workers, {"base_directory": base_directory, "device": device}, asked)


def _run(workers: str | None, flags: dict[str, Any], asked: dict[str, Any]) -> None:
    try:
        kind = _kind(workers, asked["queue"])
        from server.batch.conduct import Asked, conduct

        code = conduct(Asked(workers=kind, **asked), flags)
    except WorkflowError as error:
        if not asked["as_json"]:
            raise
        from engine.cli.say import line

        for problem in error.problems:
            line({"event": "problem", **problem.as_json()})
        line({"event": "finished", "status": "error"})
        raise typer.Exit(2) from error
    if code == 130:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(130)  # a node that takes no steps must not keep the process: its job was put back
    raise typer.Exit(code)


def _kind(workers: str | None, queue: str | None) -> Any:
    """What `--workers` says: a number of processes (0: a worker in this one), "ray" or "none"."""
    if workers is None:
        return 0
    if workers == "none" and not queue:
        text = "--workers none leaves the jobs to other processes, which have to know their queue"
        raise WorkflowError([Problem("bad_setting", text, hint="name it: --queue postgresql://…")])
    if workers in ("ray", "none"):
        return workers
    if workers.isdecimal() and 1 <= int(workers) <= MOST_WORKERS:
        return int(workers)
    text = f"--workers {workers} is no number of processes"
    raise WorkflowError([Problem("bad_setting", text, hint=f"write 1 to {MOST_WORKERS}, ray, or none")])
