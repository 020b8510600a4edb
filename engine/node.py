"""Declare a node: a typed, keyword-only function whose signature is its interface."""

import inspect
import re
import types
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    ParamSpec,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from engine.ports import Each, Env, Given, Hidden, Omittable, OneOf, Port, Range, Shown, fixed_choices
from engine.problems import Wrong
from engine.steps import Lazy

P = ParamSpec("P")
R = TypeVar("R")
WIDGETS = {int: "INT", float: "FLOAT", str: "STRING", bool: "BOOLEAN"}
REQUIRED = inspect.Parameter.empty
Lane = Literal["host", "device"]


class DeclarationError(TypeError):
    """A node's signature does not say what the engine must know; raised at import."""


@dataclass(frozen=True)
class Value:
    """One port: its link type (`kind`), whether it is a list, and the facts stated about it."""

    name: str
    kind: str
    is_list: bool = False
    lazy: bool = False
    optional: bool = False
    default: Any = REQUIRED
    doc: str = ""
    facts: tuple[Any, ...] = ()

    def fact(self, kind: type[R]) -> R | None:
        """The fact of this kind that the declaration states, or None."""
        for fact in self.facts:
            if isinstance(fact, kind):
                return fact
        return None

    @cached_property
    def hidden(self) -> str | None:
        """What of the job fills it ("PROMPT"), for a port that no workflow sets; asked for at every step."""
        found = self.fact(Hidden)
        return found.source if found else None

    def choices(self, env: Env) -> tuple[str, ...] | None:
        """The allowed values now, or None where any value of the type will do."""
        one_of = self.fact(OneOf)
        return tuple(one_of.options(env)) if one_of else None

    @property
    def is_widget(self) -> bool:
        """Whether a literal may stand here."""
        return self.kind in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


@dataclass(frozen=True)
class Node(Generic[P, R]):
    """A declared node; calling it calls the function, so tests need no engine.

    Args:
        shape: Makes the node's real interface from the inputs that a workflow gives it, where the class does
            not know it; may raise NodeFailure.
        maps_itself: Whether it is called once with whole lists, blockers and empty ones included, and gives
            `Slots`.
        passing: Whether its results, and what is made of them, must not outlive the process.
    """

    name: str
    fn: Callable[P, R]
    category: str = ""
    title: str = ""
    doc: str = ""
    inputs: tuple[Value, ...] = ()
    outputs: tuple[Value, ...] = ()
    is_output: bool = False
    given: Mapping[str, type] = field(default_factory=dict)
    takes_lists: bool = False
    lane: Lane = "host"
    volatile: bool = False
    version: int = 1
    check: Callable[..., Iterable[Wrong | str]] | None = None
    fingerprint: Callable[..., str] | None = None
    shape: "Callable[[Mapping[str, Any]], Node[..., Any]] | None" = None
    maps_itself: bool = False
    passing: bool = False

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself."""
        return self.fn(*args, **kwargs)

    @cached_property
    def is_generator(self) -> bool:
        """Whether its function yields requests to models, and so runs in steps."""
        return inspect.isgeneratorfunction(self.fn)

    @cached_property
    def is_coroutine(self) -> bool:
        """Whether its function is asynchronous."""
        return inspect.iscoroutinefunction(self.fn)

    def input(self, name: str) -> Value | None:
        """The input port of this name, hidden ones included, or None."""
        return next((v for v in self.inputs if v.name == name), None)


def node(
    name: str,
    *,
    category: str,
    title: str = "",
    outputs: tuple[str, ...] = (),
    is_output: bool = False,
    lane: Lane = "host",
    volatile: bool = False,
    version: int = 1,
    check: Callable[..., Iterable[Wrong | str]] | None = None,
    fingerprint: Callable[..., str] | None = None,
) -> Callable[[Callable[P, R]], Node[P, R]]:
    """Turn a function into a node.

    Args:
        name: The class name in a workflow file; never changes once released.
        outputs: Output port names, where they differ from their types.
        is_output: Whether the node runs even when nothing consumes it.
        lane: Where a plain function runs: "host" threads, or alone on the "device" lane. Generators always
            run on the device lane.
        volatile: Whether each run computes it anew (a fresh cache key every time).
        version: Part of the cache key; raise it when the same inputs give another result.
        check: Given the known inputs and what `fn` is given, says what is wrong before anything runs. Called
            only when all inputs that it names are literals.
        fingerprint: Likewise, what to add to the cache key for state outside the inputs.

    Raises:
        DeclarationError: The signature is not a full interface.
    """

    def declare(fn: Callable[P, R]) -> Node[P, R]:
        doc = inspect.getdoc(fn) or ""
        hints = _hints(name, fn)
        returned = hints.pop("return")
        inputs, given = _inputs(name, fn, hints, _arg_docs(doc))
        _refuse_steps(name, fn, returned, inputs)
        _refuse_names(name, (check, fingerprint), {*given, *(v.name for v in inputs)})
        made = _outputs(name, returned, outputs)
        summary, whole = doc.split("\n\n")[0].replace("\n", " "), any(v.is_list for v in inputs)
        return Node(
            name, fn, category, title or name, summary, inputs, made, is_output, given, whole, lane, volatile,
            version, check, fingerprint,
        )  # fmt: skip

    return declare


def _hints(node_name: str, fn: Callable[..., Any]) -> dict[str, Any]:
    try:
        hints = get_type_hints(fn, include_extras=True)
    except NameError as error:
        raise DeclarationError(f"{node_name}: {error}; a node's types stand at module level") from error
    if "return" not in hints:
        raise DeclarationError(f"{node_name}: its return type is missing; write -> None for no outputs")
    return hints


def _inputs(
    node_name: str, fn: Callable[..., Any], hints: dict[str, Any], docs: dict[str, str]
) -> tuple[tuple[Value, ...], dict[str, type]]:
    inputs: list[Value] = []
    given: dict[str, type] = {}
    for p in inspect.signature(fn).parameters.values():
        facts = get_args(hints.get(p.name))
        doc = docs.get(p.name, "")
        if p.kind is p.VAR_KEYWORD and (family := next((f for f in facts if isinstance(f, Each)), None)):
            inputs += [_value(node_name, n, hints[p.name], family.default, doc) for n in family.names]
        elif p.kind is not p.KEYWORD_ONLY or p.name not in hints:
            raise DeclarationError(f"{node_name}.{p.name}: ports are keyword-only and typed")
        elif Given() in facts:
            given[p.name] = hints[p.name].__origin__
        else:
            inputs.append(_value(node_name, p.name, hints[p.name], p.default, doc))
    if len({v.is_list for v in inputs if not v.hidden}) > 1:
        raise DeclarationError(f"{node_name}: either all inputs are lists or none is")
    names = [v.name for v in inputs] + list(given)
    if doubled := {n for n in names if names.count(n) > 1}:
        raise DeclarationError(f"{node_name}: declares {sorted(doubled)} twice")
    if unknown := docs.keys() - hints.keys():
        raise DeclarationError(f"{node_name}: documents {sorted(unknown)}, which it does not take")
    return tuple(inputs), given


def _value(node_name: str, name: str, hint: Any, default: Any, doc: str = "") -> Value:
    hint, facts, is_list, lazy = _unwrapped(hint)
    where = f"{node_name}.{name}"
    if get_origin(hint) is Literal:
        _refuse_default(where, default, get_args(hint), is_list)
        facts, hint = (*facts, fixed_choices(get_args(hint))), str
    port = next((f.name for f in facts if isinstance(f, Port)), None) or getattr(hint, "__port__", None)
    if is_list and default is not REQUIRED and default is not None:
        if not isinstance(default, list | tuple) or len(default) != 1:
            raise DeclarationError(
                f"{where}: the default of a list is one element, which stands for the widget"
            )
        (default,) = default
    kind = port or ("COMBO" if any(isinstance(f, OneOf) for f in facts) else WIDGETS.get(hint))
    if kind is None and not any(isinstance(f, Hidden) for f in facts):
        raise DeclarationError(
            f"{node_name}.{name}: {hint!r} has no Port; wrap it in Annotated[..., Port('NAME')]"
        )
    optional = default is None or Omittable() in facts
    value = Value(name, kind or "*", is_list, lazy, optional, default, doc, facts)
    bounds = value.fact(Range)
    if bounds and isinstance(default, int | float) and not bounds.min <= default <= bounds.max:
        raise DeclarationError(f"{node_name}.{name}: default {default} outside {bounds.min}..{bounds.max}")
    return value


def _refuse_default(where: str, default: Any, choices: tuple[Any, ...], is_list: bool) -> None:
    values = default if is_list and isinstance(default, list | tuple) else (default,)
    for value in values:
        if value is not REQUIRED and value is not None and value not in choices:
            raise DeclarationError(f"{where}: default {value!r} is none of its choices")


def _refuse_steps(node_name: str, fn: Callable[..., Any], returned: Any, inputs: tuple[Value, ...]) -> None:
    """A node that asks the engine is a generator function; anything else would never be driven."""
    steps = get_origin(returned) is Generator
    if steps != inspect.isgeneratorfunction(fn):
        raise DeclarationError(
            f"{node_name}: returns Steps[...] exactly if it is a generator function (yields)"
        )
    if not steps and (lazy := [v.name for v in inputs if v.lazy]):
        raise DeclarationError(f"{node_name}: {lazy} are lazy, which only a generator can ask for")


def _refuse_names(node_name: str, functions: tuple[Callable[..., Any] | None, ...], known: set[str]) -> None:
    for fn in functions:
        for p in inspect.signature(fn).parameters.values() if fn else ():
            if p.name not in known and p.default is REQUIRED:
                raise DeclarationError(f"{node_name}: {getattr(fn, '__name__', fn)} names no port {p.name!r}")


def _unwrapped(hint: Any) -> tuple[Any, tuple[Any, ...], bool, bool]:
    """A type without Annotated, Optional, Sequence and Lazy around it: type, facts, is_list, lazy."""
    facts: tuple[Any, ...] = ()
    is_list = lazy = False
    while True:
        origin, args = get_origin(hint), get_args(hint)
        if origin is Annotated:
            hint, facts = args[0], (*facts, *args[1:])
        elif origin in (Union, types.UnionType) and type(None) in args:
            hint = Union[tuple(a for a in args if a is not type(None))]  # noqa: UP007  (built at run time)
        elif origin in (list, Sequence):
            hint, is_list = args[0], True
        elif origin is Lazy:
            hint, lazy = args[0], True
        else:
            return hint, facts, is_list, lazy


def _outputs(node_name: str, hint: Any, names: tuple[str, ...]) -> tuple[Value, ...]:
    if get_origin(hint) in (Generator, Coroutine):
        hint = get_args(hint)[2]
    elif get_origin(hint) is AsyncGenerator:
        raise DeclarationError(f"{node_name}: an async generator is no node; use a generator or async def")
    if get_origin(hint) is Shown:
        (hint,) = get_args(hint)
    if hint in (None, type(None)):
        return ()
    hints = get_args(hint) if get_origin(hint) is tuple else (hint,)
    values = [_value(node_name, f"output {i}", h, REQUIRED) for i, h in enumerate(hints)]
    if names and len(names) != len(values):
        raise DeclarationError(f"{node_name}: {len(names)} output names for {len(values)} outputs")
    return tuple(
        Value(n, v.kind, v.is_list) for n, v in zip(names or [v.kind for v in values], values, strict=True)
    )


def _arg_docs(doc: str) -> dict[str, str]:
    """The `Args:` section of a Google-style docstring, by parameter."""
    section = re.search(r"^Args:\n((?:[ ]{4}.*\n?|\n)*)", doc, re.M)
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section.group(1), re.M) if section else []
    return {name: re.sub(r"\s+", " ", text) for name, text in entries}
