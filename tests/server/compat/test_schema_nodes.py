"""Nodes that are declared by a schema."""

import hashlib

from packworld import World, n

from engine import events


def test_a_node_knows_what_it_asked_to_know_and_keeps_nothing_on_its_class(world: World) -> None:
    graph = {
        "1": n("EmptyImage", width=8, height=8, batch_size=1, color=0),
        "2": n("Scale", image=["1", 0], by=2),
        "3": n("Show", value=["2", 1]),
    }
    assert world.run(graph).status == "success"
    assert world.texts() == ["2 2.0", "2.0"]


def test_an_input_may_have_the_name_of_something_hidden(world: World) -> None:
    world.run({"1": n("Prompted", prompt="hello", mode="not a choice")})
    assert world.texts() == ["hello not a choice ['1'] None"]


def test_it_checks_and_prints_its_inputs(world: World) -> None:
    graph = {"1": n("Guarded", n=7), "2": n("Show", value=["1", 0])}
    assert [p[:3] for p in world.problems(graph)] == [("custom_validation_failed", "n", "no sevens")]
    for value, again in ((6, []), (8, ["1", "2"])):
        graph["1"]["inputs"]["n"] = value
        world.run(graph)
        world.run(graph)
        assert world.started() == again


def test_it_asks_for_lazy_inputs_with_whole_lists(world: World) -> None:
    graph = {
        "1": n("MakeList", v0=1, v1=2),
        "2": n("Num", value=3),
        "3": n("Chosen", which="a", a=["1", 0], b=["2", 0]),
        "4": n("Show", value=["3", 0]),
    }
    world.run(graph)
    assert world.texts() == ["1", "2"]
    assert "2" not in world.started()


def test_it_gives_nodes_to_run_only_if_its_schema_says_so(world: World) -> None:
    world.run({"1": n("Expands", n=4), "2": n("Show", value=["1", 0])})
    assert world.texts() == ["4"]
    run = world.run({"1": n("ExpandsUnasked", n=4), "2": n("Show", value=["1", 0])})
    assert "lacks enable_expand" in run.failures[0].message


def test_it_blocks_what_follows(world: World) -> None:
    run = world.run({"1": n("Blocks"), "2": n("Show", value=["1", 0])})
    assert (run.status, world.texts()) == ("success", [])
    assert [e.message for e in world.told(events.NodeSkipped)] == ["closed"]


def test_previews_are_written_among_the_temporary_files_with_the_workflow(world: World) -> None:
    from PIL import Image

    image = n("EmptyImage", width=8, height=4, batch_size=2, color=255)
    run = world.run({"1": image, "2": n("Previews", image=["1", 0])})
    assert run.status == "success"
    ui = next(e.ui for e in world.told(events.NodeFinished) if e.node_id == "2")
    assert [entry["type"] for entry in ui["images"]] == ["temp", "temp"]
    path = world.base / "temp" / ui["images"][0]["filename"]
    assert ui["images"][0]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert ui["animated"] == [False]
    with Image.open(path) as picture:
        assert picture.size == (8, 4)
        assert set(picture.text) == {"prompt", "latentgraph"}


def test_inputs_that_make_more_inputs_come_as_dicts(world: World) -> None:
    graph = {
        "1": n("Num", value=5),
        "2": n("Grows", **{"rows.n0": 1, "rows.n2": ["1", 0], "mode": "scale", "mode.by": 2}),
        "3": n("Show", value=["2", 0]),
    }
    world.run(graph)
    assert world.texts() == ["({'n0': 1, 'n2': 5}, {'mode': 'scale', 'by': 2.0}, None)"]
    graph["2"] = n("Grows", **{"rows.n0": 1, "mode": "none", "same": ["1", 0]})
    world.run(graph)
    assert world.texts() == ["({'n0': 1}, {'mode': 'none'}, 5)"]


def test_inputs_that_make_more_inputs_are_checked(world: World) -> None:
    graph = {"2": n("Grows", **{"rows.n0": 10, "mode": "scale"}), "3": n("Show", value=["2", 0])}
    assert [p[:2] for p in world.problems(graph)] == [
        ("value_bigger_than_max", "rows.n0"),
        ("required_input_missing", "mode.by"),
    ]
    graph["2"] = n("Grows", **{"rows.n1": 1, "mode": "scale", "mode.by": "7"})
    assert [p[:2] for p in world.problems(graph)] == [("required_input_missing", "rows.n0")]
    graph["2"]["inputs"]["rows.n0"] = 1
    assert world.problems(graph) == [("custom_validation_failed", "mode", "not by seven")]
    graph["1"] = n("Flexible")
    graph["2"] = n("Grows", **{"rows.n0": 1, "mode": "none", "same": ["1", 0]})
    assert [p[:2] for p in world.problems(graph)] == [("return_type_mismatch", "same")]
