"""What is checked before a node of a pack runs, and what its cache key is made of."""

import sys
from typing import Any

import pytest
from packworld import World, module_name, n


def shown(source: str = "1") -> dict[str, Any]:
    return n("Show", value=[source, 0])


def problems(world: World, node: dict[str, Any], **others: Any) -> list[tuple[str, str]]:
    return [p[:2] for p in world.problems({"1": node, "2": shown(), **others})]


SOUND = {"i": 5, "f": 0.5, "s": "x", "b": True, "c": "three", "u": 5}


def test_literals_become_what_their_input_takes(world: World) -> None:
    world.run({"1": n("Widgets", i="5", f=3, s=7, b="false", c=2, u=5), "2": shown()})
    assert world.texts() == ["(5, 3.0, '7', True, 2, 5, 'not given')"]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"i": "5.0"}, "invalid_input_type"),
        ({"i": 10}, "value_bigger_than_max"),
        ({"f": -1}, "value_smaller_than_min"),
        ({"c": "four"}, "value_not_in_list"),
        ({"o": None}, "invalid_input_type"),
        ({"i": ["x"]}, "bad_linked_input"),
    ],
)
def test_literals_that_do_not_fit_are_refused(world: World, wrong: dict[str, Any], code: str) -> None:
    assert problems(world, n("Widgets", **SOUND | wrong)) == [(code, next(iter(wrong)))]


def test_what_is_missing_is_refused_even_with_a_default(world: World) -> None:
    assert problems(world, n("Num")) == [("required_input_missing", "value")]


def test_a_list_as_a_value_is_marked(world: World) -> None:
    world.run({"1": n("Widgets", **SOUND | {"u": {"__value__": [1, 2]}}), "2": shown()})
    assert "[1, 2]" in world.texts()[0]


def test_types_of_links_are_compared_as_packs_expect(world: World) -> None:
    number, text = n("Num", value=1), n("Flexible")
    assert problems(world, n("Sum", a=["3", 0]), **{"3": text}) == [("return_type_mismatch", "a")]
    mixed = {"1": n("Listed", c=["3", 0], n=["4", 0]), "2": shown(), "3": n("Listed", c="red"), "4": number}
    assert world.run(mixed).status == "success"
    assert world.texts() == ["red"]
    assert problems(world, n("Listed", c=["3", 0]), **{"3": number}) == [("return_type_mismatch", "c")]
    assert problems(world, n("Listed", c="red", n=["3", 0]), **{"3": text}) == [("return_type_mismatch", "n")]


def test_a_class_checks_the_inputs_that_it_names_itself(world: World) -> None:
    run = world.run({"1": n("Picky", a=5, b=0.5, c="anything"), "2": shown()})
    assert run.status == "success", "a is above its maximum and c is no choice, and both are its own business"
    assert problems(world, n("Picky", a=5, b=1.5, c="x")) == [("value_bigger_than_max", "b")]
    found = world.problems({"1": n("Picky", a=7, b=0, c="x"), "2": shown()})
    assert found == [
        ("custom_validation_failed", "a", "7 is refused (x)"),
        ("custom_validation_failed", "c", "7 is refused (x)"),
    ]
    linked = {"1": n("Picky", a=7, b=0, c=["3", 0]), "2": shown(), "3": n("Listed", c="red")}
    assert ("return_type_mismatch", "c") in [p[:2] for p in world.problems(linked)]


def test_a_check_that_raises_is_a_problem_of_its_node(world: World) -> None:
    ((code, _, message),) = world.problems({"1": n("Picky", a=1, b=0, c="raise"), "2": shown()})
    assert (code, message) == ("exception_during_validation", "its validation raises RuntimeError: broken")


def test_a_class_that_asks_for_types_judges_links_itself(world: World) -> None:
    text, number = n("Flexible"), n("Num", value=1)
    assert world.run({"1": n("TypedItself", a=["3", 0]), "2": shown(), "3": text}).status == "success"
    refused = problems(world, n("TypedItself", a=["3", 0]), **{"3": number})
    assert refused == [("custom_validation_failed", "input_types")]


def test_a_class_without_an_interface_is_a_problem(world: World) -> None:
    ((code, _, message),) = world.problems({"1": n("Bad")})
    assert (code, message) == ("bad_node", "its INPUT_TYPES raises RuntimeError: no interface")


def changed(world: World, value: Any) -> list[str]:
    cls = world.packs.classes["Changed"].cls
    cls.PRINT = value
    graph = {"1": n("Num", value=1), "2": n("Changed", a=["1", 0], n="2"), "3": shown("2")}
    world.run(graph)
    asked = [x for x in world.log if x[0] == "IS_CHANGED"]
    assert asked == [("IS_CHANGED", None, 2, "2")], "links come as None, literals as they will be passed"
    return [x[0] for x in world.log if x[0] in ("Changed", "Show")]


def test_a_node_runs_again_when_its_print_changes(world: World) -> None:
    everything = ["Changed", "Show"]
    assert [changed(world, value) for value in (1, 1, 2, (2, "a"), (2, "a"))] == [
        everything, [], everything, everything, [],
    ]  # fmt: skip
    for never in (float("nan"), [1, float("nan")], "raise"):
        assert changed(world, never) == everything
        assert changed(world, never) == everything


def test_nodes_with_equal_inputs_run_once_unless_each_has_a_result_of_its_own(world: World) -> None:
    graph = {"1": n("Num", value=9), "2": n("Num", value=9), "3": n("Sum", a=["1", 0], b=["2", 0])}
    world.run({**graph, "4": shown("3")})
    assert [x[0] for x in world.log] == ["Num", "Sum", "Show"]
    graph = {"1": n("Own"), "2": n("Own"), "3": n("Pair", a=["1", 0], b=["2", 0]), "4": shown("3")}
    world.run(graph)
    assert [x[0] for x in world.log] == ["Own", "Own", "Show"]
    world.run(graph)
    assert world.log == []


def test_results_of_packs_are_not_kept_beyond_the_process(world: World) -> None:
    from engine.workflow import from_json

    graph = {"1": n("Num", value=9), "2": n("PrimitiveInt", value=1), "3": n("Sum", a=["1", 0], b=["2", 0])}
    keys = world.engine.plan(from_json({**graph, "4": n("Show", value=["3", 0])})).keys
    assert {id: key[0] == "~" for id, key in keys.items()} == {"1": True, "2": False, "3": True, "4": True}


def test_the_pack_is_imported_under_a_name_that_is_its_path() -> None:
    assert module_name("first") in sys.modules
    assert ".." not in module_name("first")
