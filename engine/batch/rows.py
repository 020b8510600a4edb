"""The rows of `--jobs FILE.jsonl|csv`: a job each, with the inputs that it sets and their places."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.batch.specs import MAX_JOBS, Given, Unreadable, literally, text_of, too_many, wrong
from engine.inputs import content_of
from engine.problems import Problem

NAME = "name"
"""The column that names a job's outputs."""


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        inputs: What it sets, by NODE.INPUT.
        name: What its outputs are to be called; "" leaves it to the template.
    """

    place: str
    inputs: Mapping[str, Given]
    name: str = ""


@dataclass
class Rows:
    """What a file says.

    Args:
        columns: Every input that some row sets, and where it is first named.
        named: Whether there is a column for names.
    """

    rows: list[Row] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)
    named: bool = False


def read_rows(path: Path, problems: list[Problem]) -> Rows:
    """The rows of a file; what is wrong is added to `problems`."""
    readers: dict[str, Callable[[str, Path, Rows], Iterator[Problem]]] = {
        ".csv": _csv,
        ".jsonl": _jsonl,
        ".ndjson": _jsonl,
    }
    found = Rows()
    reader = readers.get(path.suffix.lower())
    if reader is None:
        hint = 'a .csv with a header of NODE.INPUT, or a .jsonl with {"NODE.INPUT": value} a line'
        problems.append(wrong("--jobs", f"{path} is neither a .csv nor a .jsonl", hint))
        return found
    try:
        text = text_of(path)
    except Unreadable as error:
        problems += error.problems
        return found
    before = len(problems)
    problems += reader(text, path, found)
    if not found.rows and len(problems) == before:
        problems.append(wrong(str(path), "there are no jobs in it", "write one a row"))
    if len(found.rows) > MAX_JOBS:
        problems.append(too_many(len(found.rows), str(path)))
    return found


def _csv(text: str, path: Path, found: Rows) -> Iterator[Problem]:
    reader = csv.reader(_lines(text), strict=True)
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            place, line = f"{path}, line {line}", reader.line_num + 1
            if not cells:
                continue
            if header is None:
                header = [cell.strip() for cell in cells]
                yield from _header(header, place, found)
            elif len(cells) != len(header):
                hint = "quote a cell that holds a comma; leave a cell empty to keep the workflow's value"
                yield wrong(place, f"{len(cells)} cells, but the header has {len(header)}", hint)
            else:
                yield from _csv_row(cells, header, place, found)
    except csv.Error as error:
        hint = 'a cell with commas, quotes or new lines is written "..." with each inner quote doubled'
        yield wrong(f"{path}, line {max(line, reader.line_num)}", f"the row cannot be read: {error}", hint)


def _lines(text: str) -> Iterator[str]:
    """Lines with their ends, as the csv module wants them; only line feeds end one."""
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end


def _header(header: list[str], place: str, found: Rows) -> Iterator[Problem]:
    for i, name in enumerate(header, 1):
        at = f"{place}, column {i}"
        if not name:
            yield wrong(at, "the column has no name", "name it NODE.INPUT")
        elif name in header[: i - 1]:
            yield wrong(at, f"a second column is called {name!r}", "keep one of them")
        elif name == NAME:
            found.named = True
        else:
            found.columns[name] = at


def _csv_row(cells: list[str], header: list[str], place: str, found: Rows) -> Iterator[Problem]:
    inputs = {}
    name = ""
    for i, (column, cell) in enumerate(zip(header, cells, strict=True), 1):
        if column == NAME:
            name = cell.strip()
        elif cell:
            inputs[column], unread = _cell(cell, f"{place}, column {i}", is_text=True)
            yield from unread
    found.rows.append(Row(place, inputs, name))


def _cell(text: str, place: str, is_text: bool) -> tuple[Given, list[Problem]]:
    """A text of a row; `@file` stands for the content of a file."""
    if not text.startswith("@"):
        return Given(literally(text), place, is_text), []
    content = content_of(text[1:])
    if isinstance(content, str):
        return Given(content, place), []
    return Given("", place), [replace(content, message=f"{place}: {content.message}")]


def _jsonl(text: str, path: Path, found: Rows) -> Iterator[Problem]:
    for number, line in enumerate(text.split("\n"), 1):
        place = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_Pairs)
        except json.JSONDecodeError as error:
            yield wrong(f"{place}, column {error.colno}", f"this is no JSON: {error.msg}")
            continue
        except (ValueError, RecursionError) as error:
            yield wrong(place, f"this cannot be read: {error}")
            continue
        if not isinstance(row, _Pairs):
            hint = 'write {"NODE.INPUT": value, ...}'
            yield wrong(place, f"a JSON object is needed, found {type(row).__name__}", hint)
            continue
        yield from _jsonl_row(row, place, found)


class _Pairs(dict[str, Any]):
    """A JSON object that remembers which of its names came twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        seen: set[str] = set()
        self.doubled = [k for k, _ in pairs if k in seen or seen.add(k)]  # type: ignore[func-returns-value]


def _jsonl_row(row: _Pairs, place: str, found: Rows) -> Iterator[Problem]:
    for name in row.doubled:
        yield wrong(place, f"{name!r} stands there twice", "keep one of them")
    name = row.pop(NAME, None)
    if not isinstance(name, str | None):
        yield wrong(place, f"the name of a job is a text, found {name!r:.40}")
    found.named = found.named or name is not None
    inputs = {}
    for key, value in row.items():
        at = f"{place} ({key})"
        found.columns.setdefault(key, at)
        if isinstance(value, str):
            inputs[key], unread = _cell(value, at, is_text=False)
            yield from unread
        elif value is not None:
            inputs[key] = Given(value, at, is_text=False)
    found.rows.append(Row(place, inputs, str(name or "").strip()))
