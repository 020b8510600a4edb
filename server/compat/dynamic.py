"""Inputs that make more inputs: rows that grow, choices with inputs of their own, types that must agree."""

from collections.abc import Iterator, Mapping
from typing import Any

AUTOGROW, CHOICE, MATCH = "COMFY_AUTOGROW_V3", "COMFY_DYNAMICCOMBO_V3", "COMFY_MATCHTYPE_V3"

Path = tuple[str, ...]
Spec = tuple[str, str, Any, Mapping[str, Any], Path]
"""Name, category, type, options, and the place of the value in the argument."""


def grown(
    name: str, category: str, kind: Any, options: Mapping[str, Any], given: Mapping[str, Any], path: Path = ()
) -> Iterator[Spec]:
    """The inputs that a declared one stands for; itself, unless it is one that makes more.

    Args:
        given: What the node has, by name; `id.sub` for inputs that another makes.
        path: Where the argument is that the values go into.
    """
    own = path or (name,)
    if kind == AUTOGROW:
        yield from _rows(name, category, options.get("template") or {}, given, own)
    elif kind == CHOICE:
        offered = {o["key"]: o.get("inputs") or {} for o in options.get("options") or ()}
        last = name.rpartition(".")[2]
        yield name, category, list(offered), {}, (*own, last)
        chosen = given.get(name)
        for sub, more, spec in _declared(offered.get(chosen, {}) if isinstance(chosen, str) else {}):
            yield from grown(f"{name}.{sub}", _weaker(category, more), *spec, given, (*own, sub))
    elif kind == MATCH:
        template = options.get("template") or {}
        yield name, category, template.get("allowed_types") or "*", options, path
    else:
        yield name, category, kind, options, path


def _rows(
    name: str, category: str, template: Mapping[str, Any], given: Mapping[str, Any], own: Path
) -> Iterator[Spec]:
    names = template.get("names")
    prefix, most = template.get("prefix", ""), template.get("max") or 100
    least = template.get("min", 1) or 0
    for _, more, spec in _declared(template.get("input") or {}):
        for i, row in enumerate(names or (f"{prefix}{i}" for i in range(most))):
            if i < least or f"{name}.{row}" in given:
                needed = _weaker(category, more) if i < least else "optional"
                yield from grown(f"{name}.{row}", needed, *spec, given, (*own, row))


def _declared(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str, tuple[Any, Mapping[str, Any]]]]:
    """The inputs of a template by name and category."""
    for category in ("required", "optional"):
        for name, spec in (inputs.get(category) or {}).items():
            yield name, category, (spec[0], spec[1] if len(spec) > 1 else {})


def _weaker(outer: str, inner: str) -> str:
    return "optional" if "optional" in (outer, inner) else "required"


def nested(arguments: Mapping[str, Any], paths: Mapping[str, Path]) -> dict[str, Any]:
    """Arguments with those that belong to another put into its dict."""
    found: dict[str, Any] = {}
    for name, value in arguments.items():
        *groups, last = paths.get(name, (name,))
        into = found
        for group in groups:
            into = into.setdefault(group, {})
        into[last] = value
    return found
