"""Literals of a workflow as their ports have them: coerced, within range, one of the choices."""

import contextlib
import math
from collections.abc import Callable
from typing import Any

from engine.files import Files
from engine.node import Value
from engine.ports import Env, Loose, OneOf, Range
from engine.problems import Near, NodeFailure, Wrong

_SPELLINGS: tuple[Callable[[str], str], ...] = (
    str.casefold,
    lambda file: file.rpartition("/")[2].casefold(),
    lambda file: file.casefold().rpartition(".")[0],
)


class Choices:
    """The choices of run-time combos, each listed once however many nodes ask.

    Args:
        near: Looks for what wrong names may mean.
    """

    def __init__(self, env: Env) -> None:
        self._env, self.near = env, Near()
        self._known: dict[Callable[[Env], Any], tuple[str, ...]] = {}
        self._by_name: dict[Callable[[Env], Any], list[dict[str, str | None]]] = {}

    def of(self, one_of: OneOf) -> tuple[str, ...]:
        """What may be chosen now."""
        if one_of.options not in self._known:
            self._known[one_of.options] = tuple(one_of.options(self._env))
        return self._known[one_of.options]

    def meant(self, one_of: OneOf, name: str) -> str | None:
        """The one file that a name means but for its case, its folder or its ending."""
        if one_of.options not in self._by_name:
            self._by_name[one_of.options] = [_only(key, self.of(one_of)) for key in _SPELLINGS]
        wanted = name.replace("\\", "/").casefold()
        return next((found for names in self._by_name[one_of.options] if (found := names.get(wanted))), None)

    def has_file(self, role: str, name: str) -> bool:
        """Whether a file of this name is there; listing thousands takes a tenth of a second."""
        with contextlib.suppress(NodeFailure, OSError):
            return Files in self._env and bool(self._env[Files].find(role, name))
        return False


def coerce(value: Value, literal: Any, choices: Choices, own: bool = False) -> Any | Wrong:
    """The literal as its port's type has it, or what is wrong with it.

    Args:
        own: The node's own check names this port, and so decides which files it takes.
    """
    if not value.is_widget:
        if value.kind == "*" or value.fact(Loose) is not None:
            return literal
        return Wrong(
            value.name, f"takes a link to {value.kind}, found {literal!r:.60}", code="invalid_input_type"
        )
    one_of = value.fact(OneOf)
    if one_of:
        decides = own and one_of.role and isinstance(literal, str)
        if decides and choices.has_file(one_of.role or "", literal):
            return literal
        found = _chosen(value, literal, choices, one_of)
        return literal if decides and isinstance(found, Wrong) else found
    if value.kind == "COMBO":  # choices that only the node knows
        return literal
    coerced = _coerced(value.kind, literal)
    if coerced is None:
        return Wrong(value.name, f"takes {value.kind}, found {literal!r:.60}", code="invalid_input_type")
    bounds = value.fact(Range)
    if bounds and coerced < bounds.min:
        return Wrong(
            value.name, f"{coerced} is below {_n(bounds.min)}", _range(bounds), "value_smaller_than_min"
        )
    if bounds and coerced > bounds.max:
        return Wrong(
            value.name, f"{coerced} is above {_n(bounds.max)}", _range(bounds), "value_bigger_than_max"
        )
    return coerced


def _n(number: float) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)


def _range(bounds: Range) -> str:
    return f"the allowed range is {_n(bounds.min)} to {_n(bounds.max)}"


def _coerced(kind: str, literal: Any) -> Any:
    """The ecosystem's coercions: int(v), float(v), str(v), bool(v); None where they fail."""
    if kind == "STRING":
        return literal if isinstance(literal, str) else None if literal is None else str(literal)
    if kind == "BOOLEAN":
        return bool(literal)
    if not isinstance(literal, int | float | str):
        return None
    try:
        number = float(literal) if kind == "FLOAT" else int(literal)
    except (ValueError, OverflowError):
        return None
    return number if isinstance(number, int) or math.isfinite(number) else None


def _only(key: Callable[[str], str], choices: tuple[str, ...]) -> dict[str, str | None]:
    """The choices by some spelling of them, None where several have it."""
    found: dict[str, str | None] = {}
    for choice in choices:
        found[key(choice)] = None if key(choice) in found else choice
    return found


def _chosen(value: Value, literal: Any, known: Choices, one_of: OneOf) -> Any | Wrong:
    choices, role = known.of(one_of), one_of.role
    if literal in choices:
        return literal
    text = str(literal)
    if role and (meant := known.meant(one_of, text)):
        return meant
    where = f" in the {role} folder" if role else ""
    if not choices:
        return Wrong(
            value.name, f"no file {text!r}: there is none{where}", f"put it{where}", "value_not_in_list"
        )
    shown = ", ".join(map(repr, choices[:8])) + (f" … ({len(choices)} in all)" if len(choices) > 8 else "")
    hint = known.near.to(text, map(str, choices)) or f"choose one of {shown}"
    return Wrong(value.name, f"{text!r} is not one of the choices{where}", hint, "value_not_in_list")
