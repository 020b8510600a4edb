"""`latentgraph replay`: run what made a picture again, and say whether it is the same to the bit."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from engine.cache import Tiers
from engine.cli.run import EXIT, run_shown, until_done
from engine.cli.say import line, people
from engine.config import make_env, read_settings
from engine.devices import Devices
from engine.files import Files
from engine.plan import Plan
from engine.ports import OneOf
from engine.problems import Problem, WorkflowError
from engine.record import surroundings
from engine.recorded import Recorded, recorded
from engine.registry import Registry, installed
from engine.replay import (
    TOLERANCE,
    Change,
    Hashes,
    Replayed,
    Status,
    adopt_threads,
    as_lines,
    changes,
    compared,
    hindrances,
)
from engine.runner import Engine
from engine.trail import Pinned

EPILOG = """[bold]Examples[/]

latentgraph replay output/text_to_image_00001_.png

latentgraph run text_to_image --lock made.json && latentgraph replay made.json

latentgraph replay picture.png --json | jq 'select(.event == "node" and .same == false)'
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="replay", epilog=EPILOG)(replay)


def replay(
    image: Annotated[
        Path, typer.Argument(help="A picture that latentgraph wrote (PNG, WebP), a .latent, or a lock file.")
    ],
    base_directory: Annotated[
        Path | None, typer.Option(help="Folder with models and input.  [default: here]")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, …  [default: as recorded, where there is one]")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per node on stdout, and how it ended.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and details.")] = False,
) -> None:
    """Run what made a picture again, without any cache, and compare every node's result to the bit.

    Exits 0 where all is the same, 1 naming the first node that differs, 2 where it cannot be the same run:
    no record, or files and nodes that are others now. With other versions or on another device the pictures
    are compared within a tolerance.
    """
    try:
        before = recorded(image)
        with _scratch(before, base_directory, device) as scratch:
            replayed, status = _replayed(scratch, as_json, debug)
    except WorkflowError as error:
        if not as_json:
            raise
        for problem in error.problems:
            line({"event": "problem", **problem.as_json()})
        line({"event": "finished", "status": "error", "first_difference": None})
        raise typer.Exit(2) from error
    if as_json:
        for said in as_lines(replayed, status):
            line(said)
    else:
        _say(replayed, status)
    raise typer.Exit({"same": 0, "close": 0, "differs": 1, **EXIT}[status])


@dataclass(frozen=True)
class _Scratch:
    """An engine without caches whose outputs go to a folder that is removed, and what it is to replay."""

    before: Recorded
    engine: Engine
    plan: Plan
    changes: tuple[Change, ...]


@contextmanager
def _scratch(before: Recorded, base: Path | None, device: str | None) -> Iterator[_Scratch]:
    device = device or ("cpu" if before.record.device == "cpu" else None)
    with tempfile.TemporaryDirectory(prefix="latentgraph-replay-") as folder:
        settings = read_settings(
            base_directory=base,
            device=device,
            precision=before.record.precision,
            output_directory=Path(folder, "output"),
            temp_directory=Path(folder, "temp"),
        )
        registry, tiers = installed(), Tiers(())
        env = make_env(settings, registry, tiers, _named_by_path(before, registry))
        env = env.with_(replace(env[Files], memo=Hashes()), Pinned(before.record.rungs))
        adopt_threads(before.record)
        found = changes(before.record, surroundings(env[Devices]))
        with Engine(registry, env, tiers) as engine:
            yield _Scratch(before, engine, _planned(before, engine, found), found)


def _named_by_path(before: Recorded, registry: Registry) -> dict[str, dict[str, Path]]:
    """Files that the run was given by path (`--set Image.image=photo.png`), where they are still there."""
    items: dict[str, dict[str, Path]] = {}
    for node in before.workflow.nodes.values():
        declared = registry.nodes.get(node.class_type)
        for value in declared.inputs if declared else ():
            one_of, name = value.fact(OneOf), node.inputs.get(value.name)
            if one_of and one_of.role and isinstance(name, str) and Path(name).is_file():
                items.setdefault(one_of.role, {})[name] = Path(name).resolve()
    return items


def _planned(before: Recorded, engine: Engine, found: tuple[Change, ...]) -> Plan:
    """The plan of the recorded run.

    Raises:
        WorkflowError: With all that keeps it from being the same run.
    """
    problems: list[Problem] = []
    plan = None
    try:
        plan = engine.plan(before.workflow, before.record.targets or None)
    except WorkflowError as error:
        problems += error.problems
    problems += hindrances(before.record, engine.env[Files], plan)
    if plan is None or problems:
        for c in found:
            message = f"{c.what} is another: recorded {c.recorded}, found {c.found}"
            problems.append(Problem("other_surroundings", message, hint="results may differ slightly"))
        raise WorkflowError(problems)
    return plan


def _replayed(scratch: _Scratch, as_json: bool, debug: bool) -> tuple[Replayed, Status]:
    before, engine, plan = scratch.before, scratch.engine, scratch.plan
    if as_json:
        run = asyncio.run(until_done(engine, plan, lambda _: None))
    else:
        for c in scratch.changes:
            people.print(f"[yellow]{escape(c.what)}[/]: recorded {escape(c.recorded)}, now {escape(c.found)}")
        run = run_shown(engine, plan, debug)
    replayed = compared(before, plan, run, scratch.changes, engine.env)
    return replayed, replayed.status if run.status == "success" else run.status


def _say(replayed: Replayed, status: Status) -> None:
    first = replayed.first
    apart = "" if replayed.largest is None else f"; largest difference {replayed.largest * 255:.3g} of 255"
    bound = f"{TOLERANCE * 255:.0f} of 255"
    if status == "same":
        people.print(f"[green]same[/]: {len(replayed.verdicts)} results, bit for bit")
    elif status == "close":
        people.print(f"[green]close[/]: within {bound}, in other surroundings{apart}")
    elif status == "cancelled":
        people.print("[yellow]interrupted[/]")
    elif first is None:
        people.print("[red]a node failed[/]; what ran before it is the same")
    if first is not None and status in ("close", "differs", "error"):
        title = f' "{first.title}"' if first.title else ""
        what = "first to differ" if status == "close" else "[bold red]differs[/] first"
        people.print(
            f"{what}: node {first.node_id} ({first.class_type}){escape(title)}: "
            f"recorded {first.recorded[:12]}…, found {first.found[:12] + '…' if first.found else 'nothing'}"
        )
    if status == "differs":
        count = sum(not v.same for v in replayed.verdicts)
        people.print(f"[dim]{count} of {len(replayed.verdicts)} results differ{apart}[/]")
