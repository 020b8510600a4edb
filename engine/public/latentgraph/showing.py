"""How far a run is, for people: lines that move in a notebook, bars in a terminal."""

import base64
import html
import importlib
import io
import sys
import time
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import PIL.Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engine import events
from engine.cli.say import Board, people

EVERY = 0.1
"""Seconds between two pictures of the progress."""
PREVIEW = 192
"""The longest side, in pixels, of a step's preview."""
NOTE = "color: #888; font-size: 85%"


class Shower(Protocol):
    """Shows events of runs."""

    def tell(self, event: events.Event) -> None:
        """Show an event."""
        ...


class Silent:
    """Shows nothing."""

    def tell(self, event: events.Event) -> None:
        """Show an event: not."""


def shower(
    progress: bool | None, titles: Mapping[str, str], jobs: int | None = None
) -> AbstractContextManager[Shower]:
    """What shows the progress of a run, or of so many.

    Args:
        progress: None shows it in notebooks only; True in terminals too.
        titles: What to call a node, by id.
    """
    if progress is not False and in_notebook():
        return NotebookBoard(titles, jobs)
    if progress and people.is_terminal:
        return JobsBoard(jobs) if jobs is not None else Board(titles)
    return nullcontext(Silent())


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return hasattr(shell, "kernel")


class JobsBoard:
    """Many runs as one bar in a terminal: how many have ended."""

    def __init__(self, jobs: int) -> None:
        self._bars = Progress(
            TextColumn("jobs"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=people,
            transient=True,
        )
        self._task = self._bars.add_task("jobs", total=jobs)

    def __enter__(self) -> "JobsBoard":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def tell(self, event: events.Event) -> None:
        """Show an event."""
        if isinstance(event, events.RunFinished):
            self._bars.advance(self._task)


class NotebookBoard:
    """A bar with the node under way, its step and its preview, in the output of a notebook's cell.

    Args:
        titles: What to call a node, by id.
        jobs: Counts ended runs up to this in place of nodes.
    """

    def __init__(self, titles: Mapping[str, str], jobs: int | None = None) -> None:
        self._titles, self._jobs = titles, jobs
        self._done, self._total = 0.0, float(jobs or 0)
        self._ran = self._cached = 0
        self._at, self._preview = "", ""
        self._part = 0.0
        self._began = self._drawn = time.monotonic()

    def __enter__(self) -> "NotebookBoard":
        # Said by tqdm, which the libraries of models use, in notebooks without ipywidgets.
        warnings.filterwarnings("ignore", "IProgress not found")
        display: Any = importlib.import_module("IPython.display")
        self._html = display.HTML
        self._handle = display.display(self._html(self._bar()), display_id=True)
        return self

    def __exit__(self, *error: object) -> None:
        seconds = time.monotonic() - self._began
        jobs = f"{self._done:.0f} of {self._jobs} jobs, " if self._jobs is not None else ""
        ended = "" if error[0] is None else "stopped: "
        text = f"{ended}{jobs}{self._ran} nodes ran, {self._cached} from the cache, {seconds:.1f} s"
        self._handle.update(self._html(f'<div style="{NOTE}">{text}</div>'))

    def tell(self, event: events.Event) -> None:
        """Show an event."""
        self._note(event)
        if time.monotonic() - self._drawn >= EVERY:
            self._handle.update(self._html(self._bar()))
            self._drawn = time.monotonic()

    def _note(self, event: events.Event) -> None:
        match event:
            case events.RunStarted(nodes, _) if self._jobs is None:
                self._total = nodes
            case events.NodeStarted(_, shown, class_type, _):
                self._at = self._titles.get(shown, class_type)
            case events.NodeProgress(_, step, total, preview, _):
                self._part = min(step / total, 1.0) if total else 0.0
                self._preview = (
                    _preview(preview) if time.monotonic() - self._drawn >= EVERY else self._preview
                )
            case events.NodeFinished():
                self._ran, self._part = self._ran + 1, 0.0
                self._done += self._jobs is None
            case events.NodeCached():
                self._cached += 1
            case events.RunFinished():
                self._done += self._jobs is not None
            case _:
                pass

    def _bar(self) -> str:
        part = self._part if self._jobs is None else 0.0
        share = min((self._done + part) / self._total, 1.0) if self._total else 0.0
        what = "jobs" if self._jobs is not None else "nodes"
        text = f"{self._done:.0f} of {self._total:.0f} {what} · {html.escape(self._at)}"
        bar = f'<progress max="1" value="{share:.3f}" style="width: 20em"></progress>'
        return f'<div style="{NOTE}">{bar} {text}</div>{self._preview}'


def _preview(preview: Any) -> str:
    """What a step shows as an HTML picture."""
    if hasattr(preview, "picture"):
        pixels = preview.picture()
        preview = PIL.Image.fromarray(pixels.numpy() if hasattr(pixels, "numpy") else pixels)
    if not isinstance(preview, PIL.Image.Image):
        return ""
    small = preview.convert("RGB")
    small.thumbnail((PREVIEW, PREVIEW))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80)
    return f'<img src="data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}">'
