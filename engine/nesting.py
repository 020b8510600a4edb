"""How deeply JSON text is nested and how much it holds, told before it is decoded."""

import re

MAX_DEPTH = 200
"""Levels of nesting that are read; a decoder's own stack ends not far above."""
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_NOT_MARKS = bytes(set(range(256)) - set(b"[]{},"))


def marks_of(text: bytes) -> bytes:
    """The brackets and commas of a JSON text (in UTF-8) that stand outside of its strings."""
    return _STRINGS.sub(b"", text).translate(None, _NOT_MARKS)


def depth_of(marks: bytes) -> int:
    """How many levels deep a text with these marks is nested."""
    depth = deepest = 0
    for mark in marks:
        if mark in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in b"]}":
            depth -= 1
    return deepest


def is_flat(text: bytes) -> bool:
    """Whether a JSON text has too few brackets, wherever they stand, to be nested deeper than `MAX_DEPTH`."""
    return text.count(b"[") + text.count(b"{") <= MAX_DEPTH
