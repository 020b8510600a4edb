"""Trails: what they remember of a result and of all that it was made of, in memory, as JSON, in a cache."""

import itertools
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from toys import World, n

from engine.trail import ALONE, Note, Pinned, Trail, from_json, packed, unpacked

CALLS = st.lists(st.lists(st.sampled_from((1, 2, 4, 8)), max_size=6), max_size=4)
DOUBLED = {
    "1": n("Value", value=3),
    "2": n("AddInSteps", a=["1", 0], plus=1),
    "3": n("AddInSteps", a=["2", 0], plus=2),
    "4": n("Show", value=["3", 0]),
}


@given(CALLS)
def test_rungs_are_unpacked_as_they_were_packed(calls: list[list[int]]) -> None:
    short = packed(calls)
    for i, call in enumerate(calls):
        again = [] if short is None else list(itertools.islice(unpacked(short, i), len(call)))
        assert again == call


def test_rungs_are_one_number_where_they_are_equal() -> None:
    assert packed([[2, 2], [2]]) == 2
    assert packed([[2, 2, 4], []]) == [[[2, 2], [4, 1]], []]
    assert packed([[]]) is None


def test_a_node_or_a_call_that_was_not_recorded_is_not_pinned() -> None:
    pinned = Pinned({"a": [[[2, 1]]]})
    assert pinned.of("b", 0) is None
    assert list(pinned.of("a", 0) or ()) == [2]
    assert list(pinned.of("a", 1) or ()) == []


def test_nodes_that_are_not_named_get_the_rung_for_all_others() -> None:
    pinned = Pinned({"a": 4, "b": [[[2, 1]]]}, otherwise=ALONE)
    assert list(itertools.islice(pinned.of("added", 3) or (), 3)) == [ALONE] * 3
    assert list(itertools.islice(pinned.of("a", 3) or (), 3)) == [4] * 3
    assert list(pinned.of("b", 0) or ()) == [2]


def test_a_shared_source_is_noted_once_however_deep_the_trail_is() -> None:
    trail = Trail("0", Note("d0"))
    for i in range(1, 5000):
        trail = Trail(str(i), Note(f"d{i}"), (trail, trail))
    assert len(trail.notes()) == 5000


def test_a_trail_keeps_its_notes_as_json() -> None:
    trail = Trail("b", Note("x", [[[2, 1], [4, 2]]], "float16", "here"), (Trail("a", Note("y", 2)),))
    again = from_json(trail.as_json())
    assert again.key == "b"
    assert again.notes() == trail.notes()


def test_a_result_from_the_disk_remembers_what_it_was_made_of(tmp_path: Path) -> None:
    first = World(tmp_path, disk=True)
    made = first.run(DOUBLED).record()
    first.close()
    second = World(tmp_path, disk=True)
    shown_elsewhere = {**DOUBLED, "4": n("Show2", values=["3", 0])}
    run = second.run(shown_elsewhere)
    second.close()
    assert run.executed == ("4",)
    assert made.results.keys() == {"1", "2", "3"}
    assert made.rungs == {"2": 1, "3": 1}
    assert (run.record().results, run.record().rungs) == (made.results, made.rungs)


def test_an_output_from_the_cache_remembers_it_too(tmp_path: Path) -> None:
    world = World(tmp_path, memory=True)
    made = world.run(DOUBLED).record()
    again = world.run(DOUBLED)
    world.close()
    assert again.executed == ()
    assert again.record() == made


def test_equal_nodes_have_equal_records_though_one_of_them_ran(world: World) -> None:
    twins = {**DOUBLED, "5": n("AddInSteps", a=["1", 0], plus=1), "6": n("Show", value=["5", 0])}
    record = world.run(twins).record()
    assert record.results["5"] == record.results["2"]
    assert record.rungs["5"] == record.rungs["2"]
