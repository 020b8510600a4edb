"""Running nodes of packs: lists, blockers, lazy inputs, coroutines, hidden inputs, state, interruption."""

from typing import Any

from packworld import World, n

from engine import events


def shown(source: str = "1", slot: int = 0) -> dict[str, Any]:
    return n("Show", value=[source, slot])


def test_a_node_runs_without_gradients_and_its_object_lives_as_long_as_prompts_hold_it(world: World) -> None:
    world.run({"a": n("Num", value=3), "s": shown("a")})
    assert world.log == [("Num", 3, 1, True), ("Show", 3)]
    assert world.texts() == ["3"]
    world.run({"a": n("Num", value=4), "s": shown("a")})
    assert world.log[0] == ("Num", 4, 2, True)
    world.run({"b": n("Num", value=5), "s": shown("b")})
    assert world.log[0] == ("Num", 5, 1, True)
    world.run({"a": n("Num", value=6), "s": shown("a")})
    assert world.log[0] == ("Num", 6, 1, True)


def test_undeclared_links_are_passed_and_undeclared_literals_are_not(world: World) -> None:
    graph = {
        "1": n("Num", value=1),
        "2": n("Num", value=2),
        "3": n("Sum", a=["1", 0], x=["2", 0], y=40, z=["1", 0]),
        "4": shown("3"),
    }
    world.run(graph)
    assert ("Sum", 1, {"x": 2, "z": 1}) in world.log
    assert world.texts() == ["4"]
    graph["3"]["inputs"]["y"] = 41
    world.run(graph)
    assert world.log == [], "what is not passed is not part of the key"


def test_a_mapping_that_holds_any_name_takes_any_input(world: World) -> None:
    world.run({"1": n("Num", value=1), "2": n("Flexible", z="text", a=["1", 0]), "3": shown("2")})
    assert world.texts() == ["[('a', 1), ('z', 'text')]"]


def test_shorter_lists_repeat_their_last_value(world: World) -> None:
    graph = {
        "1": n("MakeList", v0=1, v1=2, v2=3),
        "2": n("MakeList", v0=10, v1=20),
        "3": n("Pair", a=["1", 0], b=["2", 0]),
        "4": shown("3"),
    }
    world.run(graph)
    assert world.texts() == ["1/10", "2/20", "3/20"]


def test_a_node_that_takes_lists_gets_literals_and_hidden_values_as_lists_too(world: World) -> None:
    graph = {"1": n("MakeList", v0=1, v1=2), "2": n("Whole", values=["1", 0], n=5), "3": shown("2")}
    world.run(graph)
    assert world.texts() == ["([1, 2], [5], ['2'])"]


def test_empty_lists_alone_call_with_nothing_and_beside_others_fail(world: World) -> None:
    graph = {"1": n("MakeList"), "2": n("Pair", a=["1", 0], b=["1", 0]), "3": shown("2")}
    world.run(graph)
    assert world.texts() == ["None/None"]
    graph["2"]["inputs"]["b"] = 3
    assert [f.exception_type for f in world.run(graph).failures] == ["builtins.IndexError"]


def test_a_blocker_stops_what_follows_in_its_place_of_the_list_and_is_told_once(world: World) -> None:
    graph = {
        "1": n("MakeList", v0=1, v1=2, v2=3),
        "2": n("Block", a=["1", 0], bad=2, message="two is bad"),
        "3": n("Sum", a=["2", 1]),
        "4": shown("3"),
    }
    run = world.run(graph)
    assert run.status == "success"
    assert world.texts() == ["1", "3"]
    told = [(e.node_id, e.message) for e in world.told(events.NodeSkipped)]
    assert told == [("3", "two is bad")]
    graph["2"]["inputs"]["message"] = ""
    world.run(graph)
    assert world.told(events.NodeSkipped) == []


def test_a_list_keeps_a_blocker_and_a_node_that_takes_lists_is_blocked_by_one(world: World) -> None:
    graph = {
        "1": n("MakeList", v0=1, v1=2),
        "2": n("Block", a=["1", 0], bad=1, message=""),
        "3": n("MakeList", v0=["2", 0]),
        "4": shown("3"),
        "5": n("Whole", values=["2", 0], n=0),
        "6": n("Show", value=["5", 0]),
    }
    world.run(graph)
    assert world.texts() == ["2"]


def test_lazy_inputs_are_made_when_the_node_asks_for_them(world: World) -> None:
    graph = {
        "1": n("Num", value=1),
        "2": n("Num", value=2),
        "3": n("Pick", which="b", a=["1", 0], b=["2", 0]),
        "4": shown("3"),
    }
    world.run(graph)
    assert world.texts() == ["2"]
    assert world.started() == ["3", "2", "4"]
    assert [x for x in world.log if x[0] == "asked"] == [("asked", "b", None, None), ("asked", "b", None, 2)]
    graph["3"]["inputs"]["which"] = "both"
    world.run(graph)
    assert world.texts() == ["(1, 2)"]
    graph["3"]["class_type"] = "PickAsync"
    graph["3"]["inputs"]["which"] = "a"
    world.run(graph)
    assert world.texts() == ["1"]


def test_lazy_inputs_that_nobody_asks_for_stay_none_and_literals_are_there(world: World) -> None:
    graph = {"1": n("Num", value=1), "3": n("NeverAsks", which="both", a=["1", 0], b=7), "4": shown("3")}
    world.run(graph)
    assert world.texts() == ["(None, 7)"]


def test_asking_for_an_input_that_is_not_there_fails(world: World) -> None:
    run = world.run({"3": n("Pick", which="b", a=1), "4": shown("3")})
    assert "'b', which is no input" in run.failures[0].message


def test_lists_decide_one_by_one_what_lazy_inputs_they_need(world: World) -> None:
    graph = {
        "0": n("MakeList", v0="a", v1="none"),
        "1": n("Num", value=1),
        "2": n("Num", value=2),
        "3": n("Pick", which=["0", 0], a=["1", 0], b=["2", 0]),
        "4": shown("3"),
    }
    world.run(graph)
    assert world.texts() == ["1", "None"]
    assert "2" not in world.started()


def test_coroutines_of_a_list_and_of_nodes_run_together_and_know_where_they_are(world: World) -> None:
    graph = {"1": n("MakeList", v0="x", v1="y"), "2": n("Meet", a=["1", 0]), "3": shown("2")}
    world.run(graph)
    assert sorted(world.texts()) == ["x the prompt 0 True", "y the prompt 1 True"]
    graph = {"1": n("Meet", a="p"), "2": n("Meet", a="q"), "3": shown("1"), "4": shown("2")}
    world.run(graph)
    assert sorted(world.texts()) == ["p the prompt 0 True", "q the prompt 0 True"]


def test_a_coroutine_that_raises_fails_its_node(world: World) -> None:
    run = world.run({"1": n("AsyncFail", how="raise"), "2": shown()})
    failure = run.failures[0]
    assert (failure.node_id, failure.exception_type) == ("1", "builtins.RuntimeError")
    assert failure.exception_message == "out of order"
    assert "flow.py" in failure.details
    assert (
        "timeout" in world.run({"1": n("AsyncFail", how="timeout"), "2": shown()}).failures[0].message.lower()
    )
    assert world.run({"1": n("Num", value=8), "2": shown()}).status == "success"


def test_a_coroutine_ends_when_its_run_is_cancelled(world: World) -> None:
    world.on_event = lambda job, e: job.cancel() if isinstance(e, events.NodeProgress) else None
    run = world.run({"1": n("AsyncFail", how="endless"), "2": shown()})
    assert run.status == "cancelled"
    assert world.log == ["begun", "ended"] or _eventually(world)


def _eventually(world: World) -> bool:
    """The coroutine is told on its own loop, after the run has ended."""
    from server.compat.context import finish

    async def turn() -> None:
        return None

    finish(turn())
    finish(turn())
    return world.log == ["begun", "ended"]


def test_hidden_inputs_come_from_the_run(world: World) -> None:
    world.run({"1": n("Hid"), "2": shown()})
    text = "(['1', '2'], ['latentgraph'], '1', ['1', '2'], False, 'token', None, None)"
    assert world.texts() == [text]
    world.run({"3": n("Num", value=5), "1": n("Hid", more=["3", 0]), "2": shown()})
    assert world.texts()[0].endswith("None, 5)")


def test_progress_and_previews_are_told_while_a_plain_method_runs(world: World) -> None:
    world.run({"7": n("Slow", how=""), "8": shown("7")})
    told = [(e.node_id, e.step, e.total) for e in world.told(events.NodeProgress)]
    assert told == [("7", 1, 4), ("7", 3, 6), ("7", 0.5, 1.0)]
    assert world.told(events.NodeProgress)[1].preview.size == (2, 2)


def test_cancelling_stops_a_method_at_its_next_step_of_progress(world: World) -> None:
    world.on_event = lambda job, e: job.cancel() if isinstance(e, events.NodeProgress) else None
    run = world.run({"7": n("Slow", how="endless"), "8": shown("7")})
    assert (run.status, run.failures) == ("cancelled", ())


def test_a_node_may_end_its_run(world: World) -> None:
    run = world.run({"7": n("Slow", how="raise"), "8": shown("7")})
    assert (run.status, run.failures, run.executed) == ("cancelled", (), ())


def test_a_run_that_a_pack_interrupts_makes_no_further_calls(world: World) -> None:
    graph = {"1": n("MakeList", v0="interrupt", v1="x"), "7": n("Slow", how=["1", 0]), "8": shown("7")}
    assert world.run(graph).status == "cancelled"
    assert world.log == ["interrupt"]


def test_our_latents_are_dicts_to_packs_and_come_back_as_ours(world: World) -> None:
    graph = {
        "1": n("EmptyLatentImage", width=64, height=64, batch_size=1),
        "2": n("LatentTwice", samples=["1", 0], how="dict"),
        "3": n("LatentTwice", samples=["2", 0], how="dict"),
        "4": n("LatentUpscaleBy", samples=["3", 0], upscale_method="nearest-exact", scale_by=2.0),
        "5": n("LatentTwice", samples=["4", 0], how="dict"),
        "6": n("Show", value=["5", 0]),
    }
    assert world.run(graph).status == "success"
    took = [x for x in world.log if x[0] == "LatentTwice"]
    assert took == [
        ("LatentTwice", "dict", ["samples"]),
        ("LatentTwice", "dict", ["mine", "samples"]),
        ("LatentTwice", "dict", ["samples"]),
    ]


def test_a_method_that_returns_no_tuple_says_what_is_wrong(world: World) -> None:
    for how, words in (("nothing", "returned nothing"), ("bare", "returned Tensor and not a tuple")):
        latent = n("EmptyLatentImage", width=64, height=64, batch_size=1)
        graph = {"1": latent, "2": n("LatentTwice", samples=["1", 0], how=how), "3": shown("2")}
        assert words in world.run(graph).failures[0].message
