"""Output names of a batch: the template of `--name`, filled for each job so that no two names collide."""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.problems import Problem, nearest

HELP = """The template of output names: {job} (the number), {prefix} (the workflow's own), {node} (the id of
the node that saves), {name} (of a row of --jobs), {NODE.INPUT} of what varies; / makes subfolders; {{ is a
brace."""

DEFAULT = "{prefix}_{job}"
LONGEST = 60
"""Characters of a value in a name."""
PART_BYTES = 220
"""Bytes of one part of a name: file systems take 255, with the file's number and suffix."""

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|([{}])")
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f/\\:%*?"<>|\ud800-\udfff]+')
_NUMBER = re.compile(r"_\d{1,18}(?=_|$)")


@dataclass(frozen=True)
class Template:
    """A template taken apart: texts, and fields in between by name."""

    text: str
    parts: tuple[tuple[str, bool], ...]

    @property
    def fields(self) -> frozenset[str]:
        """The names of its fields."""
        return frozenset(part for part, is_field in self.parts if is_field)

    def filled(self, fields: Mapping[str, str]) -> str:
        """The template with the text of each field in its place."""
        return "".join(fields[part] if is_field else part for part, is_field in self.parts)


def parsed(text: str, known: Iterable[str]) -> Template | list[Problem]:
    """A template, or what is wrong with it.

    Args:
        known: The fields that there are.
    """
    names = list(known)
    parts: list[tuple[str, bool]] = []
    problems: list[Problem] = []
    start = 0
    for token in _TOKEN.finditer(text):
        parts.append((text[start : token.start()], False))
        start = token.end()
        place = f"--name {text}, column {token.start() + 1}"
        if token[2]:
            hint = "write {field}; {{ or }} for a brace itself"
            problems.append(Problem("bad_batch", f"{place}: a {token[2]} without its partner", hint=hint))
        elif token[1] is None:
            parts.append((token[0][0], False))
        elif token[1] in names:
            parts.append((token[1], True))
        else:
            hint = nearest(token[1], names) or f"there are {', '.join(f'{{{n}}}' for n in names)}"
            message = f"{place}: there is no field {{{token[1]}}}"
            problems.append(Problem("bad_batch", message, hint=hint))
    parts.append((text[start:], False))
    return problems or Template(text, tuple(part for part in parts if part[0]))


def safe(value: Any) -> str:
    """A value as part of a file name: without separators, control characters, dots and spaces at its ends."""
    text = value if isinstance(value, str) else json.dumps(value)
    return _UNSAFE.sub("_", text)[:LONGEST].lstrip(". ").rstrip(". ") or "_"


def safe_path(text: str) -> str:
    """The same for a name that may hold subfolders."""
    return "/".join(safe(part) for part in text.replace("\\", "/").split("/") if part)


def tidy(stem: str) -> str:
    """A name with one `/` between its parts and none at its ends."""
    return "/".join(p for p in stem.replace("\\", "/").split("/") if p not in ("", "."))


def wrong_with(stem: str) -> str:
    """What is wrong with a finished name, or ""."""
    parts = stem.split("/")
    if ".." in parts:
        return "leads out of the output folder"
    if not stem:
        return "is empty"
    if any(part.startswith(".") for part in parts):
        return "has a part that begins with a dot"
    if re.search(r"[\x00-\x1f\x7f]", stem):
        return "holds a control character"
    if any(len(part.encode("utf-8", "surrogatepass")) > PART_BYTES for part in parts):
        return f"has a part of more than {PART_BYTES} bytes"
    return ""


def collisions(names: Sequence[Sequence[str]]) -> Iterator[tuple[int, int, str]]:
    """Pairs of jobs whose files could take each other's names: (first, second, the second's name).

    Two names collide if they differ in case alone; or if one goes on with _ and a number after the other,
    because files are numbered in the same way.

    Args:
        names: Of each job; the jobs are numbered from 1.
    """
    owners: dict[str, int] = {}
    for job, stems in enumerate(names, 1):
        for stem in stems:
            folded = _folded(stem)
            if folded in owners:
                yield owners[folded], job, stem
            owners.setdefault(folded, job)
    for job, stems in enumerate(names, 1):
        for stem in stems:
            folded = _folded(stem)
            for number in _NUMBER.finditer(folded):
                other = owners.get(folded[: number.start()])
                if other is not None and number.start() > folded.rfind("/"):
                    yield other, job, stem


def _folded(stem: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", stem).casefold())
