"""How the jobs of a batch lie on its contact sheet: the varied values as rows, columns and sections."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from engine.batch import Batch, BatchJob

Pairs = tuple[tuple[str, str], ...]
"""Inputs by NODE.INPUT, each with its value as text."""
_ABSENT = object()


@dataclass(frozen=True)
class Cell:
    """A job with its place on the sheet.

    Args:
        line: Its line of the manifest; None where it has none.
        varied: Its inputs that vary.
    """

    number: int
    line: Mapping[str, Any] | None
    varied: Pairs

    @property
    def status(self) -> str:
        """How the job ended; "missing" where nothing says so."""
        return str(self.line["status"]) if self.line else "missing"

    @property
    def paths(self) -> tuple[str, ...]:
        """The files that it made, relative to the sheet."""
        return tuple(o["path"] for o in self.line["outputs"]) if self.line else ()

    @property
    def message(self) -> str:
        """Why there is nothing to see."""
        error = (self.line or {}).get("error") or {}
        texts = {"error": "failed", "cancelled": "cancelled", "missing": "not run"}
        return str(error.get("message") or texts.get(self.status, "no files"))


@dataclass(frozen=True)
class Section:
    """Cells that belong together.

    Args:
        labels: The values of the outer axes.
        rows: The values of a row each; empty where the cells only follow each other and label themselves.
        columns: The values of a column each.
        cells: Row by row.
    """

    labels: Pairs
    rows: tuple[Pairs, ...]
    columns: tuple[Pairs, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Sheet:
    """A contact sheet before it is drawn.

    Args:
        constants: The inputs that were given and are the same in all jobs.
        axes: The names of what varies together, outermost first, and how many values they have.
    """

    constants: Pairs
    axes: tuple[tuple[tuple[str, ...], int], ...]
    sections: tuple[Section, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, section by section."""
        return tuple(cell for section in self.sections for cell in section.cells)

    @property
    def summary(self) -> str:
        """What the sheet shows, in a line: how many jobs, what varies in them, how many did not succeed."""
        ends = Counter(cell.status for cell in self.cells)
        jobs = f"{ends.total():,} job" + "s" * (ends.total() != 1)
        counts = " × ".join(f"{n:,} {' + '.join(names)}" for names, n in self.axes)
        told = {"error": "failed", "cancelled": "cancelled", "missing": "not run"}
        rest = [f"{ends[status]:,} {word}" for status, word in told.items() if ends[status]]
        return ", ".join((f"{jobs}: {counts}" if counts else jobs, *rest))


def text_of(value: Any) -> str:
    """A value as people read it: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def laid_out(batch: Batch, lines: Sequence[Mapping[str, Any]]) -> Sheet:
    """The sheet of a batch.

    The last axis that varies makes the columns, the one before it the rows, those before them sections. One
    axis, or jobs that fill no grid (rows of a file that repeat values), makes a single run of cells.

    Args:
        lines: Of the manifest; those of several jobs, in any order.
    """
    names = [axis.name for axis in batch.axes]
    constants = {n for n in names if len({_code(job.inputs.get(n, _ABSENT)) for job in batch.jobs}) == 1}
    groups: dict[int, list[str]] = {}
    for axis in batch.axes:
        if axis.name not in constants:
            groups.setdefault(axis.group, []).append(axis.name)
    dimensions = [tuple(groups[number]) for number in sorted(groups)]
    varied = [name for names in dimensions for name in names]
    by_number = {line["job"]: line for line in lines}
    cells = [Cell(job.number, by_number.get(job.number), _pairs(job, varied)) for job in batch.jobs]
    counts, sections = _grid(batch.jobs, dimensions, cells)
    first = batch.jobs[0] if batch.jobs else None
    return Sheet(_pairs(first, sorted(constants, key=names.index)) if first else (), counts, sections)


def _grid(
    jobs: Sequence[BatchJob], dimensions: Sequence[tuple[str, ...]], cells: Sequence[Cell]
) -> tuple[tuple[tuple[tuple[str, ...], int], ...], tuple[Section, ...]]:
    seen: list[dict[tuple[str, ...], Pairs]] = [{} for _ in dimensions]
    places: dict[tuple[tuple[str, ...], ...], Cell] = {}
    for job, cell in zip(jobs, cells, strict=True):
        place = tuple(tuple(_code(job.inputs.get(n, _ABSENT)) for n in names) for names in dimensions)
        for values, at, names in zip(seen, place, dimensions, strict=True):
            values.setdefault(at, _pairs(job, names))
        places[place] = cell
    counts = tuple((names, len(values)) for names, values in zip(dimensions, seen, strict=True))
    if len(dimensions) < 2 or not prod(n for _, n in counts) == len(places) == len(jobs):
        return counts, (Section((), (), (), tuple(cells)),)
    *outer, rows, columns = seen
    sections = []
    for above in product(*outer):
        labels = tuple(pair for values, at in zip(outer, above, strict=True) for pair in values[at])
        held = tuple(places[(*above, row, column)] for row in rows for column in columns)
        sections.append(Section(labels, tuple(rows.values()), tuple(columns.values()), held))
    return counts, tuple(sections)


def _pairs(job: BatchJob, names: Sequence[str]) -> Pairs:
    return tuple((name, text_of(job.inputs[name])) for name in names if name in job.inputs)


def _code(value: Any) -> str:
    """Tells values apart; 1, 1.0 and true are three."""
    return "" if value is _ABSENT else json.dumps(value, sort_keys=True, default=str)
