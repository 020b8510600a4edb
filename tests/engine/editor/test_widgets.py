"""Names for the widget values that editors save as a bare list."""

from typing import Any

import pytest

from tests.engine.editor.drawing import Json, drawn, inputs_of, node

MAKER = {"seed": 7, "steps": 20, "fine": True}


@pytest.mark.parametrize(
    ("type", "values", "named"),
    [
        ("Maker", [7, "randomize", 20, True], MAKER),
        ("Maker", [7, True, 20, True], MAKER),  # old files: a boolean
        ("Maker", [7, 20, True], MAKER),  # very old ones: nothing
        ("Maker", [7, "fixed", 20], {"seed": 7, "steps": 20}),  # before the class had `fine`
        ("Maker", [7, "fixed", 20, True, None, "a preview"], MAKER),
        ("Maker", [], {}),
        ("Maker", {"seed": 7, "steps": 20, "fine": True, "videopreview": {}}, MAKER | {"videopreview": {}}),
        ("Loader", ["a.png", "alpha", "image"], {"image": "a.png", "channel": "alpha"}),
        ("Loader", ["a.png", "image", "alpha"], {"image": "a.png", "channel": "alpha"}),
        ("Loader", ["a.png", "alpha"], {"image": "a.png", "channel": "alpha"}),
        ("Loader", ["a.png", "image"], {"image": "a.png", "channel": "image"}),
        ("Flagged", [7, True], {"seed": 7, "fine": True}),
        ("Flagged", [7, False, True], {"seed": 7, "fine": True}),
    ],
)
def test_values_have_names(type: str, values: Any, named: Json) -> None:
    graph = drawn(node(1, type) | {"widgets_values": values})
    assert inputs_of(graph)["1"] == named


def test_names_in_the_file_go_before_their_order() -> None:
    graph = drawn(
        node(1, "Maker", 1, 2, 3) | {"widgets_values_named": MAKER | {"control_after_generate": "fixed"}}
    )
    assert inputs_of(graph)["1"] == MAKER


def test_of_an_unknown_class_the_sockets_of_widgets_tell_the_names() -> None:
    graph = drawn(node(1, "Unknown", 5, "fixed", "x", widget_seed=None, widget_name=None))
    assert inputs_of(graph)["1"] == {"seed": 5, "name": "x"}
