"""Nodes that running nodes add: loops by tail recursion, ids, cycles, outputs."""

from typing import Any

import pytest
from toys import GROW, World, n

from engine import events
from engine.steps import Subgraph


def grown(world: World, nodes: Any, *results: Any, **more: Any) -> Any:
    """Run a node that asks for these nodes."""
    GROW["it"] = Subgraph(nodes, results)
    return world.run({"g": n("Grow", what="it"), "s": n("Show", value=["g", 0]), **more})


def test_added_nodes_run_and_give_their_values(world: World) -> None:
    run = grown(world, {"x": n("Value", value=4), "y": n("Add", a=["x", 0], plus=1)}, ["y", 0], 7)
    assert run.status == "success"
    assert world.texts() == ["[[5], [7]]"]
    assert {e.node_id: e.display_id for e in world.told(events.NodeStarted)}["y"] == "g"


def test_only_added_nodes_that_are_wanted_run(world: World) -> None:
    run = grown(world, {"x": n("Value", value=4), "y": n("Fail")}, ["x", 0])
    assert run.status == "success"
    assert "y" not in run.executed


def test_added_nodes_may_link_to_nodes_of_the_workflow(world: World) -> None:
    run = grown(
        world,
        {"x": n("Add", a=["v", 0], plus=1)},
        ["x", 0],
        v=n("Value", value=1),
        w=n("Show", value=["v", 0]),
    )
    assert run.status == "success"
    assert "[[2]]" in world.texts()


def test_added_output_nodes_run_though_nobody_wants_them(world: World) -> None:
    run = grown(world, {"x": n("Value", value=4), "y": n("Save", value=["x", 0])}, 1)
    assert [o["node"] for o in run.outputs] == ["g"]


@pytest.mark.parametrize("count", [0, 3, 120])
def test_a_loop_is_tail_recursion(world: World, count: int) -> None:
    graph = {
        "n": n("Value", value=count),
        "z": n("Value", value=0),
        "c": n("Countdown", n=["n", 0], so_far=["z", 0]),
    }
    run = world.run(graph | {"s": n("Show", value=["c", 0])})
    assert run.status == "success", run.failures
    assert world.texts() == [str(count * (count + 1) // 2)]


def test_a_second_run_of_a_loop_executes_nothing(kept: World) -> None:
    graph = {"n": n("Value", value=5), "c": n("Countdown", n=["n", 0], so_far=["n", 0])}
    graph["s"] = n("Show", value=["c", 0])
    kept.run(graph)
    assert kept.run(graph).executed == ()


@pytest.mark.parametrize(
    ("nodes", "result", "message"),
    [
        ({"g": n("Value", value=1)}, 1, "taken"),
        ({"x": n("Nope")}, 1, "unknown class"),
        ({"x": {"inputs": {}}}, 1, "unknown class"),
        ({"x": n("Add", a=["x", 0])}, ["x", 0], "Dependency cycle detected"),
        ({"x": n("Add", a=["y", 0]), "y": n("Add", a=["x", 0])}, ["x", 0], "Dependency cycle detected"),
        ({"x": n("Add", a=["s", 0])}, ["x", 0], "no such output"),
        ({"x": n("Add", a=["g", 0])}, ["x", 0], "Dependency cycle detected"),
        ({"x": n("Add", a=["nowhere", 0])}, ["x", 0], "not there"),
        ({"x": n("Value", value=1)}, ["x", 3], "no such output"),
        ({"x": n("Value", value=1)}, ["nowhere", 0], "not there"),
        ({"x": n("Add", a=["x"])}, 1, "a link is"),
        ({}, ["g", 0], "Dependency cycle detected"),
    ],
)
def test_what_cannot_be_added_is_the_failure_of_the_node_that_asks(
    world: World, nodes: Any, result: Any, message: str
) -> None:
    run = grown(world, nodes, result, v=n("Value", value=1), w=n("Show", value=["v", 0]))
    assert run.status == "error"
    assert [f.node_id for f in run.failures] == ["g"]
    assert message in run.failures[0].message
    assert world.texts() == ["1"], "other branches go on"


def test_the_failure_of_an_added_node_is_located_at_the_node_of_the_workflow(world: World) -> None:
    run = grown(world, {"x": n("Fail")}, ["x", 0])
    assert [(f.node_id, f.class_type) for f in run.failures] == [("g", "Fail")]
    assert {e.node_id for e in world.told(events.NodeSkipped)} == {"g", "s"}


def test_an_added_node_that_cannot_be_called_fails_alone(world: World) -> None:
    run = grown(world, {"x": {"class_type": "Countdown", "inputs": {}}}, ["x", 0])
    assert [f.exception_type for f in run.failures] == ["builtins.TypeError"]
