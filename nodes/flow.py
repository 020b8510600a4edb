"""Values and lists of values: primitives, ranges, reroutes and notes."""

import json
from typing import Annotated, Any

from engine.node import node
from engine.ports import Hint, Omittable, Port, Range, Shown
from nodes.ports import Sigmas

_LIMIT = 2**63 - 1
Count = Annotated[int, Range(1, 4096)]
Number = Annotated[float, Range(-_LIMIT, _LIMIT)]
Text = Annotated[str, Hint("multiline")]
Anything = Annotated[Any, Port("*")]


@node("PrimitiveInt", category="utils/primitive", title="Int")
def primitive_int(*, value: Annotated[int, Range(-_LIMIT, _LIMIT), Hint("control_after_generate")]) -> int:
    """A whole number.

    Args:
        value: The number.
    """
    return value


@node("PrimitiveFloat", category="utils/primitive", title="Float")
def primitive_float(*, value: Number) -> float:
    """A number.

    Args:
        value: The number.
    """
    return value


@node("PrimitiveString", category="utils/primitive", title="String")
def primitive_string(*, value: Annotated[str, Hint("multiline", False)]) -> str:
    """A line of text.

    Args:
        value: The text.
    """
    return value


@node("PrimitiveStringMultiline", category="utils/primitive", title="String (Multiline)")
def primitive_string_multiline(*, value: Text) -> str:
    """A text of several lines.

    Args:
        value: The text.
    """
    return value


@node("PrimitiveBoolean", category="utils/primitive", title="Boolean")
def primitive_boolean(*, value: bool) -> bool:
    """True or false.

    Args:
        value: Which of the two.
    """
    return value


@node("IntRange", category="latentgraph/list", title="Int Range")
def int_range(
    *,
    start: Annotated[int, Range(-_LIMIT, 2**64 - 1)] = 0,
    count: Count = 4,
    step: Annotated[int, Range(-_LIMIT, _LIMIT)] = 1,
) -> list[int]:
    """A list of evenly spaced whole numbers; what it is linked to runs for each, e.g. a sampler for seeds.

    Args:
        start: The first number.
        count: How many numbers.
        step: From one to the next.
    """
    return [start + step * i for i in range(count)]


@node("FloatRange", category="latentgraph/list", title="Float Range")
def float_range(*, start: Number = 0.0, end: Number = 1.0, count: Count = 5) -> list[float]:
    """A list of evenly spaced numbers with both ends; what it is linked to runs for each.

    Args:
        start: The first number.
        end: The last number; without effect where only one is wanted.
        count: How many numbers.
    """
    return [start + (end - start) * i / max(count - 1, 1) for i in range(count)]


@node("SigmaLevels", category="latentgraph/list", title="Sigma Levels")
def sigma_levels(*, sigmas: Sigmas, count: Count = 5) -> list[Sigmas]:
    """Some noise levels of a schedule, from clean to noisy, each as a schedule [1] of its own for AddNoise.

    Args:
        sigmas: The schedule.
        count: How many levels, evenly spaced over its steps, with both ends.
    """
    last = len(sigmas) - 1
    places = [last - round(last * i / max(count - 1, 1)) for i in range(count)]
    return [sigmas[place : place + 1] for place in places]


@node("PreviewAny", category="utils", title="Preview Any", is_output=True)
def preview_any(*, source: Anything) -> Shown[None]:
    """Show a value as text.

    Args:
        source: Anything; what JSON cannot say is shown as Python does.
    """
    text = source if isinstance(source, str) else json.dumps(source, default=str, ensure_ascii=False)
    return Shown(None, {"text": [text]})


@node("Reroute", category="utils")
def reroute(*, value: Anything) -> Anything:
    """Pass a value on unchanged.

    Args:
        value: Anything.
    """
    return value


@node("Note", category="utils")
def note(*, text: Annotated[str, Omittable(), Hint("multiline")] = "") -> None:
    """A remark in the graph; it does nothing.

    Args:
        text: The remark.
    """


@node("MarkdownNote", category="utils", title="Markdown Note")
def markdown_note(*, text: Annotated[str, Omittable(), Hint("multiline")] = "") -> None:
    """A remark with markup in the graph; it does nothing.

    Args:
        text: The remark, in Markdown.
    """
