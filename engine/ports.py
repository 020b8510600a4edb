"""The facts a node may state about a parameter, inside `Annotated[type, fact, ...]`."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar

C = TypeVar("C", bound=type)
T = TypeVar("T")

STORED: dict[str, type] = {}
"""Frozen dataclasses the disk cache may write, by class path; filled by `@Port(..., stored=True)`."""
CLASSES: dict[str, type] = {}
"""The class of a port's values, by the port's name; filled by `@Port(...)`.

A class may have `as_plain(self)` and a classmethod `from_plain(value)` for nodes that know the type as plain
lists and dicts; `adapted` calls the second."""


class Env:
    """What the runner gives to nodes, by type: the file folders, the device, a clock."""

    def __init__(self, *given: object) -> None:
        self._by_type = {type(x): x for x in given}

    def __getitem__(self, kind: type[T]) -> T:
        found = self._by_type[kind]
        assert isinstance(found, kind)
        return found

    def __contains__(self, kind: type) -> bool:
        return kind in self._by_type

    def with_(self, *given: object) -> "Env":
        """The same with some things in place of, or beside, what it has."""
        return Env(*(self._by_type | {type(x): x for x in given}).values())


@dataclass(frozen=True)
class Shown(Generic[T]):
    """A result with something to show beside it; both are cached, so a hit shows it again."""

    value: T
    ui: dict[str, list[Any]]


@dataclass(frozen=True)
class Blocked:
    """A value that stops what depends on it without being an error (the ecosystem's ExecutionBlocker).

    Args:
        message: Reported once, at the first node that would have used it; None stays silent.
    """

    message: str | None = None


@dataclass(frozen=True)
class Port:
    """The link type of a value: a fact for a foreign type, a class decorator for one of ours.

    Args:
        name: The type's name in workflows ("IMAGE"); "*" takes anything; "A,B" takes either.
        stored: On a frozen dataclass: its fields are tensors, plain values or stored classes, so that the
            disk cache may keep it.
    """

    name: str
    stored: bool = False

    def __call__(self, cls: C) -> C:
        """Mark a class as the values of this type."""
        cls.__port__ = self.name  # type: ignore[attr-defined]
        CLASSES[self.name] = cls
        if self.stored:
            STORED[f"{cls.__module__}.{cls.__qualname__}"] = cls
        return cls


def adapted(kind: str, values: Sequence[Any]) -> Sequence[Any]:
    """The values as the class of their type has them, where some are plain lists and dicts."""
    cls = CLASSES.get(kind)
    from_plain = getattr(cls, "from_plain", None)
    if cls is None or from_plain is None or all(isinstance(v, cls | Blocked) for v in values):
        return values
    return [from_plain(v) if isinstance(v, dict | list | tuple) else v for v in values]


@dataclass(frozen=True)
class Range:
    """Inclusive bounds of a number; `step` and `round` are hints for an editor."""

    min: float
    max: float
    step: float | None = None
    round: float | Literal[False] | None = None


@dataclass(frozen=True)
class OneOf:
    """Choices known only at run time (files, registries); use `Literal` for fixed ones.

    Args:
        role: The folder role whose files these are ("checkpoints", "input"), where they are files.
        fixed: The choices, where they never change.
    """

    options: Callable[[Env], Sequence[str]]
    role: str | None = None
    fixed: Sequence[str] = ()


def fixed_choices(options: Sequence[str]) -> OneOf:
    """Choices that never change."""
    return OneOf(lambda _: options, fixed=options)


@dataclass(frozen=True)
class Hint:
    """Editor hints that do not change what the node computes, e.g. `control_after_generate`."""

    key: str
    value: Any = True


@dataclass(frozen=True)
class Hidden:
    """Filled by the runner from the job (`PROMPT`, `EXTRA_PNGINFO`, `UNIQUE_ID`), never by a link."""

    source: str


class Written(dict[str, Any]):
    """JSON that hidden inputs get and many files of a run hold; nodes only read it."""

    @cached_property
    def text(self) -> str:
        """As JSON: made once, as a run of many outputs would take the square of their number."""
        return json.dumps(self)


@dataclass(frozen=True)
class Loose:
    """A port of a node with a looser idea of types: a literal that is no widget's is passed as it is.

    Args:
        type: Compared with the other end's by `!=`, which some override; a list is a combo's choices.
        linked: Whether the type of a link is looked at.
    """

    type: Any
    linked: bool = True


@dataclass(frozen=True)
class Omittable:
    """The workflow may leave this widget out; links are omittable when their default is None."""


@dataclass(frozen=True)
class Given:
    """Passed in from `Env` by the parameter's type: neither a port nor part of the cache key."""


@dataclass(frozen=True)
class Each:
    """On a `**` parameter: one port per name, for families whose names are not identifiers."""

    names: tuple[str, ...]
    default: float | str | bool
