"""The methods of a pack's class that the engine calls beside its function, for both kinds of class."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.problems import NodeFailure, Wrong
from server.compat.context import finish
from server.compat.dynamic import Path, nested

Method = Callable[..., Any]


@dataclass(frozen=True)
class Validated:
    """The inputs that a class validates itself, for `in`; all but `input_types` where it takes anything."""

    names: frozenset[str] = frozenset()
    takes_all: bool = False

    def __contains__(self, name: object) -> bool:
        return name in self.names or (self.takes_all and name != "input_types")


def is_v3(cls: type) -> bool:
    """Whether a class is declared by a schema (`ComfyNode`) and not by dicts."""
    return bool(getattr(cls, "IS_SCHEMA_NODE", False))


def own_method(cls: type, v1: str, v3: str) -> str | None:
    """The name of a method where the class has one of its own."""
    if not is_v3(cls):
        return v1 if getattr(cls, v1, None) is not None else None
    for base in cls.__mro__:
        if v3 in base.__dict__:
            return None if base.__dict__.get("IS_SCHEMA_BASE") else v3
    return None


def bound(cls: type, owner: Any, name: str, hidden: Mapping[str, Any]) -> Method:
    """A method of a class or of its instance; a V3 class is called on a locked clone that knows `hidden`."""
    if is_v3(cls):
        owner = cls.PREPARE_CLASS_CLONE(hidden)  # type: ignore[attr-defined]
    method: Method = getattr(owner, name)
    return method


def validated(cls: type) -> Validated:
    """The inputs that a class validates itself."""
    name = own_method(cls, "VALIDATE_INPUTS", "validate_inputs")
    if name is None:
        return Validated()
    found = inspect.signature(getattr(cls, name)).parameters.values()
    return Validated(frozenset(p.name for p in found), any(p.kind is p.VAR_KEYWORD for p in found))


def _call(cls: type, name: str, arguments: Mapping[str, Any], hidden: Mapping[str, Any]) -> Any:
    """Call a class method with literals (None for links), as a list where the class takes lists."""
    given = dict(arguments)
    if getattr(cls, "INPUT_IS_LIST", False):
        given = {k: (None,) if v is None else [v] for k, v in given.items()}
    method = bound(cls, cls, name, hidden)
    result = method(**given)
    return finish(result) if inspect.iscoroutine(result) else result


def validator(
    cls: type, hidden: Mapping[str, str], paths: Mapping[str, Path]
) -> Callable[..., Iterator[Wrong]] | None:
    """A node's `check`: the class's own validation, if it has one.

    Args:
        hidden: The source of each hidden port, by the port's name.
        paths: Where the values of ports go that another input makes.
    """
    name = own_method(cls, "VALIDATE_INPUTS", "validate_inputs")
    if name is None:
        return None

    def check(input_types: Mapping[str, Any], **inputs: Any) -> Iterator[Wrong]:
        wanted = validated(cls)
        known, sources = _apart(inputs, hidden, is_v3(cls))
        given = {k: v for k, v in nested(known, paths).items() if k in wanted}
        if "input_types" in wanted:
            given["input_types"] = input_types
        try:
            found = _call(cls, name, given, sources)
        except Exception as error:  # the pack's own code
            text = f"its validation raises {type(error).__name__}: {error}"
            yield Wrong("", text, code="exception_during_validation")
            return
        if found is not True:
            text = str(found) if found is not False and found is not None else "the node does not take this"
            for port in [name for name in given if name not in hidden] or [""]:
                yield Wrong(port, text)

    return check


def fingerprinter(
    cls: type, hidden: Mapping[str, str], paths: Mapping[str, Path]
) -> Callable[..., str] | None:
    """A node's `fingerprint`: what the class says of state outside its inputs, if it says anything."""
    name = own_method(cls, "IS_CHANGED", "fingerprint_inputs")
    if name is None:
        return None

    def fingerprint(**inputs: Any) -> str:
        known, sources = _apart(inputs, hidden, is_v3(cls))
        try:
            return _text(_call(cls, name, nested(known, paths), sources))
        except Exception as error:  # the pack's own code: then the node runs each time
            raise NodeFailure(f"{name} raises {type(error).__name__}: {error}") from error

    return fingerprint


def _apart(
    inputs: Mapping[str, Any], hidden: Mapping[str, str], v3: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments and hidden values, by source; the prompt is not known before a run."""
    known = {k: v for k, v in inputs.items() if k not in hidden and not k.startswith("@")}
    sources: dict[str, Any] = {s: inputs.get(n) if s == "UNIQUE_ID" else None for n, s in hidden.items()}
    if "PROMPT" in sources:
        sources["PROMPT"] = {}
    if not v3:
        known |= {name: sources[source] for name, source in hidden.items()}
    return known, sources


def _text(value: Any) -> str:
    """A text that is equal where the values are.

    Raises:
        ValueError: It is never equal to another (NaN), or too large to say.
    """
    if getattr(value, "shape", ()):
        raise ValueError("the text of an array leaves most of it out")
    if isinstance(value, float) and math.isnan(value):
        raise ValueError("NaN is never the same")
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{k!r}:{_text(v)}' for k, v in value.items())}}}"
    return repr(value)
