"""The prompt language: weights in parentheses, escapes, textual inversions, chunks of 75 tokens.

`(text)` weighs 1.1, `(text:w)` weighs w whatever stands around it, nested parentheses multiply; `\\(` and
`\\)` are letters. What does not balance is text. There is no BREAK, no AND, no scheduling.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias, TypeVar

T = TypeVar("T")
Weighted: TypeAlias = tuple[T, float]

ATTENTION = 1.1
"""The weight of a pair of parentheses."""

CHUNK = 77
"""Tokens that a text encoder sees at once: a start, up to 75 of the prompt, an end, padding."""

WORD = 8
"""Groups of fewer tokens than this are not split between two chunks."""

_OPEN, _CLOSE = "\0\2", "\0\1"  # stand for escaped parentheses while weights are read
_NAMED = re.compile(r"(?:^|[ \n])embedding:")


def segments(text: str) -> list[Weighted[str]]:
    """A prompt as runs of text with their weights; escapes are resolved."""
    found: list[Weighted[str]] = []
    waiting = [(text.replace(r"\)", _CLOSE).replace(r"\(", _OPEN), 1.0)]
    while waiting:
        piece, weight = waiting.pop()
        parts = list(_balanced(piece))
        if parts == [piece] and not _is_group(piece):
            found.append((piece.replace(_CLOSE, ")").replace(_OPEN, "("), weight))
        else:
            inner = [_weighed(part[1:-1], weight) if _is_group(part) else (part, weight) for part in parts]
            waiting += reversed(inner)
    return found


def tokens(
    text: str, ids: Callable[[str], Sequence[T]], vectors: Callable[[str], Sequence[T] | None]
) -> Iterator[list[Weighted[T]]]:
    """The groups of tokens of a prompt, each a segment's plain text or one textual inversion.

    Args:
        ids: The tokens of plain text.
        vectors: The tokens that stand for a textual inversion's vectors, or None where there is no such file.
    """
    for segment, weight in segments(text):
        plain, *named = _NAMED.split(segment)
        groups = [ids(plain)] if plain else []
        for words in named:
            inversion, rest = _inversion(words, vectors)
            groups += [inversion] if inversion else []
            groups += [ids(rest)] if rest else []
        yield from ([(token, weight) for token in group] for group in groups)


def inversions(text: str) -> list[str]:
    """The names of the textual inversions in a prompt, as written, whether or not there are such files."""
    found = [words.split() for segment, _ in segments(text) for words in _NAMED.split(segment)[1:]]
    return [words[0] for words in found if words]


def chunks(groups: Iterable[Sequence[Weighted[T]]], start: T, end: T, pad: T) -> list[list[Weighted[T]]]:
    """Groups of tokens laid out in rows of 77, at least one.

    A group of fewer than 8 tokens goes to the next row where it does not fit; a longer one is split.
    """
    rows = [[(start, 1.0)]]
    for group in groups:
        left = list(group)
        splits = len(left) >= WORD
        while len(left) > (room := CHUNK - 1 - len(rows[-1])):
            taken = room if splits else 0
            rows[-1] += left[:taken]
            rows.append([(start, 1.0)])
            left = left[taken:]
        rows[-1] += left
    return [[*row, (end, 1.0), *[(pad, 1.0)] * (CHUNK - 1 - len(row))] for row in rows]


def _balanced(text: str) -> Iterator[str]:
    """A text cut into its outermost parentheses and what stands between them."""
    depth = start = 0
    for i, letter in enumerate(text):
        if letter == "(":
            if depth == 0 and i > start:
                yield text[start:i]
                start = i
            depth += 1
        elif letter == ")":
            depth -= 1
            if depth == 0:
                yield text[start : i + 1]
                start = i + 1
    if start < len(text):
        yield text[start:]


def _is_group(part: str) -> bool:
    return len(part) > 1 and part[0] == "(" and part[-1] == ")"


def _weighed(inner: str, around: float) -> Weighted[str]:
    """What stands in a pair of parentheses, and its weight: after the last colon, else 1.1 times around."""
    text, colon, number = inner.rpartition(":")
    if text and colon:
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if math.isfinite(weight):
            return text, weight
    return inner, around * ATTENTION


def _inversion(words: str, vectors: Callable[[str], Sequence[T] | None]) -> tuple[Sequence[T], str]:
    """The vectors that the first word names, and the text after it, which may begin with its comma."""
    name, *rest = words.split() or [""]
    found = vectors(name) if name else None
    bare = name.rstrip(",")
    if found is None and bare != name:
        found = vectors(bare) if bare else None
        rest = [name[len(bare) :], *rest]
    return found or (), " ".join(rest)
