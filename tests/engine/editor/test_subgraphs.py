"""Subgraphs and old group nodes laid open, with the values that their instances have of their own."""

from typing import Any

import pytest

from engine.editor import flattened
from engine.editor.saved import MAX_NODES
from engine.problems import WorkflowError
from tests.engine.editor.drawing import CLASSES, Json, drawn, inputs_of, node, subgraph, with_subgraphs


def mixing() -> Json:
    """A subgraph: inputs thing, amount (a widget) and seed (another node's), output of the mixer."""
    made = node(2, "Maker", 5, "fixed", 30, False, widget_seed=(-10, 2))
    mixed = node(1, "Mixer", 0.5, a=(-10, 0), widget_amount=(-10, 1), b=(2, 0))
    return subgraph("S", ("thing", "amount", "seed"), mixed, made)


def instance(*values: Any, id: int = 75, **more: Any) -> Json:
    return node(id, "S", *values, **({"thing": (1, 0)} | more))


def found(made: Json, *definitions: Json) -> dict[str, Json]:
    graph = drawn(node(1, "Maker", 1, "fixed", 2, False), made, node(9, "Saver", "p", value=(made["id"], 0)))
    return inputs_of(with_subgraphs(graph, *(definitions or (mixing(),))))


def test_an_instance_becomes_its_nodes() -> None:
    assert found(instance()) == {
        "1": {"seed": 1, "steps": 2, "fine": False},
        "9": {"filename_prefix": "p", "value": ["75:1", 0]},
        "75:1": {"amount": 0.5, "a": ["1", 0], "b": ["75:2", 0]},
        "75:2": {"seed": 5, "steps": 30, "fine": False},
    }


def test_promoted_widgets_are_given_in_the_order_of_the_inputs_that_lead_to_widgets() -> None:
    inner = found(instance(0.25, 8))
    assert (inner["75:1"]["amount"], inner["75:2"]["seed"]) == (0.25, 8)


def test_an_instance_may_list_whose_widgets_its_values_are() -> None:
    names = [
        ["2", "steps"],
        ["2", "control_after_generate"],
        ["1", "$$preview"],
        ["-1", "amount"],
        ["2", "seed"],
    ]
    inner = found(instance(40, "fixed", "x", 0.75, properties={"proxyWidgets": names}))
    assert inner["75:2"].keys() == {"seed", "steps", "fine"}
    assert (inner["75:2"]["steps"], inner["75:1"]["amount"], inner["75:2"]["seed"]) == (40, 0.75, 5)


def test_a_primitive_in_a_subgraph_may_have_a_value_of_the_instance() -> None:
    fed = [node(1, "Mixer", 0.5, a=None, widget_amount=(2, 0)), node(2, "PrimitiveNode", 0.1, "fixed")]
    made = node(75, "S", 0.9, properties={"proxyWidgets": [["2", "value"]]})
    assert found(made, subgraph("S", (), *fed))["75:1"]["amount"] == 0.9


def test_values_that_an_editor_could_not_place_count_too() -> None:
    kept = [{"originalEntry": ["-1", "amount"], "hostValue": 0.1}, {"originalEntry": 5}, 7]
    properties = {"proxyWidgets": [], "proxyWidgetErrorQuarantine": kept}
    assert found(instance(properties=properties))["75:1"]["amount"] == 0.1


def test_a_link_from_outside_goes_before_a_promoted_value() -> None:
    inner = found(instance(0.25, 8, widget_amount=(1, 0)))
    assert (inner["75:1"]["amount"], inner["75:2"]["seed"]) == (["1", 0], 8)


def test_subgraphs_in_subgraphs_pass_links_and_values_through() -> None:
    outer = subgraph("O", ("thing", "strength"), node(1, "S", thing=(-10, 0), widget_amount=(-10, 1)))
    inner = found(node(3, "O", 0.9, thing=(1, 0)), mixing(), outer)
    assert inner["3:1:1"] == {"amount": 0.9, "a": ["1", 0], "b": ["3:1:2", 0]}
    assert inner["9"]["value"] == ["3:1:1", 0]
    bare = subgraph("O", ("thing", "strength"), node(1, "S", thing=(-10, 0), amount=(-10, 1)))
    assert found(node(3, "O", 0.9, thing=(1, 0)), mixing(), bare)["3:1:1"]["amount"] == 0.9, (
        "a widget further in"
    )
    listed = {"proxyWidgets": [["1", "2: steps"], ["1", "seed"]]}
    inner = found(node(3, "O", 41, 17, thing=(1, 0), properties=listed), mixing(), outer)
    assert (inner["3:1:2"]["steps"], inner["3:1:2"]["seed"]) == (41, 17)


def test_a_subgraph_that_hands_an_input_through_is_none() -> None:
    through = subgraph("T", ("thing",), node(1, "Mixer", 1.0, a=(-10, 0)), leaving=[(-10, 0)])
    assert found(node(3, "T", thing=(1, 0)), through)["9"]["value"] == ["1", 0]


@pytest.mark.parametrize(("mode", "value"), [(2, None), (4, ["1", 0])])
def test_a_muted_or_bypassed_instance_is_not_opened(mode: int, value: Any) -> None:
    inner = found(instance(mode=mode))
    assert inner.keys() == {"1", "9"}
    assert inner["9"].get("value") == value


def test_a_subgraph_that_holds_itself_is_refused() -> None:
    itself = subgraph("S", ("thing",), node(1, "T", thing=(-10, 0)))
    other = subgraph("T", ("thing",), node(1, "S", thing=(-10, 0)))
    with pytest.raises(WorkflowError, match="holds itself"):
        found(instance(), itself, other)


def test_subgraphs_that_double_at_each_level_are_refused_in_time() -> None:
    levels = [subgraph(f"L{i}", (), node(1, f"L{i + 1}"), node(2, f"L{i + 1}")) for i in range(60)]
    with pytest.raises(WorkflowError, match=f"more than {MAX_NODES}"):
        found(node(3, "L0"), *levels)


# ---------------------------------------------------------------- group nodes


def grouped(**config: Any) -> Json:
    """A reroute, a maker and two mixers; the last one's output is used outside, its amount is an input."""
    return {
        "nodes": [
            node(0, "Reroute", outs=("*",), **{"": None}) | {"index": 0},
            node(0, "Maker", 5, "fixed", 30, False, outs=("THING", "OTHER")),
            node(0, "Mixer", 0.5, a=None, b=None),
            node(0, "Mixer", 0.6, a=None, b=None, widget_amount=None),
        ],
        "links": [
            [0, 0, 2, 0, 11, "THING"],
            [1, 0, 2, 1, 12, "THING"],
            [2, 0, 3, 0, 13, "THING"],
            [None, 0, 3, 1, 4, "X"],
        ],
        "external": [[3, 0, "THING"]],
        "config": config,
    }


def opened(made: Json, **config: Any) -> dict[str, Json]:
    graph = drawn(node(1, "Maker", 1, "fixed", 2, False), made, node(9, "Saver", "p", value=(5, 0)))
    return inputs_of(graph | {"extra": {"groupNodes": {"mine": grouped(**config)}}})


@pytest.mark.parametrize("kind", ["workflow/mine", "workflow>mine"])
def test_a_group_node_becomes_its_nodes(kind: str) -> None:
    values = (6, "randomize", 31, True, 0.7, 0.8)
    made = node(5, kind, *values, outs=("OTHER", "THING"), reroute=(1, 0), b=(1, 1), widget_amount=(1, 1))
    graph = opened(made)
    assert graph["5:1"] == {"seed": 6, "steps": 31, "fine": True}
    assert graph["5:2"] == {"amount": 0.7, "a": ["1", 0], "b": ["5:1", 0]}
    assert graph["5:3"] == {"amount": ["1", 1], "a": ["5:2", 0], "b": ["1", 1]}
    assert graph["9"]["value"] == ["5:1", 1], "outputs that are used within are not shown"


def test_outputs_of_a_group_that_are_used_within_and_outside_are_shown() -> None:
    made = node(5, "workflow>mine", outs=("THING", "THING"), reroute=(1, 0), b=None)
    graph = drawn(node(1, "Maker", 1, "fixed", 2, False), made, node(9, "Saver", "p", value=(5, 1)))
    both = grouped() | {"external": [[2, 0, "THING"], [3, 0, "THING"]]}
    assert inputs_of(graph | {"extra": {"groupNodes": {"mine": both}}})["9"]["value"] == ["5:2", 0]


def test_a_group_node_shows_what_it_was_told_to() -> None:
    made = node(5, "workflow>mine", outs=("THING", "THING"), reroute=(1, 0), b=None)
    told = {
        "1": {"output": {"0": {"visible": False}, "1": {"visible": False}}},
        "2": {"output": {"0": {"visible": True}}},
    }
    assert opened(made, **told)["9"]["value"] == ["5:2", 0]


def test_large_groups_many_times_are_refused_in_time() -> None:
    large = {"nodes": [{"type": "Mixer"}] * 20_000}
    graph = drawn(*(node(i, "workflow>large") for i in range(20_000)))
    with pytest.raises(WorkflowError, match="more than"):
        flattened(graph | {"extra": {"groupNodes": {"large": large}}}, CLASSES)


def test_a_muted_group_node_mutes_its_nodes() -> None:
    assert opened(node(5, "workflow>mine", mode=2, reroute=(1, 0))).keys() == {"1", "9"}


@pytest.mark.parametrize(
    "definition",
    [
        {},
        {"nodes": 5, "links": 5},
        {"nodes": [5, None, {"type": 5}], "links": [[9, 9, 9, 9], 5, [0]], "external": [5, [1]]},
    ],
)
def test_a_damaged_definition_of_a_group_loses_its_nodes_only(definition: Json) -> None:
    graph = drawn(node(5, "workflow>mine", reroute=None)) | {"extra": {"groupNodes": {"mine": definition}}}
    assert flattened(graph, CLASSES).nodes == {}
