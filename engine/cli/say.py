"""What the commands say to people (on stderr) and to programs (JSON lines on stdout)."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from engine import events
from engine.drafts import write_whole
from engine.problems import Problem, WorkflowError

people = Console(stderr=True, soft_wrap=True, highlight=False)


def line(value: Mapping[str, Any]) -> None:
    """One JSON object on stdout."""
    print(json.dumps(value, ensure_ascii=False, default=str), flush=True)  # noqa: T201  (the command line's own output)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """A JSON file that is there whole or as it was before.

    Raises:
        WorkflowError: It cannot be written.
    """
    try:
        write_whole(path, (json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n").encode())
    except OSError as error:
        problem = Problem("unwritable", f"{path}: {error.strerror}", hint="choose another file")
        raise WorkflowError([problem]) from error


def problems(found: Iterable[Problem]) -> None:
    """All problems of a workflow, each with its place and the next step."""
    listed = list(found)
    people.print(f"[bold red]{len(listed)} problem{'s' if len(listed) > 1 else ''}[/]")
    for p in listed:
        where = " ".join(x for x in (f"node {p.node_id}" if p.node_id else "", p.class_type, p.input) if x)
        people.print(f"  [bold]{escape(where)}[/]{': ' if where else ''}{escape(p.message)}")
        if p.hint:
            people.print(f"      [dim]→ {escape(p.hint)}[/]")


class Board:
    """The progress of one run: how many nodes are done, which is under way and at which step.

    Args:
        titles: What to call a node, by id.
    """

    def __init__(self, titles: Mapping[str, str]) -> None:
        self._titles = titles
        self._bars = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=people,
            transient=True,
        )
        self._all = self._bars.add_task("nodes", total=None)
        self._current: dict[str, Any] = {}

    def __enter__(self) -> "Board":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def tell(self, event: events.Event) -> None:
        """Show an event."""
        match event:
            case events.RunStarted(nodes, _):
                self._bars.update(self._all, total=nodes)
            case events.NodeStarted(id, shown, class_type, _):
                self._bars.update(self._all, description=escape(f"{self._titles.get(shown, class_type)}"))
                self._titles = (
                    {**self._titles, id: self._titles.get(shown, class_type)} if id != shown else self._titles
                )
            case events.NodeProgress(id, step, total):
                if id not in self._current:
                    self._current[id] = self._bars.add_task(
                        f"  {escape(self._titles.get(id, id))}", total=total
                    )
                self._bars.update(self._current[id], completed=step)
            case events.NodeFinished(id):
                self._bars.advance(self._all)
                if id in self._current:
                    self._bars.remove_task(self._current.pop(id))
            case events.NodeFailed():
                failed(event, self._bars.console)
            case events.Notice(message):
                self._bars.console.print(f"[yellow]{escape(message)}[/]")
            case _:
                pass


def failed(failure: events.NodeFailed, console: Console = people) -> None:
    """Which node failed, with what, and what to do."""
    title = f' "{failure.title}"' if failure.title else ""
    where = f"node {failure.node_id} ({failure.class_type}){escape(title)} failed:"
    console.print(f"[bold red]{where}[/] {escape(failure.message)}")
    if failure.hint:
        console.print(f"      [dim]→ {escape(failure.hint)}[/]")
    if failure.inputs:
        console.print(
            "      [dim]inputs: " + escape(", ".join(f"{k} {v}" for k, v in failure.inputs.items())) + "[/]"
        )
