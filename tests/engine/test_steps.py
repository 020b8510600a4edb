"""Generators driven without an engine, events as JSON, models held on the device, tiers in order."""

import json

import pytest
from toys import Doubler, Log, add_in_steps, switch

from engine.cache import UNKNOWN, Result, Tiers
from engine.cache.memory import MemoryTier
from engine.devices import Devices
from engine.events import ModelBatch, NodeProgress, RunFinished, RunStarted, as_json
from engine.steps import Lazy, Steps, call, run_alone


def test_a_generator_node_runs_alone() -> None:
    assert run_alone(add_in_steps(a=1, b=2, plus=3, log=Log())) == 6


def test_only_an_engine_can_answer_for_a_lazy_input() -> None:
    with pytest.raises(TypeError, match="only an engine"):
        run_alone(switch(yes=Lazy("yes"), no=Lazy("no"), take=1))


def test_requests_with_different_keys_are_answered_apart_and_in_order() -> None:
    model = Doubler()

    def mixed() -> Steps[list[float]]:
        return (yield from call(model, 1, 2.5, 3))

    assert run_alone(mixed()) == [2, 5.0, 6]
    assert model.rows == [[1, 3], [2.5]]


def test_events_are_json_objects_with_their_name() -> None:
    assert as_json(RunStarted(2, ("1",))) == {"event": "started", "nodes": 2, "cached": ["1"]}
    assert as_json(RunFinished("success", (), ("1",), ()))["event"] == "finished"
    assert as_json(NodeProgress("1", 1, 2, object())) == {
        "event": "node_progress", "node_id": "1", "step": 1, "total": 2, "display_id": "",
    }  # fmt: skip
    assert json.loads(json.dumps(as_json(ModelBatch("m", 1, 2, 1, 0.5))))["event"] == "model_batch"


def test_the_least_recently_used_model_goes_first() -> None:
    devices, built = Devices("cpu", 20), []

    def held(name: str) -> str:
        return devices.held(name, lambda: built.append(name) or name, lambda _: 10)

    for name in "abaca":
        assert held(name) == name
    assert built == ["a", "b", "c"]
    assert held("b") == "b"
    assert built[-1] == "b"
    assert devices.free() == 20


def test_a_hit_in_a_later_tier_is_copied_to_the_earlier() -> None:
    first, second = MemoryTier(1000), MemoryTier(1000)
    tiers = Tiers([first, second])
    second.put("k", Result(([1],)), UNKNOWN)
    assert tiers.get("k") == (Result(([1],)), "memory")
    assert first.has("k")
    assert (tiers.get("none"), tiers.where("none")) == (None, None)
