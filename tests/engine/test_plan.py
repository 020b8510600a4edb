"""Plans: what runs, what is served, what only if asked for, and why."""

from pathlib import Path

import pytest
from test_runner import lazy_graph
from toys import World, n

GRAPH = {"v": n("Value", value=1), "a": n("Add", a=["v", 0], plus=2), "s": n("Show", value=["a", 0])}


def changed(id: str, **inputs: object) -> dict[str, object]:
    return {**GRAPH, id: {"class_type": GRAPH[id]["class_type"], "inputs": GRAPH[id]["inputs"] | inputs}}


def test_everything_runs_at_first_sources_before_consumers(world: World) -> None:
    plan = world.plan(GRAPH)
    assert (plan.runs, plan.served, plan.lazy) == (("v", "a", "s"), {}, ())


def test_what_is_at_hand_is_served_and_what_is_above_it_left_out(kept: World) -> None:
    kept.run(GRAPH)
    plan = kept.plan(GRAPH)
    assert (plan.runs, dict(plan.served)) == ((), {"s": "memory"})
    plan = kept.plan(changed("a", plus=3))
    assert (plan.runs, dict(plan.served)) == (("a", "s"), {"v": "memory"})


def test_a_new_engine_is_served_from_the_disk(tmp_path: Path) -> None:
    for expected in ({}, {"s": "disk"}):
        world = World(tmp_path, memory=True, disk=True)
        assert dict(world.plan(GRAPH).served) == expected
        world.run(GRAPH)
        world.close()


def test_what_only_a_lazy_input_leads_to_is_left_open(world: World) -> None:
    plan = world.plan(lazy_graph(["t", 0]) | {"t": n("Value", value=0)})
    assert (set(plan.runs), plan.lazy) == ({"t", "s", "o"}, ("n", "y"))


def test_twins_are_planned_once(world: World) -> None:
    plan = world.plan(
        {**GRAPH, "v2": GRAPH["v"], "a2": n("Add", a=["v2", 0], plus=2), "s2": n("Show", value=["a2", 0])}
    )
    assert len(plan.runs) == 3
    assert set(plan.served.values()) == {"run"}


def test_why_names_the_input_that_changed(kept: World) -> None:
    assert kept.plan(GRAPH).why("a", kept.tiers) == "no earlier result of this node"
    kept.run(GRAPH)
    plan = kept.plan(changed("a", plus=3))
    assert plan.why("a", kept.tiers) == "plus was 2, is 3"
    assert plan.why("s", kept.tiers) == "what value is linked to changed"
    assert (
        kept.plan({"v": n("Volatile"), "s": n("Show", value=["v", 0])}).why("v", kept.tiers)
        == "runs every time"
    )


@pytest.mark.parametrize("how", ["gone", "changed", "there"])
def test_an_output_whose_file_is_gone_or_changed_is_made_again(kept: World, how: str) -> None:
    graph = {"v": n("Value", value=7), "s": n("Save", value=["v", 0])}
    (saved,) = kept.run(graph).outputs
    path = Path(saved["path"])
    if how == "gone":
        path.unlink()
    elif how == "changed":
        path.write_text("8")
    run = kept.run(graph)
    assert run.executed == (() if how == "there" else ("s",))
    assert Path(run.outputs[0]["path"]).read_text() == "7"
    assert run.outputs[0]["node"] == "s"


def test_the_files_that_running_nodes_read_are_listed(kept: World) -> None:
    (kept.base / "input").mkdir()
    (kept.base / "input" / "a.txt").write_text("3")
    graph = {"r": n("Read", name="a.txt"), "s": n("Show", value=["r", 0])}
    assert kept.plan(graph).files() == [("input", "a.txt")]
    kept.run(graph)
    assert kept.plan(graph).files() == []
    (kept.base / "input" / "a.txt").write_text("4")
    plan = kept.plan(graph)
    assert plan.runs == ("r", "s")
    assert plan.why("r", kept.tiers) == "its file, version or folder changed"


def test_the_time_is_estimated_from_what_the_classes_took(kept: World) -> None:
    disk = kept.tiers.tiers[-1]
    assert kept.plan(GRAPH).seconds(disk.usual_cost) is None  # type: ignore[attr-defined]
    kept.run(GRAPH)
    assert kept.plan(changed("v", value=9)).seconds(disk.usual_cost) is not None  # type: ignore[attr-defined]
