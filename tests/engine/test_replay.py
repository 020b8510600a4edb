"""What a replay says: same, close or another, and which node was first; before it, what stands in the way."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from toys import World, n

from engine.devices import Devices
from engine.record import Record, surroundings
from engine.recorded import Recorded
from engine.replay import TOLERANCE, Change, Hashes, Replayed, Verdict, changes, compared, hindrances
from engine.workflow import from_json

GOOD = Verdict("1", "Value", "", True, "a", "a")
BAD = Verdict("2", "Add", "", False, "a", "b")
CHANGED = (Change("torch", "1", "2"),)
SUM = {"1": n("Value", value=3), "2": n("Add", a=["1", 0], plus=1), "3": n("Save", value=["2", 0])}


@pytest.mark.parametrize(
    ("verdicts", "around", "largest", "status"),
    [
        ((GOOD,), (), 0.0, "same"),
        ((GOOD,), CHANGED, None, "same"),
        ((GOOD, BAD), (), 0.0, "differs"),
        ((GOOD, BAD), CHANGED, TOLERANCE, "close"),
        ((GOOD, BAD), CHANGED, TOLERANCE * 1.001, "differs"),
        ((GOOD, BAD), CHANGED, None, "differs"),
    ],
)
def test_only_other_surroundings_excuse_a_small_difference(
    verdicts: tuple[Verdict, ...], around: tuple[Change, ...], largest: float | None, status: str
) -> None:
    assert Replayed(verdicts, around, largest).status == status


def test_the_first_difference_is_the_first_in_the_order_of_the_graph() -> None:
    assert Replayed((GOOD, BAD, Verdict("3", "Add", "", False, "a", "c")), (), None).first == BAD


def replayed(
    world: World, graph: Mapping[str, Any], record: Record, files: tuple[tuple[str, bytes], ...]
) -> Replayed:
    plan = world.plan(graph)
    run = world.engine.run(plan)
    return compared(Recorded(from_json(dict(graph)), record, files), plan, run, (), world.env)


def test_a_file_that_no_pack_can_read_is_compared_by_its_bytes(world: World) -> None:
    record = world.run(SUM).record()
    assert replayed(world, SUM, record, (("3", b"4"),)).status == "same"
    other = replayed(world, SUM, record, (("3", b"5"),))
    assert (other.status, other.largest) == ("differs", None)
    assert other.first is not None
    assert other.first.node_id == "3"


def test_a_difference_says_what_was_recorded_and_what_was_found(world: World) -> None:
    record = world.run(SUM).record()
    other = record.model_copy(update={"results": {**record.results, "1": "0" * 32}})
    first = replayed(world, SUM, other, ()).first
    assert first == Verdict("1", "Value", "", False, "0" * 32, record.results["1"])


def test_nothing_stands_in_the_way_of_the_same_workflow(world: World) -> None:
    record = world.run(SUM).record()
    assert hindrances(record, world.files, world.plan(SUM)) == []
    assert changes(record, surroundings(Devices("cpu"))) == ()


def test_only_the_first_changed_node_of_a_chain_is_named(world: World) -> None:
    record = world.run(SUM).record()
    other = {**SUM, "1": n("Value", value=4)}
    assert [p.node_id for p in hindrances(record, world.files, world.plan(other))] == ["1"]


def test_results_from_elsewhere_are_a_change(world: World) -> None:
    record = world.run(SUM).record().model_copy(update={"elsewhere": ("2",)})
    (change,) = changes(record, surroundings(Devices("cpu")))
    assert change.what == "cache"
    assert "2" in change.recorded


def test_hashes_are_those_of_the_file_as_it_is(tmp_path: Path) -> None:
    hashes = Hashes()
    hashes.remember("a", "1", "x")
    assert hashes.recall("a", "1") == "x"
    assert hashes.recall("a", "2") is None
