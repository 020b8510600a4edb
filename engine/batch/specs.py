"""What the SPEC of `NODE.INPUT=SPEC` says: a range, a list, a file of values; or what is wrong with it."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from engine.problems import Problem

HELP = """SPEC is one of: 1..100 (both ends included; 1..100..5 and 0.5..1.0..0.1 with a step; 10..1 goes
down); a,b,c (spaces around are left out; \\, is a comma inside a value); @lines.txt (a value a line, empty
lines left out); @values.json or a JSON list: ["a, b", "c"]. A \\ before a first [ or @ takes it as it is.
Several --vary multiply, the last the fastest; with --zip they go in step."""

MAX_JOBS = 100_000
"""Jobs of one batch; each takes some kilobytes while it is planned."""
MAX_BYTES = 64 * 2**20

_NUMBER = r"-?\d{1,30}(?:\.\d{1,30})?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?:\.\.({_NUMBER}))?")


@dataclass(frozen=True)
class Given:
    """A value as it was written: text that its port reads, or a value that is taken as it is.

    Args:
        place: Where it stands ("prompts.txt, line 3"), for messages.
    """

    value: Any
    place: str
    is_text: bool = True


class Unreadable(Exception):
    """A spec or file that cannot be read, with everything that is wrong with it."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))


def wrong(place: str, message: str, hint: str = "") -> Problem:
    """What is wrong at a place."""
    return Problem("bad_batch", f"{place}: {message}" if place else message, hint=hint)


def values_of(spec: str, option: str, column: int = 1) -> Sequence[Given]:
    """The values that a spec means, at least one.

    Args:
        option: What the spec was written in ("--vary Sampler.seed=1..9"), for messages.
        column: Where the spec begins in NODE.INPUT=SPEC.

    Raises:
        Unreadable: With everything that is wrong.
    """
    place = f"{option}, column {column}"
    if spec.startswith("@"):
        return _of_file(Path(spec[1:]), option)
    if spec.startswith("["):
        return _json_list(spec, option, column)
    if found := _RANGE.fullmatch(spec.strip()):
        return _range(found, place)
    if not spec.strip():
        raise Unreadable(wrong(place, "there are no values", 'for one empty text write [""]'))
    return _list(spec, option, column)


def _range(found: re.Match[str], place: str) -> Sequence[Given]:
    """Both ends included; in fractions, so that no rounding adds up."""
    first, last = Fraction(found[1]), Fraction(found[2])
    whole = all("." not in text for text in found.groups() if text)
    if found[3] is None and not whole:
        raise Unreadable(wrong(place, f"the range {found[0]} needs a step", f"write e.g. {found[0]}..0.1"))
    step = Fraction(found[3] or 1)
    if step == 0 or (step < 0 < last - first):
        hint = "the step goes from the first number to the last"
        raise Unreadable(
            wrong(place, f"a step of {found[3]} never leads from {found[1]} to {found[2]}", hint)
        )
    step = abs(step) if last >= first else -abs(step)
    count = int((last - first) / step) + 1
    if count > MAX_JOBS:
        raise Unreadable(too_many(count, place))
    plain = int if whole else float
    return [Given(repr(plain(first + i * step)), place) for i in range(count)]


def too_many(count: int, place: str = "") -> Problem:
    """A batch has more jobs than are taken."""
    hint = "make several batches of it, each with a folder of its own"
    return wrong(place, f"{count:,} jobs; a batch has at most {MAX_JOBS:,}", hint)


def _list(spec: str, option: str, column: int) -> Sequence[Given]:
    values: list[Given] = []
    problems: list[Problem] = []
    for at, part in _parts(spec):
        text = part.strip()
        place = f"{option}, column {column + at}"
        if not text:
            problems.append(wrong(place, "a value is empty", 'write a JSON list for empty texts: ["a", ""]'))
        values.append(Given(literally(text).replace("\\,", ","), place))
    if problems:
        raise Unreadable(*problems)
    return values


def _parts(spec: str) -> Iterator[tuple[int, str]]:
    """What stands between commas that no backslash precedes, and where it begins."""
    start = 0
    for comma in re.finditer(r"(?<!\\),", spec):
        yield start, spec[start : comma.start()]
        start = comma.end()
    yield start, spec[start:]


def literally(text: str) -> str:
    """A text without the backslash that keeps its first character from being read as a sign."""
    return text[1:] if text.startswith(("\\@", "\\[")) else text


def _json_list(text: str, option: str, column: int = 1) -> Sequence[Given]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        at = error.colno + (column - 1 if error.lineno == 1 else 0)
        hint = "a text that begins with [ is written \\[ or stands in a JSON list itself"
        place = f"{option}, line {error.lineno}, column {at}"
        raise Unreadable(wrong(place, f"the JSON list cannot be read: {error.msg}", hint)) from error
    except (ValueError, RecursionError) as error:
        raise Unreadable(wrong(option, f"the JSON list cannot be read: {error}")) from error
    if not isinstance(found, list):
        hint = 'write ["a", "b"]'
        raise Unreadable(wrong(option, f"a JSON list is needed, found {type(found).__name__}", hint))
    if not found:
        raise Unreadable(wrong(option, "the list is empty", "give it at least one value"))
    return [Given(value, f"{option}, value {i}", is_text=False) for i, value in enumerate(found, 1)]


def _of_file(path: Path, option: str) -> Sequence[Given]:
    text = text_of(path, option)
    if path.suffix.lower() == ".json":
        return _json_list(text, str(path))
    lines = re.split(r"\r\n|\n|\r", text)
    values = [Given(text, f"{path}, line {i}") for i, line in enumerate(lines, 1) if (text := line.strip())]
    if not values:
        raise Unreadable(wrong(option, f"{path} holds no values", "write one a line"))
    return values


def text_of(path: Path, option: str = "") -> str:
    """The text of a file, without a byte order mark.

    Raises:
        Unreadable: There is none, it is too large, it is not UTF-8.
    """
    try:
        if path.is_dir():
            raise Unreadable(wrong(option, f"{path} is a folder", "name a file"))
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        hint = "@ and a file; a text that begins with @ is written \\@" if option else "name a file"
        raise Unreadable(wrong(option, f"{path} cannot be read: {reason}", hint)) from error
    if len(data) > MAX_BYTES:
        raise Unreadable(wrong(option, f"{path} has more than {MAX_BYTES // 2**20} MB", "split it"))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        place = f"{path}, line {line}, byte {column}"
        raise Unreadable(wrong(place, "this is not UTF-8", "save the file as UTF-8")) from error
