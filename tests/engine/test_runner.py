"""Runs: order, twins, lists, lazy inputs, blockers, errors, cancellation; whatever the lanes."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import World, n

from engine import events
from engine.runner import Run

ADDERS = ("Add", "AddOnDevice", "AddInSteps", "AddAsync")


@st.composite
def dags(draw: st.DrawFn, size: int = 14) -> dict[str, Any]:
    """A graph of adders on random lanes, with links to earlier nodes, and outputs anywhere."""
    graph: dict[str, Any] = {}
    for i in range(draw(st.integers(1, size))):
        inputs: dict[str, Any] = {"plus": draw(st.integers(0, 3))}
        for port in "abc":
            if i and draw(st.booleans()):
                inputs[port] = [str(draw(st.integers(0, i - 1))), 0]
        graph[str(i)] = n(draw(st.sampled_from(ADDERS)), **inputs)
    for i in draw(st.sets(st.sampled_from(sorted(graph)), min_size=1)):
        graph[f"show {i}"] = n("Show", value=[i, 0])
    order = draw(st.permutations(sorted(graph)))
    return {id: graph[id] for id in order}


def expected(graph: dict[str, Any]) -> dict[str, int]:
    """The value of each adder, computed plainly."""
    values: dict[str, int] = {}
    for id in sorted((i for i in graph if not i.startswith("show")), key=int):
        inputs = graph[id]["inputs"]
        values[id] = inputs["plus"] + sum(values[inputs[p][0]] for p in "abc" if p in inputs)
    return values


def needed(graph: dict[str, Any]) -> set[str]:
    stack, found = [i for i in graph if i.startswith("show")], set()
    while stack:
        id = stack.pop()
        if id not in found:
            found.add(id)
            stack += [v[0] for v in graph[id]["inputs"].values() if isinstance(v, list)]
    return found


@settings(max_examples=60, deadline=None)
@given(dags())
def test_every_needed_node_gives_its_value_once_and_after_its_sources(graph: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        plan = world.plan(graph)
        run = world.run(graph)
        world.close()
    values, wanted = expected(graph), needed(graph)
    assert run.status == "success"
    assert sorted(world.texts()) == sorted(str(values[i.removeprefix("show ")]) for i in graph if "show" in i)
    assert len(run.executed) == len(set(run.executed))
    assert {i for i in graph if "show" in i} <= {*run.executed, *run.cached} <= wanted
    assert set(run.executed) == set(plan.runs), "what was planned is what ran"
    assert len({plan.keys[id] for id in run.executed}) == len(run.executed), "no key ran twice"
    ended = [e.node_id for e in world.events if isinstance(e, events.NodeFinished | events.NodeCached)]
    started = {e.node_id: i for i, e in enumerate(world.events) if isinstance(e, events.NodeStarted)}
    at = {
        e.node_id: i
        for i, e in enumerate(world.events)
        if isinstance(e, events.NodeFinished | events.NodeCached)
    }
    assert len(ended) == len(set(ended))
    for id in started:
        sources = [v[0] for v in graph[id]["inputs"].values() if isinstance(v, list)]
        assert all(at[s] < started[id] for s in sources)


@settings(max_examples=25, deadline=None)
@given(dags(), dags(), st.randoms())
def test_a_cached_run_equals_a_fresh_one(first: dict[str, Any], second: dict[str, Any], random: Any) -> None:
    """Any cache state, left by another run and thinned out at random, gives the same values."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        world, fresh = World(Path(folder), disk=True), World(Path(other))
        world.run(first)
        blobs = sorted((Path(folder) / "cache" / "blobs").glob("*/*"))
        for blob in random.sample(blobs, len(blobs) // 2):
            blob.unlink()
        run, alone = world.run(second), fresh.run(second)
        assert sorted(world.texts()) == sorted(fresh.texts())
        assert run.status == alone.status == "success"
        again = world.run(second)
        assert again.executed == (), "a second run executes nothing"
        assert sorted(world.texts()) == sorted(fresh.texts())
        world.close()
        fresh.close()


def chain(length: int, kind: str = "Add") -> dict[str, Any]:
    graph = {"0": n("Value", value=1)}
    graph |= {str(i): n(kind, a=[str(i - 1), 0], plus=1) for i in range(1, length)}
    return graph | {"end": n("Show", value=[str(length - 1), 0])}


def test_a_chain_of_ten_thousand_nodes_runs(tmp_path: Path) -> None:
    world = World(tmp_path, memory=True, disk=True, worth=0.02)
    graph = chain(10_000)
    assert world.run(graph).status == "success"
    assert world.texts() == ["10000"]
    again = world.run(graph)
    assert (again.executed, again.cached) == ((), ("end",))
    world.close()


def test_a_node_with_ten_thousand_consumers_runs_once(world: World) -> None:
    graph = {"v": n("Value", value=1)} | {str(i): n("Add", a=["v", 0], plus=i) for i in range(2000)}
    graph |= {f"s{i}": n("Show", value=[str(i), 0]) for i in range(2000)}
    assert world.run(graph).status == "success"
    assert world.log.ran.count(("Value", 1)) == 1


def test_twins_run_once_even_after_the_first_result_was_dropped(world: World) -> None:
    graph = {
        "a1": n("Value", value=5), "b1": n("Add", a=["a1", 0], plus=1), "c1": n("Show", value=["b1", 0]),
        "a2": n("Value", value=5), "b2": n("Add", a=["a2", 0], plus=2), "c2": n("Show", value=["b2", 0]),
        "c3": n("Show", value=["b2", 0]),
    }  # fmt: skip
    run = world.run(graph)
    assert world.log.ran.count(("Value", 5)) == 1
    assert sorted(world.texts()) == ["6", "7", "7"]
    assert len(run.executed) + len(run.cached) == 7


def test_twins_of_a_failed_node_are_left_out_with_it(world: World) -> None:
    graph = {"1": n("Fail"), "2": n("Fail"), "3": n("Show", value=["1", 0]), "4": n("Show", value=["2", 0])}
    run = world.run(graph)
    assert run.status == "error"
    assert world.log.ran == [("Fail", None)]
    assert len(run.failures) == 1


def test_a_served_node_does_not_take_inputs_away_from_one_that_runs(kept: World) -> None:
    first = {"v": n("Volatile"), "l": n("Value", value=3), "a": n("Add", a=["l", 0])}
    first["s"] = n("Show", value=["a", 0])
    kept.run(first)
    for plus in range(1, 8):
        more = {**first, "s2": n("Show", value=["b", 0]), "s3": n("Show", value=["c", 0])}
        more["b"] = n("AddInSteps", a=["l", 0], b=["a", 0], plus=plus)
        more["c"] = n("Add", a=["l", 0], b=["b", 0], plus=plus)
        assert kept.run(more).status == "success"


def test_only_what_the_chosen_targets_need_runs(world: World) -> None:
    graph = {"1": n("Value", value=1), "2": n("Value", value=2), "a": n("Show", value=["1", 0])}
    graph["b"] = n("Show", value=["2", 0])
    assert set(world.run(graph, ["b"]).executed) == {"2", "b"}


# ---------------------------------------------------------------- lists


def one(world: World, graph: dict[str, Any]) -> Run:
    run = world.run(graph)
    assert run.status == "success", run.failures
    return run


def test_a_list_is_mapped_over_and_shorter_lists_repeat_their_last(world: World) -> None:
    graph = {"a": n("Range", count=3, start=1), "b": n("Range", count=2, start=10)}
    graph |= {"c": n("Add", a=["a", 0], b=["b", 0]), "d": n("Show", value=["c", 0])}
    one(world, graph)
    assert world.texts() == ["11", "13", "14"]
    assert len(world.told(events.NodeFinished)) == 4, "one node, whatever the number of calls"


def test_a_node_that_takes_lists_is_called_once_with_the_whole_list(world: World) -> None:
    one(world, {"a": n("Range", count=4), "b": n("Total", values=["a", 0]), "c": n("Show", value=["b", 0])})
    assert world.texts() == ["6"]


def test_an_empty_list_is_an_error_where_it_is_mapped_and_a_value_where_lists_are_taken(world: World) -> None:
    graph = {"a": n("Range", count=0), "b": n("Add", a=["a", 0]), "c": n("Show", value=["b", 0])}
    graph |= {"d": n("Total", values=["a", 0]), "e": n("Show", value=["d", 0])}
    run = world.run(graph)
    assert world.texts() == ["0"]
    assert [f.node_id for f in run.failures] == ["b"]
    assert "empty" in run.failures[0].message


def test_two_outputs_go_to_their_own_slots(world: World) -> None:
    graph = {"v": n("Value", value=5), "p": n("Pair", a=["v", 0])}
    graph |= {"lo": n("Show", value=["p", 0]), "hi": n("Show", value=["p", 1])}
    one(world, graph)
    assert sorted(world.texts()) == ["4", "6"]


@pytest.mark.parametrize("kind", ADDERS)
def test_every_lane_maps_lists(world: World, kind: str) -> None:
    one(world, {"a": n("Range", count=5), "b": n(kind, a=["a", 0], plus=1), "c": n("Show", value=["b", 0])})
    assert world.texts() == ["1", "2", "3", "4", "5"]


# ---------------------------------------------------------------- lazy inputs


def lazy_graph(take: list[Any]) -> dict[str, Any]:
    return {
        "y": n("Value", value=1), "n": n("Value", value=2),
        "s": n("Switch", yes=["y", 0], no=["n", 0], take=take), "o": n("Show", value=["s", 0]),
    }  # fmt: skip


def test_a_lazy_input_is_computed_only_if_asked_for(world: World) -> None:
    run = one(world, lazy_graph(["t", 0]) | {"t": n("Value", value=0)})
    assert world.texts() == ["2"]
    assert "y" not in run.executed


def test_list_items_ask_for_different_lazy_inputs(world: World) -> None:
    run = one(world, lazy_graph(["t", 0]) | {"t": n("Range", count=2)})
    assert world.texts() == ["2", "1"]
    assert {"y", "n"} <= set(run.executed)


def test_items_that_wait_for_one_slow_lazy_input_are_no_cycle(world: World) -> None:
    graph = lazy_graph(["t", 0]) | {"t": n("Range", count=2, start=1)}
    graph["y"] = n("AddInSteps", a=["z", 0], plus=1)
    graph["z"] = n("AddAsync", plus=4)
    one(world, graph)
    assert world.texts() == ["5", "5"]


def test_a_lazy_list_arrives_whole_where_lists_are_taken(world: World) -> None:
    one(
        world,
        {"a": n("Range", count=4), "b": n("LazyTotal", values=["a", 0]), "c": n("Show", value=["b", 0])},
    )
    assert world.texts() == ["7"]


def test_more_nodes_may_wait_than_may_be_under_way(world: World) -> None:
    graph: dict[str, Any] = {"0": n("Value", value=1), "t": n("Value", value=1)}
    for i in range(1, 200):
        graph[str(i)] = n("Switch", yes=[str(i - 1), 0], no=[str(i - 1), 0], take=["t", 0])
    one(world, graph | {"o": n("Show", value=["199", 0])})
    assert world.texts() == ["1"]


def test_what_lies_behind_a_failed_lazy_input_is_skipped(world: World) -> None:
    graph = lazy_graph(["t", 0]) | {"t": n("Value", value=1), "y": n("Fail")}
    run = world.run(graph)
    assert [f.class_type for f in run.failures] == ["Fail"]
    assert {e.node_id: e.because for e in world.told(events.NodeSkipped)} == {"s": "y", "o": "y"}


def test_a_cached_source_of_a_lazy_input_is_not_run_again(kept: World) -> None:
    deep = {"d": n("Value", value=9), "e": n("Show", value=["d", 0])}
    kept.run(deep)
    graph = lazy_graph(["t", 0]) | {"t": n("Value", value=1), "y": n("Add", a=["d", 0], plus=1)} | deep
    run = kept.run({k: v for k, v in graph.items() if k != "e"})
    assert "d" not in run.executed
    assert kept.texts() == ["10"]


# ---------------------------------------------------------------- blockers


def test_a_blocker_reports_once_and_silences_what_is_downstream(world: World) -> None:
    graph = {
        "v": n("Value", value=1), "b": n("Block", a=["v", 0], message="not today"), "c": n("Add", a=["b", 0]),
        "d": n("Add", a=["c", 0]), "e": n("Show", value=["d", 0]), "f": n("Show", value=["v", 0]),
    }  # fmt: skip
    run = one(world, graph)
    assert [(e.node_id, e.message) for e in world.told(events.NodeSkipped)] == [("c", "not today")]
    assert world.texts() == ["1"]
    assert set(run.executed) == {"v", "b", "f"}


def test_a_blocked_item_leaves_the_others_alone(world: World) -> None:
    graph = {"a": n("Range", count=3), "b": n("Block", a=["a", 0]), "c": n("Show", value=["b", 0])}
    one(world, graph)
    assert world.texts() == ["0", "2"]


def test_a_blocked_item_blocks_a_node_that_takes_the_list(world: World) -> None:
    graph = {"a": n("Range", count=3), "b": n("Block", a=["a", 0]), "c": n("Show2", values=["b", 0])}
    one(world, graph)
    assert world.texts() == []


def test_a_blocked_lazy_input_blocks_the_node_that_asks(world: World) -> None:
    graph = lazy_graph(["t", 0]) | {"t": n("Value", value=1), "w": n("Value", value=1)}
    graph["y"] = n("Block", a=["w", 0], message="no entry")
    one(world, graph)
    assert world.texts() == []
    assert [(e.node_id, e.message) for e in world.told(events.NodeSkipped)] == [("s", "no entry")]


def test_a_blocker_is_reported_on_the_second_run_too(kept: World) -> None:
    graph = {
        "v": n("Value", value=1),
        "b": n("Block", a=["v", 0], message="no"),
        "c": n("Show", value=["b", 0]),
    }
    for _ in range(2):
        one(kept, graph)
        assert [e.message for e in kept.told(events.NodeSkipped)] == ["no"]


# ---------------------------------------------------------------- async


def test_async_nodes_run_at_the_same_time(world: World) -> None:
    graph = {"1": n("Meet", who=1), "2": n("Meet", who=2), "3": n("Add", a=["1", 0], b=["2", 0])}
    one(world, graph | {"4": n("Show", value=["3", 0])})
    assert world.texts() == ["3"]


# ---------------------------------------------------------------- errors


def test_an_error_says_where_with_what_inputs_and_other_branches_go_on(world: World) -> None:
    graph = {"r": n("Range", count=3), "f": n("FailOn", a=["r", 0]), "s": n("Show", value=["f", 0])}
    graph |= {"v": n("Value", value=8), "w": n("Show", value=["v", 0])}
    run = world.run(graph)
    (failure,) = run.failures
    assert (run.status, failure.node_id, failure.class_type) == ("error", "f", "FailOn")
    assert (failure.message, failure.hint) == ("this value is bad", "take another")
    assert failure.exception_message == "this value is bad", "the hint is told beside it"
    assert failure.inputs["a"] == "1", "the inputs of the call that failed"
    assert world.texts() == ["8"]
    assert [(e.node_id, e.because) for e in world.told(events.NodeSkipped)] == [("s", "f")]


def test_stopping_at_the_first_failure_runs_nothing_more(world: World) -> None:
    graph = {"f": n("Fail"), "s": n("Show", value=["f", 0]), "a": n("Show", value=["b", 0])}
    graph["b"] = n("Add", a=["f", 0])
    run = world.run(graph, stop_at_failure=True)
    assert (run.status, run.executed) == ("error", ())


@pytest.mark.parametrize("what", ["ask", "need", "exit", "key", "count", "list"])
def test_a_node_that_misbehaves_fails_alone_and_leaves_the_engine_usable(world: World, what: str) -> None:
    run = world.run({"1": n("Odd", what=what), "2": n("Show", value=["1", 0])})
    assert [f.node_id for f in run.failures] == ["1"]
    one(world, {"1": n("AddInSteps", plus=1), "2": n("Show", value=["1", 0])})


def test_a_node_that_exits_fails_alone(world: World) -> None:
    run = world.run({"1": n("Exit"), "2": n("Show", value=["1", 0])})
    assert [f.exception_type for f in run.failures] == ["builtins.SystemExit"]
    one(world, {"1": n("Add", plus=1), "2": n("Show", value=["1", 0])})


# ---------------------------------------------------------------- cancellation


def test_cancelling_closes_the_generator_and_runs_nothing_more(world: World) -> None:
    run = world.run({"1": n("Endless"), "2": n("Show", value=["1", 0])})
    assert (run.status, run.executed, run.failures) == ("cancelled", (), ())
    assert world.log.ran == ["closed"]
    assert isinstance(world.events[-1], events.RunFinished)
    one(world, {"1": n("AddInSteps", plus=1), "2": n("Show", value=["1", 0])})


def test_cancelling_ends_async_nodes(world: World) -> None:
    run = world.run({"1": n("EndlessAsync"), "2": n("Show", value=["1", 0])})
    assert (run.status, run.executed) == ("cancelled", ())


def test_cancelling_ends_nodes_that_wait_for_others(world: World) -> None:
    graph = lazy_graph(["t", 0]) | {"t": n("Value", value=1), "y": n("Endless")}
    run = world.run(graph)
    assert (run.status, run.failures) == ("cancelled", ())
    assert world.log.ran == [("Value", 1), "closed"]


def test_a_job_cancelled_before_it_runs_does_nothing(world: World) -> None:
    job = world.engine.start(world.plan({"1": n("Value"), "2": n("Show", value=["1", 0])}))
    job.cancel()
    assert asyncio.run(world.engine.finish(job)).status == "cancelled"
    assert world.log.ran == []


def test_a_run_whose_listener_breaks_leaves_the_engine_usable(world: World) -> None:
    def broken(event: events.Event) -> None:
        if isinstance(event, events.NodeProgress):
            raise ZeroDivisionError

    world.log.stop = lambda: None
    with pytest.raises(ZeroDivisionError):
        world.engine.run(world.plan({"1": n("Endless"), "2": n("Show", value=["1", 0])}), broken)
    one(world, {"1": n("AddInSteps", plus=1), "2": n("Show", value=["1", 0])})


def test_a_long_run_of_quick_nodes_lets_others_have_the_loop(world: World) -> None:
    graph = {"0": n("Add")} | {str(i): n("Add", a=[str(i - 1), 0], plus=1) for i in range(1, 2_000)}
    job = world.engine.start(world.plan(graph | {"out": n("Show", value=["1999", 0])}))
    turns = []

    async def play() -> Run:
        running = asyncio.create_task(world.engine.finish(job))
        while not running.done():
            turns.append(len(job.executed))
            await asyncio.sleep(0)
        return running.result()

    assert asyncio.run(play()).status == "success"
    assert len({done for done in turns if 0 < done < 2_000}) > 5
