"""Whatever stands in a file: a workflow or a list of problems, in bounded time."""

import contextlib
import copy
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.editor import flattened
from engine.problems import WorkflowError
from tests.engine.editor.drawing import CLASSES, Json, drawn, node, subgraph, with_subgraphs

VALUES = (
    None,
    True,
    -1,
    0,
    10**30,
    1.5,
    "",
    "S",
    "-10",
    "Reroute",
    "SetNode",
    [],
    [0],
    [[]],
    {},
    {"a": 1},
    4,
    2,
)


def whole() -> Json:
    """A workflow with everything in it."""
    inner = node(1, "Mixer", 0.5, a=(-10, 0), widget_amount=(-10, 1))
    graph = drawn(
        node(1, "Maker", 7, "fixed", 20, False, outs=("THING", "OTHER")),
        node(2, "SetNode", "x", a=(1, 0)),
        node(3, "GetNode", "x"),
        node(4, "Mixer", 1.0, a=(3, 0), b=(1, 0), mode=4),
        node(5, "S", 0.3, thing=(4, 0), properties={"proxyWidgets": [["-1", "amount"]]}),
        node(6, "workflow>mine", 1, a=(5, 0)),
        node(7, "Anything Everywhere", a=(6, 0)),
        node(8, "Saver", "%Maker.seed%", value=(6, 0), properties={"Node name for S&R": "Maker"}),
        node(9, "Text", "{a|b}", "x"),
    )
    group = {
        "nodes": [node(0, "Mixer", 1.0, a=None)],
        "links": [[None, 0, 0, 0, 1, "X"]],
        "external": [[0, 0, "X"]],
        "config": {"0": {"input": {"a": {"visible": True}}}},
    }
    broadcast = {"downstream": 4, "downstream_slot": 1, "upstream": "1", "upstream_slot": 0}
    extra = {"groupNodes": {"mine": group}, "ue_links": [broadcast]}
    return with_subgraphs(graph | {"extra": extra}, subgraph("S", ("thing", "amount"), inner))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values within a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, each in items for found in places(each, (*path, key)))]


def changed(value: Json, path: tuple[Any, ...], new: Any) -> Json:
    value = copy.deepcopy(value)
    at: Any = value
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = new
    return value


def test_any_one_value_may_be_another() -> None:
    graph = whole()
    paths = [path for path in places(graph) if path]
    for path in paths:
        for new in VALUES:
            with contextlib.suppress(WorkflowError):
                assert isinstance(flattened(changed(graph, path, new), CLASSES).nodes, dict)


@pytest.mark.slow
def test_any_values_may_be_exchanged() -> None:
    chance = random.Random(0)
    for _ in range(1_500):
        graph = whole()
        for _ in range(chance.randint(2, 8)):
            paths = [path for path in places(graph) if path]
            one, other = chance.choice(paths), chance.choice(paths)
            value: Any = graph
            for key in other:
                value = value[key]
            graph = changed(graph, one, copy.deepcopy(value))
        with contextlib.suppress(WorkflowError):
            flattened(graph, CLASSES)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {"nodes": st.lists(JSON, max_size=4)}, optional={"links": JSON, "extra": JSON, "definitions": JSON}
    )
)
def test_any_json_is_a_workflow_or_a_list_of_problems(value: Json) -> None:
    try:
        json.dumps(flattened(value, CLASSES).nodes)
    except WorkflowError as error:
        assert error.problems  # noqa: PT017  (either outcome will do)
