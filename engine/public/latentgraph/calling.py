"""A node class as a Python function: its signature, its documentation, its inputs as plain values."""

import inspect
import keyword
import numbers
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from engine.node import REQUIRED, Node, Value
from engine.ports import Env, OneOf, Range
from engine.problems import nearest

MOST_CHOICES = 40


class _Words(str):
    """A type as `help` shows it: words without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def function_of(node: Node[..., Any], add: Callable[..., Any]) -> Callable[..., Any]:
    """A function that adds the node to a graph; `help` and completion show the node's interface.

    Args:
        add: Called with the class name, `_title` and the inputs.
    """

    def call(*unnamed: Any, _title: str = "", **inputs: Any) -> Any:
        if unnamed:
            first = next((v.name for v in ports_of(node)), "")
            raise TypeError(f"{node.name} takes its inputs by name: {node.name}({first}=...)")
        return add(node.name, _title=_title, **inputs)

    call.__name__ = call.__qualname__ = node.name
    call.__module__ = "latentgraph"
    call.__doc__ = documentation(node)
    call.__signature__ = signature(node)  # type: ignore[attr-defined]
    return call


def ports_of(node: Node[..., Any]) -> list[Value]:
    """The inputs that a workflow may give."""
    return [v for v in node.inputs if not v.hidden]


def signature(node: Node[..., Any]) -> inspect.Signature:
    """The node's inputs as keyword-only parameters; those that are no Python names go behind `**`."""
    kinds = inspect.Parameter
    named, others = [], False
    for value in ports_of(node):
        if not value.name.isidentifier() or keyword.iskeyword(value.name):
            others = True
            continue
        default = value.default if value.default is not REQUIRED else kinds.empty
        named.append(kinds(value.name, kinds.KEYWORD_ONLY, default=default, annotation=_Words(value.kind)))
    named.append(kinds("_title", kinds.KEYWORD_ONLY, default=""))
    if others or node.shape is not None:
        named.append(kinds("more", kinds.VAR_KEYWORD))
    returns = _Words(", ".join(v.kind for v in node.outputs) or "None")
    return inspect.Signature(named, return_annotation=returns)


def documentation(node: Node[..., Any]) -> str:
    """The node's docstring: what it does, each input with its type and what it allows, the outputs."""
    lines = [node.doc or node.title, "", "Args:"]
    for value in ports_of(node):
        kind = ", ".join((value.kind, *_allowed(value)))
        lines.append(f"    {value.name} ({kind}){': ' if value.doc else ''}{value.doc}")
    lines.append("    _title: What to call the node, for `set` and in results.")
    if node.outputs:
        outputs = (v.kind if v.name == v.kind else f"{v.name} ({v.kind})" for v in node.outputs)
        lines += ["", "Returns:", f"    {', '.join(outputs)}"]
    return "\n".join(lines)


def _allowed(value: Value) -> Iterable[str]:
    if bounds := value.fact(Range):
        low, high = (int(x) if value.kind == "INT" else f"{x:g}" for x in (bounds.min, bounds.max))
        yield f"{low} to {high}"
    one_of = value.fact(OneOf)
    if one_of and one_of.role:
        yield f"a file of {one_of.role} or a path"
    elif one_of:
        try:
            choices = list(one_of.options(Env()))
        except KeyError:  # choices that depend on what a session has
            return
        more = f" and {len(choices) - MOST_CHOICES} more" if len(choices) > MOST_CHOICES else ""
        yield "one of " + ", ".join(map(str, choices[:MOST_CHOICES])) + more


def with_defaults(node: Node[..., Any], inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs, and the defaults of the widgets that are not given.

    Raises:
        TypeError: Names that the node does not have, all of them, with the nearest that it has.
    """
    ports = ports_of(node)
    known = [v.name for v in ports]
    if node.shape is None and (unknown := [name for name in inputs if name not in known]):
        hints = [nearest(name, known) or f"its inputs are {', '.join(known)}" for name in unknown]
        found = [f"{node.name} has no input {name!r}; {h}" for name, h in zip(unknown, hints, strict=True)]
        raise TypeError("\n".join(found))
    defaults = {
        v.name: v.default
        for v in ports
        if v.is_widget and v.default is not REQUIRED and v.default is not None
    }
    return defaults | inputs


def plain(value: Any) -> Any:
    """A literal as a workflow has it: numbers of any library as Python's, paths as text, lists marked."""
    if value is None or isinstance(value, bool | str | dict):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return {"__value__": [plain(v) for v in value]}
    raise TypeError(f"an input is a link, a number, text or a list, found {type(value).__name__}")
