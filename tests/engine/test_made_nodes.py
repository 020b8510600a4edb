"""Nodes that are made and not declared: own mapping, shapes, loose types, results that must not last."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toys import REGISTRY, World, n

from engine import events
from engine.cache import Tiers
from engine.cache.disk import DiskTier
from engine.check import matches
from engine.node import Node, Value
from engine.ports import Blocked, Hidden, Loose, OneOf, Range
from engine.problems import NodeFailure, WorkflowError, Wrong
from engine.registry import Registry
from engine.runner import Engine
from engine.running import RunInfo, Running
from engine.steps import Await, NeedAll, Slots, Steps, Subgraph, run_alone
from engine.workflow import from_json


class Anything(str):
    """A type that fits all, as packs write it."""

    def __ne__(self, other: object) -> bool:
        return False


def port(name: str, kind: Any = "NUMBER", **more: Any) -> Value:
    return Value(name, str.__str__(kind), facts=(Loose(kind), *more.pop("facts", ())), **more)


def made(name: str, fn: Any, *inputs: Value, outputs: int = 1, **more: Any) -> Node[..., Any]:
    gives = tuple(Value(f"out {i}", "NUMBER", facts=(Loose("NUMBER"),)) for i in range(outputs))
    return Node(name, fn, inputs=inputs, outputs=gives, takes_lists=True, maps_itself=True, **more)


class Made(World):
    """The toys and some made nodes."""

    def __init__(self, base: Path, *nodes: Node[..., Any], **kept: bool) -> None:
        super().__init__(base, **kept)
        self.engine.close()
        self.registry: Registry = REGISTRY.with_nodes(*nodes)
        self.engine = Engine(self.registry, self.env, self.tiers)

    def problems(self, graph: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        with pytest.raises(WorkflowError) as caught:
            self.plan(graph)
        return [(p.code, p.input, p.message) for p in caught.value.problems]


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[Any]:
    opened: list[Made] = []

    def opener(*nodes: Node[..., Any], **kept: bool) -> Made:
        opened.append(Made(tmp_path, *nodes, **kept))
        return opened[-1]

    yield opener
    for world in opened:
        world.close()


def test_a_node_that_maps_itself_gets_whole_lists_with_blockers_and_gives_slots(worlds: Any) -> None:
    seen: list[Any] = []

    def fn(a: list[Any], b: list[Any]) -> Steps[Slots]:
        seen.append((a, b))
        yield from ()
        return Slots(([1, 2], [Blocked()]), {"text": ["shown"]}, blocked=("not this one",))

    world = worlds(made("Whole", fn, port("a"), port("b"), outputs=2))
    graph = {
        "1": n("Range", count=2),
        "2": n("Block", a=["1", 0], bad=1, message="stop"),
        "3": n("Whole", a=["2", 0], b=7),
        "4": n("Total", values=["3", 0]),
        "5": n("Show", value=["4", 0]),
        "6": n("Show", value=["3", 1]),
    }
    world.run(graph)
    assert seen == [([0, Blocked("stop")], [7])]
    assert world.texts() == ["shown", "3"]
    assert [(e.node_id, e.because, e.message) for e in world.told(events.NodeSkipped)] == [
        ("3", "blocked", "not this one")
    ]


def test_several_lazy_inputs_are_made_together_and_come_as_whole_lists(worlds: Any) -> None:
    def fn(a: Any, b: Any) -> Steps[Slots]:
        found = yield NeedAll(("a", "b"))
        return Slots(([str(found)],), {})

    world = worlds(made("Both", fn, port("a", lazy=True), port("b", lazy=True)))
    graph = {
        "1": n("Range", count=2),
        "2": n("Block", a=["1", 0]),
        "3": n("Both", a=["1", 0], b=["2", 0]),
        "4": n("Show", value=["3", 0]),
    }
    world.run(graph)
    assert world.texts() == [str([[0, 1], [0, Blocked()]])]


def test_a_node_may_wait_for_what_another_thread_does_while_others_run(worlds: Any) -> None:
    first: Future[int] = Future()

    def waiting() -> Steps[Slots]:
        value = yield Await(first)
        return Slots(([value],), {})

    def freeing() -> Steps[Slots]:
        threading.Thread(target=first.set_result, args=(5,)).start()
        yield from ()
        return Slots(([1],), {})

    world = worlds(made("Waiting", waiting), made("Freeing", freeing))
    graph = {"1": n("Waiting"), "2": n("Freeing"), "3": n("Add", a=["1", 0], b=["2", 0])}
    world.run(graph | {"4": n("Show", value=["3", 0])})
    assert world.texts() == ["6"]


def test_what_is_waited_for_may_fail_or_be_cancelled(worlds: Any) -> None:
    def fn(how: list[str]) -> Steps[Slots]:
        future: Future[int] = Future()
        future.set_exception(OSError("no line")) if how[0] == "fail" else future.cancel()
        yield Await(future)
        return Slots(([1],), {})

    world = worlds(made("Waits", fn, port("how", "STRING"), is_output=True))
    for how, kind in (("fail", "builtins.OSError"), ("cancel", "concurrent.futures._base.CancelledError")):
        assert [f.exception_type for f in world.run({"1": n("Waits", how=how)}).failures] == [kind]


def test_without_an_engine_waiting_blocks() -> None:
    def steps() -> Steps[int]:
        value: int = yield Await(future)
        return value + 1

    future: Future[int] = Future()
    future.set_result(1)
    assert run_alone(steps()) == 2


def test_a_shape_is_the_interface_that_a_node_has_with_its_inputs(worlds: Any) -> None:
    def fn(**given: list[Any]) -> Steps[Slots]:
        yield from ()
        return Slots(([sum(v[0] for v in given.values())],), {})

    node = made("Any", fn)

    def shape(inputs: Mapping[str, Any]) -> Node[..., Any]:
        if "bad" in inputs:
            raise NodeFailure("no such thing", "leave it out")
        return replace(node, inputs=tuple(port(name) for name in inputs))

    world = worlds(replace(node, shape=shape))
    graph = {"1": n("Value", value=2), "2": n("Any", x=["1", 0], y=40), "3": n("Show", value=["2", 0])}
    world.run(graph)
    assert world.texts() == ["42"]
    graph["2"]["inputs"]["bad"] = 1
    assert world.problems(graph) == [("bad_node", "", "no such thing")]


def test_loose_ports_take_any_literal_that_is_no_widgets(worlds: Any) -> None:
    def fn(**given: list[Any]) -> Steps[Slots]:
        yield from ()
        return Slots(([],), {"text": [repr(given)]})

    combo = port("c", "COMBO", facts=(OneOf(lambda _: (1, None, "x")),))
    free = port("free", "COMBO")
    node = made("Loose", fn, port("a", "IMAGE,FLOAT"), combo, port("i", "INT"), free, is_output=True)
    world = worlds(node)
    world.run({"1": n("Loose", a=5, c=None, i="3", free="any")})
    assert world.texts() == [repr({"a": [5], "c": [None], "i": [3], "free": ["any"]})]
    assert [p[:2] for p in world.problems({"1": n("Loose", a=5, c=2, i="three", free=1)})] == [
        ("value_not_in_list", "c"),
        ("invalid_input_type", "i"),
    ]


def test_types_are_compared_as_they_say_themselves() -> None:
    assert matches("INT", Anything("X"))
    assert matches(Anything("X"), "INT")
    assert not matches("INT", "FLOAT")
    assert matches(["a", "b"], ["a", "b"])
    assert not matches(["a"], ["a", "b"])
    assert matches(["a"], "COMBO")
    assert not matches(["a"], "STRING")


def test_a_loose_port_may_leave_the_types_of_links_to_its_nodes_check(worlds: Any) -> None:
    seen: list[Any] = []

    def check(input_types: Mapping[str, Any], **inputs: Any) -> Iterator[Wrong]:
        seen.append((dict(input_types), inputs))
        yield Wrong("a", "not this")

    def fn(**given: list[Any]) -> Steps[Slots]:
        yield from ()
        return Slots(([],), {})

    inputs = (
        Value("a", "IMAGE", facts=(Loose("IMAGE", linked=False),)),
        port("b", "INT", facts=(Range(0, 5),)),
        Value("me", "*", facts=(Hidden("UNIQUE_ID"),)),
    )
    world = worlds(made("Checked", fn, *inputs, is_output=True, check=check))
    graph = {"1": n("Value"), "2": n("Checked", a=["1", 0], b="4")}
    assert world.problems(graph) == [("custom_validation_failed", "a", "not this")]
    assert seen == [({"a": "NUMBER"}, {"a": None, "b": 4, "me": "2"})]
    graph["2"]["inputs"]["b"] = 6
    assert [p[0] for p in world.problems(graph)] == ["value_bigger_than_max"]
    assert len(seen) == 1, "a check of everything is not asked about inputs that are wrong already"


def _passing(log: list[int]) -> Node[..., Any]:
    def fn() -> Steps[Slots]:
        log.append(1)
        yield from ()
        return Slots(([7],), {})

    return made("Passing", fn, passing=True)


def test_results_that_must_not_outlive_the_process_are_never_on_disk(worlds: Any, tmp_path: Path) -> None:
    log: list[int] = []
    graph = {"1": n("Passing"), "2": n("Add", a=["1", 0]), "3": n("Show", value=["2", 0]), "4": n("Value")}
    graph["5"] = n("Show", value=["4", 0])
    world = worlds(_passing(log), memory=True, disk=True)
    plan = world.plan(graph)
    assert [id for id, key in plan.keys.items() if key.startswith("~")] == ["1", "2", "3"]
    world.run(graph)
    world.run(graph)
    assert log == [1], "within the process they are kept"
    disk = next(t for t in world.tiers.tiers if isinstance(t, DiskTier))
    assert {id: disk.has(key) for id, key in plan.keys.items()} == {
        "1": False, "2": False, "3": False, "4": True, "5": True,
    }  # fmt: skip
    other = Engine(world.registry, world.env, Tiers([disk]))
    with other:
        other.run(other.plan(from_json(graph)))
    assert log == [1, 1]


def test_what_never_recurs_stays_for_its_run_and_is_not_stored(worlds: Any) -> None:
    world = worlds(disk=True)
    graph = {"1": n("Volatile"), "2": n("Show", value=["1", 0])}
    assert all(key.startswith("~") for key in world.plan(graph).keys.values())
    world.run(graph)
    assert world.tiers.tiers[0].stats().results == 0


def test_a_running_node_knows_its_place_and_can_report_and_stop(worlds: Any) -> None:
    seen: list[Any] = []

    def fn(run: Running) -> Steps[Slots]:
        seen.append((run.node_id, run.info.name, run.stopped, run.nodes.display(run.node_id)))
        run.report(0.5, 1.0, "picture")
        run.stop()
        seen.append(run.stopped)
        yield from ()
        return Slots(([],), {})

    world = worlds(made("Runs", fn, is_output=True, given={"run": Running}))
    env = world.env.with_(RunInfo("prompt 1", {"EXTRA_PNGINFO": 3}))
    plan = world.engine.plan(from_json({"9": n("Runs")}))
    job = world.engine.start(plan, world.events.append, env=env)
    run = asyncio.run(asyncio.wait_for(world.engine.finish(job), 60))
    assert seen == [("9", "prompt 1", False, "9"), True]
    assert run.status == "cancelled"
    assert world.told(events.NodeProgress) == [events.NodeProgress("9", 0.5, 1.0, "picture", "9")]
    assert job.cast.hidden["EXTRA_PNGINFO"] == 3


def test_added_nodes_know_who_added_them_and_who_stands_for_them(worlds: Any) -> None:
    def outer() -> Steps[Slots]:
        nodes = {
            "1.a": {"class_type": "Inner", "inputs": {}},
            "1.b": {"class_type": "Add", "inputs": {"a": ["1.a", 0]}, "override_display_id": "2"},
        }
        ((value,),) = yield Subgraph(nodes, (["1.b", 0],))
        return Slots(([value],), {})

    def inner() -> Steps[Slots]:
        nodes = {"1.a.x": {"class_type": "Value", "inputs": {"value": 4}}}
        ((value,),) = yield Subgraph(nodes, (["1.a.x", 0],))
        return Slots(([value],), {})

    world = worlds(made("Outer", outer), made("Inner", inner))
    plan = world.engine.plan(from_json({"1": n("Outer"), "2": n("Show", value=["1", 0])}))
    job = world.engine.start(plan, world.events.append)
    asyncio.run(asyncio.wait_for(world.engine.finish(job), 60))
    started = {e.node_id: e.display_id for e in world.told(events.NodeStarted)}
    assert started == {"1": "1", "1.a": "1", "1.a.x": "1", "1.b": "2", "2": "2"}
    assert {e.node_id: e.display_id for e in world.told(events.NodeFinished)} == started
    cast = job.cast
    assert cast.ids == ["1", "2", "1.a", "1.b", "1.a.x"]
    assert [(cast.parent(id), cast.top(id)) for id in ("1", "1.b", "1.a.x")] == [
        (None, "1"), ("1", "1"), ("1.a", "1"),
    ]  # fmt: skip
    assert cast.saved("1.b")["override_display_id"] == "2"
    assert cast.saved("2") == {"class_type": "Show", "inputs": {"value": ["1", 0]}}
    with pytest.raises(KeyError):
        cast.saved("3")
