"""Declarations: what a signature says, and what is refused at import."""

from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from toys import REGISTRY, Log, Number, add, switch, value, widgets

from engine.node import REQUIRED, DeclarationError, node
from engine.ports import Each, Env, Given, Hidden, Omittable, OneOf, Port, Range
from engine.registry import Pack, Registry
from engine.steps import Lazy, Steps


def test_a_signature_is_read_into_ports() -> None:
    kinds = {v.name: v.kind for v in widgets.inputs}
    assert kinds == {
        "n": "INT", "x": "FLOAT", "text": "STRING", "flag": "BOOLEAN", "choice": "COMBO", "left": "INT",
    }  # fmt: skip
    found = {v.name: v for v in widgets.inputs}
    assert found["n"].default is REQUIRED
    assert (found["left"].optional, found["text"].optional) == (True, False)
    assert found["choice"].choices(Env()) == ("red", "green")
    assert found["n"].fact(Range) == Range(0, 10)
    assert [v.lazy for v in switch.inputs] == [True, True, False]
    assert add.given == {"log": Log}
    assert [o.kind for o in add.outputs] == ["NUMBER"]


def test_a_node_can_be_called_like_a_function() -> None:
    assert value(value=3, log=Log()) == 3


def positional(a: Number) -> Number: ...
def untyped(*, a) -> Number: ...  # type: ignore[no-untyped-def]
def returns_nothing_said(*, a: Number): ...  # type: ignore[no-untyped-def]
def portless(*, a: dict[str, int]) -> Number: ...
def portless_output(*, a: Number) -> dict[str, int]: ...
def out_of_range(*, a: Annotated[int, Range(0, 3)] = 4) -> Number: ...
def no_choice(*, a: Literal["x", "y"] = "z") -> Number: ...  # type: ignore[assignment]
def mixed(*, a: Sequence[Number], b: Number) -> Number: ...
def variadic(**rest: Number) -> Number: ...
def many(*rest: Number) -> Number: ...
def twice(*, a: int = 0, **each: Annotated[int, Each(("a", "b"), 0)]) -> Number: ...
def two_defaults(*, a: Sequence[int] = (1, 2)) -> Number: ...
def lazy_but_plain(*, a: Lazy[Number]) -> Number: ...
def no_generator(*, a: Number) -> Steps[Number]: ...
def unknown_type(*, a: "NoSuchType") -> Number: ...  # type: ignore[name-defined]  # noqa: F821
async def async_generator(*, a: Number) -> AsyncGenerator[Number, None]:
    yield a


def generator_unsaid(*, a: Number) -> Number:
    yield a  # type: ignore[misc]


def documents_too_much(*, a: Number) -> Number:
    """Do.

    Args:
        a: A number.
        b: No number.
    """


@pytest.mark.parametrize(
    "fn",
    [
        positional, untyped, returns_nothing_said, portless, portless_output, out_of_range, no_choice, mixed,
        variadic, many, twice, two_defaults, lazy_but_plain, no_generator, unknown_type, async_generator,
        generator_unsaid, documents_too_much,
    ],
)  # fmt: skip
def test_an_incomplete_interface_is_refused_by_name(fn: Callable[..., Any]) -> None:
    with pytest.raises(DeclarationError, match="Odd"):
        node("Odd", category="toys")(fn)


def test_output_names_must_be_as_many_as_outputs() -> None:
    def one(*, a: Number) -> Number: ...

    with pytest.raises(DeclarationError, match="2 output names for 1"):
        node("Odd", category="toys", outputs=("a", "b"))(one)


def test_a_check_that_names_no_port_is_refused() -> None:
    def wrong(*, b: int) -> list[str]: ...
    def one(*, a: int) -> Number: ...

    with pytest.raises(DeclarationError, match="names no port 'b'"):
        node("Odd", category="toys", check=wrong)(one)


def test_a_family_of_ports_has_one_for_each_name() -> None:
    @node("Blocks", category="toys")
    def blocks(*, a: Number, **each: Annotated[float, Range(0, 1), Each(("in.0.", "in.1."), 1.0)]) -> Number:
        """Ports that are no identifiers."""

    assert [(v.name, v.default) for v in blocks.inputs] == [("a", REQUIRED), ("in.0.", 1.0), ("in.1.", 1.0)]


def test_the_docstring_documents_the_ports() -> None:
    @node("Documented", category="toys")
    def documented(
        *, a: Number, b: Annotated[str, OneOf(lambda env: ["x"]), Omittable()] = "x",
        me: Annotated[Any, Hidden("PROMPT")] = None, log: Annotated[Log, Given()],
    ) -> Annotated[int, Port("OTHER")]:  # fmt: skip
        """Do something
        in two lines.

        More.

        Args:
            a: A number,
                on two lines.
            b: A choice.
        """

    assert documented.doc == "Do something in two lines."
    assert {v.name: v.doc for v in documented.inputs} == {
        "a": "A number, on two lines.",
        "b": "A choice.",
        "me": "",
    }


# ---------------------------------------------------------------- the registry


def test_a_class_name_belongs_to_one_node_and_a_clash_changes_nothing() -> None:
    other = node("Add", category="toys")(lambda_node)
    registry = Registry().with_nodes(add)
    with pytest.raises(DeclarationError, match="two nodes are called 'Add'"):
        registry.with_nodes(value, other)
    assert list(registry.nodes) == ["Add"]
    assert list(registry.with_nodes(add).nodes) == ["Add"]


def lambda_node(*, a: Number) -> Number: ...


def test_a_pack_brings_the_nodes_of_its_modules_and_its_files() -> None:
    pack = Pack("toys", ("toys",), items={"checkpoints": {"embedded": Path("x")}})
    registry = Registry().with_pack(pack)
    assert dict(registry.nodes) == dict(REGISTRY.nodes)
    assert registry.items == {"checkpoints": {"embedded": Path("x")}}
