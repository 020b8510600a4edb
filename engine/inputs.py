"""Inputs as people name and write them: NODE.INPUT, and a text read as the type of its port."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from engine.graph import shaped
from engine.node import Value
from engine.ports import OneOf
from engine.problems import Problem, nearest
from engine.registry import Registry
from engine.workflow import Workflow


class Input(NamedTuple):
    """An input of a node of a workflow; `port` is None where the node's class is not known."""

    node_id: str
    name: str
    port: Value | None


def input_of(name: str, workflow: Workflow, registry: Registry) -> Input | Problem:
    """The input that NODE.INPUT means, or what is wrong with the name."""
    found = workflow.find(name)
    if isinstance(found, Problem):
        return found
    id, port = found
    saved = workflow.nodes[id]
    declared = registry.nodes.get(saved.class_type)
    if declared is None:
        return Input(id, port, None)
    value = declared.input(port) or shaped(id, declared, saved.inputs)[0].input(port)
    if value is None:
        known = [v.name for v in declared.inputs]
        hint = nearest(port, known) or f"its inputs are {', '.join(known)}"
        return Problem("bad_setting", f"{declared.name} has no input {port!r}", id, declared.name, port, hint)
    return Input(id, port, value)


def value_of(text: str, port: Value | None) -> Any:
    """JSON where it is JSON of a type that fits the port, else the text itself."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    is_text = port is not None and port.kind in ("STRING", "COMBO")
    return text if is_text and not isinstance(value, str | list) else value


def content_of(path: str) -> str | Problem:
    """The text of a file, without the ends of lines that close it."""
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        return Problem("bad_setting", f"{path} cannot be read: {error}", hint="write @ and a text file")


def named_file(value: Any, port: Value | None) -> tuple[str, Path] | None:
    """The role and the path where a value at a port for files is the path of one; else None."""
    one_of = port.fact(OneOf) if port else None
    if one_of is None or not one_of.role or not isinstance(value, str):
        return None
    try:
        return (one_of.role, Path(value).resolve()) if Path(value).exists() else None
    except (OSError, ValueError):  # longer than a name may be, a NUL inside
        return None
