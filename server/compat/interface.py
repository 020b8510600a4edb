"""The interface of a pack's class as the engine's ports, read anew for each workflow."""

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.graph import is_link
from engine.node import Value
from engine.ports import Hidden, Loose, OneOf, Range
from engine.problems import NodeFailure
from server.compat.dynamic import MATCH, Path, grown
from server.compat.methods import Validated, is_v3, validated

log = logging.getLogger(__name__)

SOURCES = (
    "PROMPT", "DYNPROMPT", "EXTRA_PNGINFO", "UNIQUE_ID", "AUTH_TOKEN_COMFY_ORG", "API_KEY_COMFY_ORG",
)  # fmt: skip
FAR = sys.float_info.max
"""A bound that is none, and yet is JSON."""
OWN = "@"
"""Begins the names of ports that the method is not called with."""


@dataclass(frozen=True)
class Interface:
    """What a class takes and gives.

    Args:
        raw: Inputs that want the link itself and not the value.
        hidden: The source of each hidden port, by the port's name.
        paths: Where the values of ports go that another input makes, by the port's name.
    """

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    raw: frozenset[str] = frozenset()
    hidden: Mapping[str, str] = field(default_factory=dict)
    paths: Mapping[str, Path] = field(default_factory=dict)


def input_types(cls: type) -> Mapping[str, Any]:
    """What a class declares of its inputs.

    Raises:
        NodeFailure: Its `INPUT_TYPES` raises.
    """
    try:
        declared: Mapping[str, Any] = cls.INPUT_TYPES()  # type: ignore[attr-defined]
    except Exception as error:  # the pack's own code
        log.warning("INPUT_TYPES of %s raises", cls.__name__, exc_info=True)
        raise NodeFailure(f"its INPUT_TYPES raises {type(error).__name__}: {error}") from error
    return declared


def interface(cls: type, inputs: Mapping[str, Any] | None = None) -> Interface:
    """The interface of a class, for a node that has these inputs (none: as it is declared).

    Raises:
        NodeFailure: The class declares none.
    """
    declared, given = input_types(cls), inputs or {}
    values: dict[str, Value] = {}
    raw: set[str] = set()
    paths: dict[str, Path] = {}
    unchecked = validated(cls)
    for category in ("required", "optional"):
        specs = declared.get(category, {})  # may be empty and yet hold any name
        names = [*specs.keys(), *(n for n in given if n not in values and n in specs)]
        for declared_name in dict.fromkeys(names):
            made = grown(declared_name, category, *_split(specs[declared_name]), given)
            for name, needed, kind, options, path in made:
                if path:
                    paths[name] = path
                if options.get("rawLink"):
                    raw.add(name)
                lazy = bool(options.get("lazy")) and name not in raw and is_link(given.get(name))
                values[name] = _value(name, kind, options, needed == "optional", lazy, unchecked)
    extras = declared.get("hidden", {})
    hidden = _hidden(cls, extras)
    for name, found in given.items():
        named = name in extras
        if name not in values and name not in hidden and (named or is_link(found)):
            values[name] = Value(name, "*", optional=True, facts=(Loose("*", linked=False),))
    ports = [Value(n, "*", optional=True, facts=(Hidden(s),)) for n, s in hidden.items() if n not in values]
    if getattr(cls, "NOT_IDEMPOTENT", False):
        ports.append(Value(f"{OWN}id", "*", optional=True, facts=(Hidden("UNIQUE_ID"),)))
    return Interface((*values.values(), *ports), outputs(cls), frozenset(raw), hidden, paths)


def outputs(cls: type) -> tuple[Value, ...]:
    """The output ports of a class."""
    types = tuple("*" if t == MATCH else t for t in getattr(cls, "RETURN_TYPES", ()) or ())
    names = tuple(getattr(cls, "RETURN_NAMES", ()) or ())
    lists = tuple(getattr(cls, "OUTPUT_IS_LIST", ()) or ())
    return tuple(
        Value(
            str(names[i]) if i < len(names) else plain_kind(kind),
            plain_kind(kind),
            is_list=i < len(lists) and bool(lists[i]),
            facts=(Loose(list(kind) if isinstance(kind, list | tuple) else kind),),
        )
        for i, kind in enumerate(types)
    )


def plain_kind(kind: Any) -> str:
    """The name of a type; packs use subclasses of str that compare in ways of their own."""
    if isinstance(kind, str):
        return str.__str__(kind)
    return "COMBO" if isinstance(kind, list | tuple) else str(kind)


def _hidden(cls: type, declared: Any) -> dict[str, str]:
    """The hidden ports with a source; those of a V3 class are no arguments and get names of their own."""
    prefix = OWN if is_v3(cls) else ""
    found: dict[str, str] = {}
    for name in declared.keys() if hasattr(declared, "keys") else ():
        source = declared[name]
        source = source[0] if isinstance(source, list | tuple) and source else source
        if isinstance(source, str) and str.__str__(source) in SOURCES:
            found[prefix + name] = str.__str__(source)
    return found


def _split(spec: Any) -> tuple[Any, Mapping[str, Any]]:
    """A declared input as its type and its options."""
    if isinstance(spec, list | tuple) and spec and not isinstance(spec[0], Mapping):
        options = spec[1] if len(spec) > 1 and isinstance(spec[1], Mapping) else {}
        return spec[0], options
    return spec, {}


def _value(
    name: str, kind: Any, options: Mapping[str, Any], optional: bool, lazy: bool, unchecked: Validated
) -> Value:
    linked = "input_types" not in unchecked
    facts: list[Any] = [Loose(list(kind) if isinstance(kind, tuple) else kind, linked)]
    if name not in unchecked:
        if isinstance(kind, list | tuple):
            choices = tuple(kind)
            facts.append(OneOf(lambda _: choices))
        elif plain_kind(kind) in ("INT", "FLOAT") and {"min", "max"} & set(options):
            low, high = options.get("min"), options.get("max")
            facts.append(Range(-FAR if low is None else low, FAR if high is None else high))
    doc = options.get("tooltip") or ""
    return Value(name, plain_kind(kind), False, lazy, optional, doc=str(doc), facts=tuple(facts))
