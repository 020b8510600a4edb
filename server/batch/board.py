"""How far a batch is, for people: jobs, nodes, steps, what is being made and how long it will take."""

import logging
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from engine import events
from server.batch.crew import Lost, News
from server.batch.manifest import Line
from server.telling import Message

FAILURES_SHOWN = 10
MAKING_SHOWN = 2
LINE_S = 15.0
"""Seconds between lines where there is no terminal."""
WINDOW_S = 10.0
"""Seconds over which steps are counted."""


@dataclass
class Board:
    """The progress of a batch; lives while it is entered.

    Args:
        jobs: How many there are in all.
        ended: How many of them had ended before.
        predicted: Distinct nodes that will run.
        names: What to call each job.
        titles: What to call each node.
    """

    console: Console
    jobs: int
    ended_before: int
    predicted: int
    names: Mapping[int, str]
    titles: Mapping[str, str]
    failed_before: int = 0
    nodes: int = field(default=0, init=False)
    finished: int = field(default=0, init=False)
    failed: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._begun = self._said = time.monotonic()
        self._steps: deque[float] = deque()
        self._doing: dict[int, str] = {}
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(
            console=self.console, get_renderable=self.drawn, refresh_per_second=8, transient=True
        )

    def __enter__(self) -> "Board":
        if self.console.is_terminal:
            self._live.start()
            self._redirect()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        self._redirect()

    def _redirect(self) -> None:
        """Have the log written above the board, where `sys.stderr` leads while it is shown."""
        for handler in logging.getLogger().handlers:
            if type(handler) is logging.StreamHandler:
                handler.setStream(sys.stderr)

    # ------------------------------------------------------------ what happens

    def taken(self, number: int) -> None:
        """A job was begun."""
        self._doing[number] = ""

    def ended(self, line: Line) -> None:
        """A job has ended."""
        self._doing.pop(line["job"], None)
        self.finished += 1
        if line["status"] != "success":
            self.failed += 1
            if self.failed <= FAILURES_SHOWN:
                self._say(f"[red]failed[/] {failure_of(line)}")
            if self.failed == FAILURES_SHOWN:
                self._say("[dim]… of further failures only the number is shown[/]")

    def news(self, news: News, number: int | None) -> None:
        """Something else has happened."""
        match news:
            case events.NodeFinished():
                self.nodes += 1
            case events.Notice(message):
                self._say(f"[yellow]{escape(message)}[/]")
            case Message(data=data):
                self._steps.append(time.monotonic())
                if number in self._doing:
                    title = self.titles.get(str(data.get("node")), "")
                    self._doing[number] = f"{title} {data['value']:g}/{data['max']:g}".strip()
            case Lost(jobs) if jobs:
                numbers = ", ".join(job.id.rpartition("-")[2] for job in jobs)
                which = f"job {numbers}" if len(jobs) == 1 else f"jobs {numbers}"
                self._say(f"[yellow]a worker ended while it ran {which}[/]")
            case _:
                pass

    def tick(self) -> None:
        """Where there is no terminal, say now and then how far it is."""
        now = time.monotonic()
        if not self.console.is_terminal and now - self._said >= LINE_S:
            self._said = now
            self._say(f"{self._jobs()}, {self._nodes()}, {self._times()}")

    # ------------------------------------------------------------ how it is drawn

    def drawn(self) -> RenderableType:
        """The board as it is now."""
        done = self.ended_before + self.finished
        bar = ProgressBar(self.jobs, done, 32, complete_style="green", finished_style="green")
        head = Table.grid(padding=(0, 1))
        head.add_row(
            self._spinner,
            self._jobs(),
            bar,
            self._counts(),
        )
        rows: list[RenderableType] = [head]
        rows.append(
            Text.from_markup(f"  [dim]{' · '.join(x for x in (self._nodes(), self._times()) if x)}[/]")
        )
        if self._doing:
            rows.append(Text.from_markup(f"  {self._making()}", overflow="ellipsis"))
        for row in rows[1:]:
            if isinstance(row, Text):
                row.no_wrap = True
        return Group(*rows)

    def _jobs(self) -> str:
        return f"{self.ended_before + self.finished:,} of {self.jobs:,} jobs"

    def _counts(self) -> str:
        failed = self.failed_before + self.failed
        return f"[red]{failed:,} failed[/]" if failed else ""

    def _nodes(self) -> str:
        speed = self._speed()
        steps = f", {speed:.0f} steps/s" if speed >= 10 else f", {speed:.1f} steps/s" if speed else ""
        return f"{self.nodes:,} of {max(self.predicted, self.nodes):,} nodes{steps}"

    def _speed(self) -> float:
        now = time.monotonic()
        while self._steps and now - self._steps[0] > WINDOW_S:
            self._steps.popleft()
        return len(self._steps) / max(1.0, min(WINDOW_S, now - self._begun))

    def _times(self) -> str:
        passed = time.monotonic() - self._begun
        left = self._left(passed)
        return f"{span(passed)} so far" + ("" if left is None else f", about {span(left)} left")

    def _left(self, passed: float) -> float | None:
        """Seconds that it will still take, at the rate so far; None before the first job has ended."""
        done, whole = self.nodes, max(self.predicted, self.nodes)
        if not done:
            done, whole = self.finished, self.jobs - self.ended_before
        return passed * (whole - done) / done if self.finished else None

    def _making(self) -> str:
        shown = [
            _short(self.names[number], 36) + (f" [dim]{escape(doing)}[/]" if doing else "")
            for number, doing in list(self._doing.items())[:MAKING_SHOWN]
        ]
        more = len(self._doing) - len(shown)
        return "[cyan]making[/] " + ", ".join(shown) + (f" [dim]and {more} more[/]" if more else "")

    def _say(self, markup: str) -> None:
        self.console.print(markup)


def failure_of(line: Line) -> str:
    """A failed job in one line: which, where, why."""
    error = line.get("error") or {}
    where = ", ".join(str(x) for x in (error.get("node_id"), error.get("class_type")) if x)
    what = str(error.get("message") or line["status"]).splitlines()[0]
    inputs = ", ".join(f"{escape(name)}={_short(value)}" for name, value in line["inputs"].items())
    said = escape(f"node {where}: {what}" if where else what)
    return f"job {line['job']}{f' [dim]({inputs})[/]' if inputs else ''}: {said}"


def span(seconds: float) -> str:
    """A time as people say it: `8 s`, `3:05 min`, `2:10 h`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02} h"


def _short(value: object, most: int = 30) -> str:
    """The beginning of a text, its line ends as spaces; as markup."""
    text = " ".join(str(value).split())
    return escape(text if len(text) <= most else f"{text[: most - 1]}…")
