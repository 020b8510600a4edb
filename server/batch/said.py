"""What a batch says before and after: the plan, the end; for people, and as JSON lines."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from engine.batch import Batch
from engine.batch.planning import BatchPlan
from engine.cli.say import line as say_line
from engine.events import Notice
from server.batch.board import FAILURES_SHOWN, failure_of, span
from server.batch.crew import News
from server.batch.driver import Driver
from server.batch.manifest import Line
from server.batch.standing import Standing

FIRST_NAMES = 3


class Lines:
    """Shows a batch to programs: a line on stdout for each job that ends."""

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing stays open."""

    def taken(self, number: int) -> None:
        """Not told."""

    def ended(self, line: Line) -> None:
        """A job has ended."""
        say_line({"event": "job_finished", **line})

    def news(self, news: News, number: int | None) -> None:
        """Not told."""

    def tick(self) -> None:
        """Not told."""


def rungs_of(plan: BatchPlan) -> dict[str, int]:
    """The rung of each node that is batched across jobs, by id."""
    found: dict[str, int] = {}
    for job in plan.jobs:
        for id, rung in job.pinned.items():
            found[id] = max(rung, found.get(id, 0))
    return {id: rung for id, rung in found.items() if rung > 1}


def plan_json(batch: Batch, plan: BatchPlan, found: Standing) -> dict[str, Any]:
    """The plan for programs."""
    return {
        "event": "planned",
        "jobs": len(batch.jobs),
        "left": len(plan.jobs),
        "done": len(found.done),
        "changed": sorted(found.changed),
        "varied": {axis.name: len(axis.values) for axis in batch.axes},
        "asked": plan.asked,
        "predicted": plan.runs,
        "cached": plan.cached,
        "lazy": plan.lazy,
        "rungs": rungs_of(plan),
        "seconds": plan.seconds,
        "names": [list(job.names) for job in batch.jobs[:FIRST_NAMES]],
    }


def show_plan(console: Console, batch: Batch, plan: BatchPlan, found: Standing) -> None:
    """The plan for people."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for what, text in _facts(batch, plan, found):
        table.add_row(what, text)
    console.print(table)


def _facts(batch: Batch, plan: BatchPlan, found: Standing) -> list[tuple[str, str]]:
    facts = [("jobs", f"[bold]{len(batch.jobs):,}[/]{_varied(batch)}")]
    if found.done:
        facts.append(("done already", f"{len(found.done):,}"))
    if found.changed:
        facts.append(("made again", f"{_some(found.changed)}, whose files are gone or were changed"))
    if found.again:
        facts.append(("tried again", f"{_some(found.again)}, which failed"))
    shared = plan.asked - plan.runs
    text = f"[bold]{plan.runs:,}[/]" + (f" of the {plan.asked:,} that the jobs ask for" if shared else "")
    facts.append(("nodes to run", text))
    if plan.cached:
        facts.append(("cached", f"{plan.cached:,} results"))
    if plan.lazy:
        facts.append(("perhaps", f"{plan.lazy:,} nodes behind lazy inputs"))
    if rungs := rungs_of(plan):
        facts.append(("batched", ", ".join(f"{escape(title(batch, id))} by {n}" for id, n in rungs.items())))
    if plan.seconds is not None and plan.runs:
        facts.append(("estimate", f"{span(plan.seconds)}, one job at a time, from earlier runs"))
    names = [name for job in batch.jobs[:FIRST_NAMES] for name in job.names]
    if names:
        more = ", …" if len(batch.jobs) > FIRST_NAMES else ""
        facts.append(("names", escape(", ".join(names)) + more))
    return facts


def _varied(batch: Batch) -> str:
    groups: dict[int, list[str]] = {}
    for axis in batch.axes:
        groups.setdefault(axis.group, []).append(f"{escape(axis.name)} [dim]({len(axis.values):,})[/]")
    return ": " + " × ".join(" with ".join(names) for names in groups.values()) if groups else ""


def title(batch: Batch, id: str) -> str:
    """What to call a node."""
    node = batch.workflow.nodes[id]
    return node.title or node.class_type


def show_end(
    console: Console, lines: Sequence[Line], driver: Driver | None, seconds: float, folder: Path
) -> None:
    """What came of a batch that has ended.

    Args:
        lines: Of all jobs.
        driver: That ran what was left; None where nothing was.
    """
    failed = [line for line in lines if line["status"] != "success"]
    files = sum(len(line["outputs"]) for line in lines)
    color = "yellow" if failed else "green"
    console.print(
        f"[bold {color}]done[/] {len(lines) - len(failed):,} of {_count(len(lines), 'job')}, "
        f"{_count(files, 'file')} in {escape(str(folder))} [dim](see contact_sheet.html there)[/]"
    )
    if driver is None:
        console.print("[dim]nothing to do: everything was made before[/]")
    else:
        console.print(
            f"[dim]{_count(driver.executed, 'node')} ran{_as_predicted(driver)}, {span(seconds)}[/]"
        )
    if failed:
        show_failures(console, failed)


def _as_predicted(driver: Driver) -> str:
    """How many nodes had been predicted, where that can be compared."""
    if driver.predicted is None or driver.failed:
        return ""
    if driver.executed == driver.predicted:
        return ", as predicted"
    return f" [yellow](predicted: {driver.predicted:,})[/]"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def set_aside(numbers: Collection[int]) -> Notice:
    """That jobs run alone, because one of them may be what ended the process before."""
    then = "run last, one at a time; if one ends the process again, --workers 1 goes on without it"
    return Notice(f"{_some(numbers)}: twice under way when a run ended; {then}")


def _some(numbers: Collection[int]) -> str:
    """Jobs by number, the first of them."""
    first = ", ".join(str(n) for n in sorted(numbers)[:FAILURES_SHOWN])
    more = f" and {len(numbers) - FAILURES_SHOWN} more" if len(numbers) > FAILURES_SHOWN else ""
    return f"job{'s' if len(numbers) > 1 else ''} {first}{more}"


def show_stopped(console: Console, done: int, jobs: int) -> None:
    """That a batch was interrupted, and how it goes on."""
    going_on = "the same command goes on from there"
    console.print(f"[yellow]interrupted[/] {done:,} of {_count(jobs, 'job')} are done; {going_on}")


def show_broken(console: Console, text: str) -> None:
    """That a batch cannot go on."""
    console.print(f"[bold red]broken off:[/] {escape(text)}")
    console.print("      [dim]→ what was finished is kept; mend that, and the same command goes on[/]")


def show_failures(console: Console, failed: Sequence[Line]) -> None:
    """Which jobs failed, and what to do."""
    console.print(f"[red]{len(failed):,} job{'s' if len(failed) > 1 else ''} failed[/]")
    for line in failed[:FAILURES_SHOWN]:
        console.print(f"  {failure_of(line)}")
    if len(failed) > FAILURES_SHOWN:
        console.print(f"  [dim]… and {len(failed) - FAILURES_SHOWN:,} more, see manifest.jsonl[/]")
    console.print("      [dim]→ mend what is wrong; the same command with --retry-failed runs just these[/]")


def end_json(
    status: str, lines: Mapping[int, Line], jobs: int, driver: Driver | None, seconds: float
) -> dict[str, Any]:
    """The last line for programs."""
    return {
        "event": "finished",
        "status": status,
        "jobs": jobs,
        "ended": len(lines),
        "failed": sum(line["status"] != "success" for line in lines.values()),
        "executed": driver.executed if driver else 0,
        "predicted": driver.predicted if driver else 0,
        "seconds": round(seconds, 3),
    }
