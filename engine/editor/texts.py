"""What editors do to texts when a workflow is run: values of widgets filled in, one of variants chosen."""

import random
import re
from collections.abc import Callable, Mapping
from typing import Any

_REMARKS = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_NAMED = re.compile(r"%([^%.:\n]+)\.([^%\n]+)%")
_NO_FILE = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')


def filled(prefix: str, values: Mapping[str, Mapping[str, Any]]) -> str:
    """A file name prefix with `%Node.widget%` replaced; what no file name can hold becomes "_".

    Args:
        values: The values of nodes' widgets, by the node's name and the widget's.
    """

    def value(found: re.Match[str]) -> str:
        widgets = values.get(found[1], {})
        return _NO_FILE.sub("_", str(widgets[found[2]])) if found[2] in widgets else found[0]

    return _NAMED.sub(value, prefix)


def chosen(text: str, seed: str) -> str:
    r"""A prompt without its remarks, and of each `{a|b}` one variant; `\{`, `\|`, `\}` stand for themselves.

    Args:
        seed: Editors choose anew at each run; the same text and seed always give the same here.
    """
    pick: Callable[[list[str]], str] = random.Random(f"{seed} {text}").choice
    text = _REMARKS.sub("", text)
    open_: list[list[str]] = [[""]]
    at = 0
    while at < len(text):
        char, after = text[at], text[at + 1 : at + 2]
        inside = len(open_) > 1
        if char == "\\" and after in ("{", "}", "|"):
            open_[-1][-1] += after
            at += 1
        elif char == "{":
            open_.append([""])
        elif char == "|" and inside:
            open_[-1].append("")
        elif char == "}" and inside:
            variant = pick(open_.pop())
            open_[-1][-1] += variant
        else:
            open_[-1][-1] += char
        at += 1
    while len(open_) > 1:  # never closed: no variants
        variants = open_.pop()
        open_[-1][-1] += "{" + "|".join(variants)
    return open_[0][0]
