"""What editors fill in when a workflow is run: values of other widgets in file names, variants of prompts."""

import pytest

from engine.editor.texts import chosen, filled
from tests.engine.editor.drawing import drawn, inputs_of, node


def test_a_file_name_may_hold_values_of_other_widgets() -> None:
    values = {"Sampler": {"seed": 7, "name": "a/b:c"}}
    assert filled("%Sampler.seed%_%Sampler.name%_%Nobody.x%_%year%", values) == "7_a_b_c_%Nobody.x%_%year%"


def test_nodes_are_found_by_their_search_name_then_by_title() -> None:
    graph = drawn(
        node(1, "Maker", 7, "fixed", 20, True, title="T", properties={"Node name for S&R": "S"}),
        node(2, "Saver", "%S.seed%_%T.steps%_%date:yyyy%", value=(1, 0)),
    )
    assert inputs_of(graph)["2"]["filename_prefix"] == "7_20_%date:yyyy%"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a house", {"a house"}),
        ("a {red|blue} house", {"a red house", "a blue house"}),
        ("{a {b|c}|d}", {"a b", "a c", "d"}),
        ("a /* not\nthis */ house // nor this\nhere", {"a  house \nhere"}),
        (r"\{a\|b\} {x}", {"{a|b} x"}),
        ("a | b", {"a | b"}),
        ("{a|b", {"{a|b"}),
        ("a} b", {"a} b"}),
        (r"(\(x\):1.2)", {r"(\(x\):1.2)"}),
    ],
)
def test_one_of_each_variants_is_chosen(text: str, found: set[str]) -> None:
    assert {chosen(text, str(seed)) for seed in range(40)} == found


def test_the_same_workflow_gives_the_same_variant() -> None:
    graph = drawn(
        node(1, "Text", "{a|b|c|d}{e|f|g|h}", "{stays|as it is}"), node(2, "Text", "{a|b|c|d}{e|f|g|h}", "")
    )
    assert inputs_of(graph) == inputs_of(graph)
    assert inputs_of(graph)["1"]["plain"] == "{stays|as it is}"
    assert "{" not in inputs_of(graph)["1"]["text"]
