"""Nodes of packs that give further nodes to run: graphs, loops, caching, errors."""

import pytest
from packworld import World, n

from engine import events


def test_added_nodes_run_and_their_values_come_in_place_of_links(world: World) -> None:
    graph = {"5": n("Adds", a=4, how=""), "6": n("Show", value=["5", 0]), "7": n("Show", value=["5", 1])}
    world.run(graph)
    assert sorted(world.texts()) == ["100", "14", "expanded"]
    assert sorted(world.started()) == ["5", "5.0.0.1", "5.0.0.2", "5.0.1.named", "6", "7"]
    assert {e.display_id for e in world.told(events.NodeStarted)} == {"5", "6", "7"}
    world.run(graph)
    assert world.started() == []
    world.run({"9": n("Adds", a=5, how=""), "6": n("Show", value=["9", 0])})
    assert "9.0.0.1" not in world.started(), "what did not change is not run again"


def test_calls_that_add_nodes_and_calls_that_do_not_keep_their_order(world: World) -> None:
    graph = {
        "1": n("MakeList", v0=1, v1=2, v2=3, v3=4),
        "2": n("Adds", a=["1", 0], how="mixed"),
        "3": n("Show", value=["2", 0]),
        "4": n("Show", value=["2", 1]),
    }
    world.run(graph)
    ui = {e.node_id: e.ui for e in world.told(events.NodeFinished)}
    assert ui["3"]["text"] == ["1", "12", "3", "14"]
    assert ui["4"]["text"] == ["1", "100", "1", "100"]


def test_added_nodes_may_be_given_anything(world: World) -> None:
    world.run({"1": n("Given"), "2": n("Show", value=["1", 0])})
    assert world.texts() == ["[1, 2, 3]/{'__value__': (4, 5)}"]


def test_a_blocker_in_place_of_the_result_blocks_all_outputs(world: World) -> None:
    run = world.run({"1": n("Adds", a=1, how="blocked"), "2": n("Show", value=["1", 0])})
    assert (run.status, world.texts()) == ("success", [])
    assert [e.message for e in world.told(events.NodeSkipped)] == ["no"]


def test_a_cycle_among_added_nodes_is_the_fault_of_the_node_that_added_them(world: World) -> None:
    run = world.run({"1": n("Adds", a=1, how="cycle"), "2": n("Show", value=["1", 0])})
    assert [(f.node_id, f.message) for f in run.failures] == [("1", "Dependency cycle detected")]


@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_loop_copies_the_nodes_between_its_ends(world: World, times: int) -> None:
    graph = {
        "i": n("Num", value=1),
        "o": n("LoopOpen", value=["i", 0], left=times),
        "b": n("Sum", a=["o", 1], more=["i", 0]),
        "c": n("LoopClose", flow=["o", 0], value=["b", 0], left=times),
        "s": n("Show", value=["c", 0]),
    }
    world.run(graph)
    assert world.texts() == [str(1 + times)]
    display = {e.node_id: e.display_id for e in world.told(events.NodeStarted)}
    assert set(display.values()) == {"i", "o", "b", "c", "s"}
    if times > 1:
        assert display["c.0.0.b"] == "b"
        assert display["c.0.0.Recurse"] == "c"


def test_a_loop_of_many_turns_ends(world: World) -> None:
    times = 120
    graph = {
        "i": n("Num", value=1),
        "o": n("LoopOpen", value=["i", 0], left=times),
        "b": n("Sum", a=["o", 1], more=["i", 0]),
        "c": n("LoopClose", flow=["o", 0], value=["b", 0], left=times),
        "s": n("Show", value=["c", 0]),
    }
    world.run(graph)
    assert world.texts() == [str(1 + times)]
