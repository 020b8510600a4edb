"""Links drawn through what only an editor has, and the nodes that are left, by the editor's rules."""

from typing import Any

import pytest

from engine.editor import flattened
from engine.editor.saved import MAX_NODES
from engine.problems import WorkflowError
from tests.engine.editor.drawing import CLASSES, Json, drawn, inputs_of, node

MAKER = node(1, "Maker", 7, "fixed", 20, False, outs=("THING", "OTHER"))


def maker() -> Json:
    return node(1, "Maker", 7, "fixed", 20, False, outs=("THING", "OTHER"))


def test_nodes_keep_id_class_title_values_and_links() -> None:
    graph = drawn(
        maker(), node(2, "Mixer", 0.5, a=(1, 0), b=None, title="Mix"), node(3, "Saver", "p", value=(2, 0))
    )
    assert flattened(graph, CLASSES).nodes == {
        "1": {"class_type": "Maker", "inputs": {"seed": 7, "steps": 20, "fine": False}},
        "2": {"class_type": "Mixer", "inputs": {"amount": 0.5, "a": ["1", 0]}, "_meta": {"title": "Mix"}},
        "3": {"class_type": "Saver", "inputs": {"filename_prefix": "p", "value": ["2", 0]}},
    }


def test_nodes_come_after_what_they_need_and_those_in_a_circle_last() -> None:
    graph = drawn(
        node(9, "Saver", "p", value=(2, 0)),
        node(2, "Mixer", 0.5, a=(1, 0), b=(1, 1)),
        node(7, "Mixer", 0.5, a=(8, 0)),
        node(8, "Mixer", 0.5, a=(7, 0)),
        maker(),
    )
    assert list(inputs_of(graph)) == ["1", "2", "9", "7", "8"]


def test_links_may_be_objects_and_entries_null_or_remarks() -> None:
    graph = drawn(maker(), node(2, "Saver", "p", value=(1, 0)), objects=True)
    graph["links"] += [None, ["_comment", "by hand"]]
    graph["nodes"] += [None, {"_comment": "by hand"}]
    assert inputs_of(graph)["2"]["value"] == ["1", 0]


def test_notes_reroutes_and_primitives_are_only_drawn() -> None:
    graph = drawn(
        maker(),
        node(2, "Reroute", outs=("*",), **{"": (1, 0)}),
        node(3, "Reroute (rgthree)", outs=("*",), **{"": (2, 0)}),
        node(4, "PrimitiveNode", 0.25, "fixed", outs=("FLOAT",)),
        node(5, "Mixer", 1.0, a=(3, 0), widget_amount=(4, 0)),
        node(6, "Note", "a remark"),
        node(7, "MarkdownNote", "another"),
    )
    assert inputs_of(graph) == {
        "1": {"seed": 7, "steps": 20, "fine": False},
        "5": {"amount": 0.25, "a": ["1", 0]},
    }


def test_a_linked_widget_takes_the_link_and_else_its_value() -> None:
    graph = drawn(
        maker(),
        node(2, "Mixer", 1.0, a=(1, 0), widget_amount=(1, 1)),
        node(3, "Mixer", 2.0, widget_amount=None),
    )
    assert inputs_of(graph)["2"]["amount"] == ["1", 1]
    assert inputs_of(graph)["3"]["amount"] == 2.0


def test_muted_nodes_leave_nothing_and_a_widget_its_value() -> None:
    graph = drawn(
        maker() | {"mode": 2},
        node(2, "Mixer", 3.0, a=(1, 0), widget_amount=(1, 1)),
        node(3, "Saver", value=(1, 0), mode=2),
    )
    assert inputs_of(graph) == {"2": {"amount": 3.0}}


@pytest.mark.parametrize("mode", [0, 1, 3])
def test_other_modes_run(mode: int) -> None:
    assert "1" in inputs_of(drawn(maker() | {"mode": mode}))


def bypassed(types: Json, outs: tuple[str, ...], slot: int, wanted: str) -> Any:
    """What comes through a bypassed node whose inputs p, q and r are fed by outputs 0, 1 and 2 of node 1."""
    source = node(1, "Source", outs=("A", "B", "C"))
    fed = {name: (1, place) for place, name in enumerate(types)}
    hidden = node(2, "Through", outs=outs, mode=4, types=types, **fed)
    return inputs_of(drawn(source, hidden, node(3, "Sink", x=(2, slot), types={"x": wanted})))["3"].get("x")


@pytest.mark.parametrize(
    ("types", "outs", "slot", "wanted", "output"),
    [
        ({"p": "A", "q": "B"}, ("B",), 0, "B", 1),  # the first of that type
        ({"p": "A", "q": "B", "r": "B"}, ("A", "A", "B"), 2, "B", 2),  # the opposite one fits
        ({"p": "A", "q": "B"}, ("A",), 0, "*", 0),  # anything: the opposite one
        ({"p": "A"}, ("A", "A"), 1, "*", 0),  # or the first
        ({"p": "*"}, ("B",), 0, "B", 0),
        ({"p": "X,b"}, ("B",), 0, "B", 0),  # lists, in any case
        ({"p": "A"}, ("B",), 0, "B", None),
        ({}, ("B",), 0, "B", None),
    ],
)
def test_a_bypassed_node_hands_on_what_fits(
    types: Json, outs: tuple[str, ...], slot: int, wanted: str, output: int | None
) -> None:
    assert bypassed(types, outs, slot, wanted) == (None if output is None else ["1", output])


def test_what_is_set_under_a_name_is_got_elsewhere() -> None:
    graph = drawn(
        maker(),
        node(2, "SetNode", "model", outs=("*",), THING=(1, 1)),
        node(3, "GetNode", "model"),
        node(4, "GetNode", "nobody set this"),
        node(5, "Mixer", 1.0, a=(3, 0), b=(4, 0)),
        node(6, "Saver", "p", value=(2, 0)),
    )
    found = inputs_of(graph)
    assert (found["5"], found["6"]["value"]) == ({"amount": 1.0, "a": ["1", 1]}, ["1", 1])


def test_links_that_a_pack_lists_or_would_find_are_there() -> None:
    def graph() -> Json:
        sender = node(2, "Anything Everywhere", outs=(), types={"THING": "*"}, THING=(1, 0))
        return drawn(
            maker(), sender, node(3, "Mixer", 1.0, a=None, b=None), node(4, "Saver", "p", value=(3, 0))
        )

    assert inputs_of(graph())["3"] == {"amount": 1.0, "a": ["1", 0], "b": ["1", 0]}
    assert inputs_of(graph())["4"]["value"] == ["3", 0], "what is linked stays so"
    listed = [
        {"downstream": 3, "downstream_slot": 1, "upstream": "1", "upstream_slot": 1},
        {"downstream": 99},
        5,
    ]
    assert inputs_of(graph() | {"extra": {"ue_links": listed}})["3"] == {"amount": 1.0, "b": ["1", 1]}


def test_lists_as_values_are_told_from_links() -> None:
    graph = drawn(node(1, "Unknown", [1, 2], {"x": [3]}, widget_curve=None, widget_more=None))
    assert inputs_of(graph) == {"1": {"curve": {"__value__": [1, 2]}, "more": {"x": [3]}}}


def test_links_to_nodes_that_are_not_there_are_left_out() -> None:
    graph = drawn(node(2, "Saver", "p", value=(99, 0)))
    assert inputs_of(graph) == {"2": {"filename_prefix": "p"}}
    graph["nodes"][0]["inputs"][0]["link"] = 12345
    assert inputs_of(graph) == {"2": {"filename_prefix": "p"}}


def test_links_to_what_is_only_drawn_and_leads_nowhere_are_left_out() -> None:
    graph = drawn(node(1, "Fast Muter (rgthree)"), node(2, "Saver", "p", value=(1, 0)))
    assert inputs_of(graph) == {"2": {"filename_prefix": "p"}}


def test_reroutes_in_a_circle_bring_nothing() -> None:
    graph = drawn(
        node(1, "Reroute", **{"": (2, 0)}),
        node(2, "Reroute", **{"": (1, 0)}),
        node(3, "Saver", "p", value=(1, 0)),
    )
    assert inputs_of(graph) == {"3": {"filename_prefix": "p"}}


def test_nodes_written_by_hand_without_sockets_are_linked_by_number() -> None:
    bare = {"id": 2, "type": "Mixer", "widgets_values": [0.5]}
    graph = {
        "nodes": [maker(), bare],
        "links": [[1, 1, 1, 2, 1, "THING"], [2, 1, 0, 2, 0, "THING"], [3, 1, 0, 2, 9, "X"]],
    }
    assert inputs_of(graph)["2"] == {"amount": 0.5, "a": ["1", 0], "b": ["1", 1]}


def test_widgets_that_a_class_got_since_have_defaults_beside_the_inputs() -> None:
    flat = flattened(
        drawn(node(1, "Maker", 7, "fixed"), node(2, "Loader", "a.png"), node(3, "Saver")), CLASSES
    )
    assert flat.nodes["1"]["inputs"] == {"seed": 7}
    assert flat.missing == {"1": {"steps": 20, "fine": False}, "2": {"channel": "red"}}


def test_a_value_of_an_unknown_class_without_a_name_is_told() -> None:
    graph = drawn(node(1, "Unknown", 1, 2), node(2, "Unknown"), node(3, "Maker", 1, "fixed", 2, True))
    flat = flattened(graph, CLASSES)
    assert (flat.unnamed, flat.nodes["1"]["inputs"]) == (("1",), {})


def test_all_that_is_no_node_or_link_is_told_at_once() -> None:
    broken = {"nodes": [5, {"id": 1}, {"type": "A"}, maker()], "links": [[1, 2], "x", [1, {}, 0, 2, 0]]}
    with pytest.raises(WorkflowError) as caught:
        flattened(broken, CLASSES, "file.json")
    assert len(caught.value.problems) == 6
    assert caught.value.format == "ui"
    assert all(p.message.startswith("file.json: entry ") and p.hint for p in caught.value.problems)


def test_too_many_nodes_are_refused() -> None:
    many = {"nodes": [{"id": i, "type": "A"} for i in range(MAX_NODES + 1)], "links": []}
    with pytest.raises(WorkflowError, match="more than"):
        flattened(many, CLASSES)


def test_a_long_row_of_reroutes_is_followed_once() -> None:
    rows = [node(i, "Reroute", **{"": (i - 1, 0)}) for i in range(2, 10_000)]
    ends = [node(20_000 + i, "Saver", "p", value=(9_999, 0)) for i in range(10_000)]
    found = inputs_of(drawn(maker(), *rows, *ends))  # 10^8 steps otherwise
    assert all(found[str(20_000 + i)]["value"] == ["1", 0] for i in range(10_000))
