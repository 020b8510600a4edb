"""The device lane: batches across jobs, the ladder, memory that runs out, errors that stay where they are."""

import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Doubler, World, n

from engine.devices import Devices
from engine.events import ModelBatch, NodeStarted, Notice
from engine.groups import LADDER, PASSED_OVER
from engine.lane import Lane, Stopped, Walk
from engine.steps import Progress, Steps, call
from engine.trail import ALONE


class Rig:
    """A lane held still until all walks have been started, so that batches do not depend on timing."""

    def __init__(self, **how: Any) -> None:
        self.events: list[Any] = []
        self.ended: queue.Queue[tuple[Any, Any, Any]] = queue.Queue()
        self.devices = Devices("cpu", 10**9)
        self.lane = Lane(self.devices, listen=self.events.append, **how)

    def start(self, name: Any, steps: Steps[Any], job: Any = None) -> Walk:
        walk = Walk(
            steps, job or name, asked=lambda ask: None, told=lambda progress: None,
            ended=lambda value, error: self.ended.put((name, value, error)),
        )  # fmt: skip
        self.lane.start(walk)
        return walk

    def run(self, **steps: Steps[Any]) -> dict[str, Any]:
        gate: queue.Queue[None] = queue.Queue()
        self.lane.run(gate.get, lambda value, error: None)
        for name, walk in steps.items():
            self.start(name, walk)
        gate.put(None)
        found = [self.ended.get(timeout=30) for _ in steps]
        return {name: error or value for name, value, error in found}

    def batches(self) -> list[ModelBatch]:
        return [e for e in self.events if isinstance(e, ModelBatch)]


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.lane.close()


def loop(target: Any, *rows: Any) -> Steps[list[Any]]:
    answers = []
    for row in rows:
        (answer,) = yield from call(target, row)
        answers.append(answer)
    return answers


def at_once(target: Any, *rows: Any) -> Steps[list[Any]]:
    return (yield from call(target, *rows))


def test_jobs_with_equal_keys_share_every_batch(rig: Rig) -> None:
    assert rig.run(**{f"j{i}": loop(Doubler(), i, 10 + i, 20 + i) for i in range(4)}) == {
        f"j{i}": [2 * i, 20 + 2 * i, 40 + 2 * i] for i in range(4)
    }
    assert [(b.rows, b.rung, b.jobs) for b in rig.batches()] == [(4, 4, 4)] * 3


def test_jobs_of_one_engine_share_batches(world: World) -> None:
    graphs = [{"1": n("AddInSteps", plus=i), "2": n("Show", value=["1", 0])} for i in range(3)]
    assert [r.status for r in world.run_together(*graphs)] == ["success"] * 3


def test_different_weights_and_different_keys_stay_apart(rig: Rig) -> None:
    rig.run(
        a=loop(Doubler("a"), 1), b=loop(Doubler("b"), 1), c=loop(Doubler("a"), 1.0), d=loop(Doubler("a"), 5)
    )
    assert sorted(b.rows for b in rig.batches()) == [1, 1, 2]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(), max_size=40), min_size=1, max_size=4))
def test_together_equals_alone(rows: list[list[int]]) -> None:
    rig = Rig()
    found = rig.run(**{f"j{i}": at_once(Doubler(), *r) for i, r in enumerate(rows)})
    rig.lane.close()
    assert found == {f"j{i}": [2 * x for x in r] for i, r in enumerate(rows)}
    assert all(b.rung in LADDER and b.rows <= b.rung < 2 * max(b.rows, 1) for b in rig.batches())


def test_a_batch_is_filled_to_the_next_rung_with_its_last_row(rig: Rig) -> None:
    model = Doubler()
    rig.run(a=at_once(model, 1, 2, 3))
    assert model.rows == [[1, 2, 3, 3]]


def test_more_rows_than_the_largest_rung_go_in_several_batches(rig: Rig) -> None:
    rig.run(a=at_once(Doubler(), *range(70)))
    assert [(b.rows, b.rung) for b in rig.batches()] == [(32, 32), (32, 32), (6, 8)]


def test_exactly_means_one_row_at_a_time() -> None:
    rig = Rig(rungs=(1,))
    rig.run(a=at_once(Doubler(), 1, 2, 3), b=loop(Doubler(), 4))
    assert [(b.rows, b.rung) for b in rig.batches()] == [(1, 1)] * 4
    rig.lane.close()


def test_a_fixed_rung_is_always_filled() -> None:
    rig = Rig(rungs=(1, 2, 4), fixed=True)
    rig.run(a=at_once(Doubler(), 1))
    assert [(b.rows, b.rung) for b in rig.batches()] == [(1, 4)]
    rig.lane.close()


def pinned(rig: Rig, *walks: tuple[Any, list[int]]) -> list[Walk]:
    """Walks that are begun together, each with the rungs of its rows."""
    made = [
        Walk(
            steps, i, asked=lambda ask: None, told=lambda progress: None,
            ended=lambda value, error: rig.ended.put((None, value, error)), pinned=iter(rungs),
        )
        for i, (steps, rungs) in enumerate(walks)
    ]  # fmt: skip
    rig.lane.start(*made)
    for _ in made:
        assert rig.ended.get(timeout=30)[2] is None
    return made


def test_a_pinned_row_is_computed_at_its_rung_whatever_waits(rig: Rig) -> None:
    pinned(rig, (at_once(Doubler(), 1, 2, 3), [4, 4, 1]), (at_once(Doubler(), 4), [4]))
    assert [(b.rows, b.rung) for b in rig.batches()] == [(1, 1), (3, 4)]


def test_more_pinned_rows_than_their_rung_go_in_several_batches(rig: Rig) -> None:
    pinned(rig, (at_once(Doubler(), 1, 2, 3), [2, 2, 2]))
    assert [(b.rows, b.rung) for b in rig.batches()] == [(2, 2), (1, 2)]


def test_rows_of_a_call_that_is_alone_are_batched_among_themselves_only(rig: Rig) -> None:
    model = Doubler()
    three, one, free = pinned(
        rig,
        (at_once(model, 1, 2, 3), [ALONE] * 3),
        (loop(model, 4, 5), [ALONE] * 2),
        (at_once(model, *range(6, 76)), [ALONE] * 70),
    )
    assert model.rows[:2] == [[1, 2, 3, 3], [4]]
    assert [(b.rows, b.rung) for b in rig.batches()][2:] == [(32, 32), (1, 1), (32, 32), (6, 8)]
    assert (three.rungs, one.rungs) == ([4] * 3, [1, 1])
    assert free.rungs == [32] * 64 + [8] * 6


def test_rows_pinned_to_one_rung_share_batches_across_jobs_and_with_no_others(rig: Rig) -> None:
    model = Doubler()
    pinned(
        rig, (loop(model, 1), [4]), (loop(model, 2), [4]), (loop(model, 3), [2]), (loop(model, 4), [ALONE]),
        (loop(model, 5), []),
    )  # fmt: skip
    assert sorted(map(sorted, model.rows)) == [[1, 2, 2, 2], [3, 3], [4], [5]]


def test_full_batches_go_before_partial_ones(rig: Rig) -> None:
    model = Doubler()
    pinned(rig, (at_once(model, 1), [4]), (at_once(model, 2.0, 3.0), [2, 2]))
    assert model.rows == [[2.0, 3.0], [1, 1, 1, 1]]


def test_a_partial_batch_does_not_starve_behind_full_ones(rig: Rig) -> None:
    model, over = Doubler(), []

    def endless(row: float) -> Steps[None]:
        while not over:
            yield from call(model, row)

    def brief() -> Steps[None]:
        yield from call(model, 1)
        over.append(True)

    pinned(rig, (brief(), [4]), *((endless(float(i)), [2] * 1000) for i in range(4)))
    assert model.rows.index([1, 1, 1, 1]) == PASSED_OVER


def urgent(rig: Rig, steps: Steps[Any], priority: int, pinned: list[int] | None = None) -> Walk:
    return Walk(
        steps, steps, asked=lambda ask: None, told=lambda progress: None, priority=priority,
        ended=lambda value, error: rig.ended.put((priority, value, error)),
        pinned=iter(pinned) if pinned else None,
    )  # fmt: skip


def test_calls_of_a_higher_priority_go_between_two_steps_of_others(rig: Rig) -> None:
    model = Doubler()

    def long() -> Steps[list[Any]]:
        answers = []
        for i in range(20):
            if i == 3:
                rig.lane.start(urgent(rig, loop(model, 1.0, 2.0, 3.0, 4.0), 1))
            answers += yield from call(model, i)
        return answers

    rig.lane.start(urgent(rig, long(), 0))
    ends = [rig.ended.get(timeout=30) for _ in range(2)]
    assert [priority for priority, _, _ in ends] == [1, 0]
    assert model.rows[3:8] in ([[3], [1.0], [2.0], [3.0], [4.0]], [[1.0], [2.0], [3.0], [4.0], [3]])
    assert ends[1][1] == [2 * i for i in range(20)]


def test_rows_of_lower_priority_ride_along_in_place_of_padding_only(rig: Rig) -> None:
    model = Doubler()
    walks = [urgent(rig, at_once(model, *range(5)), 0), urgent(rig, at_once(model, 10, 11, 12), 1)]
    rig.lane.start(*walks)
    assert {rig.ended.get(timeout=30)[2] for _ in walks} == {None}
    assert model.rows == [[10, 11, 12, 0], [1, 2, 3, 4]]


def test_with_a_pinned_rung_they_fill_it(rig: Rig) -> None:
    model = Doubler()
    walks = [urgent(rig, at_once(model, 1, 2), 0, [4, 4]), urgent(rig, at_once(model, 10), 1, [4])]
    rig.lane.start(*walks)
    assert {rig.ended.get(timeout=30)[2] for _ in walks} == {None}
    assert model.rows == [[10, 1, 2, 2]]


def test_a_walk_remembers_the_rung_of_each_of_its_rows(rig: Rig) -> None:
    first, second = pinned(rig, (at_once(Doubler(), 1, 2, 3), [2, 8, 2]), (loop(Doubler(), 1, 2), [8]))
    assert first.rungs == [2, 8, 2]
    assert second.rungs == [8, 1], "what is not pinned is left to the lane"


def test_walks_begun_together_share_their_first_batch(rig: Rig) -> None:
    pinned(rig, *((loop(Doubler(), i), []) for i in range(8)))
    assert [(b.rows, b.rung) for b in rig.batches()] == [(8, 8)]


def test_nodes_of_a_run_that_are_ready_together_share_their_batch_however_fast_the_lane_is(
    world: World,
) -> None:
    lane, told = world.engine._lane, []

    def listen(event: Any) -> None:
        told.append(event)
        for _ in range(5 if isinstance(event, NodeStarted) else 0):  # all that the lane has got is done
            reached = threading.Event()
            lane.run(reached.set, lambda value, error: None)
            assert reached.wait(10)

    graph = {"1": n("Value", value=1)} | {id: n("AddInSteps", a=["1", 0], plus=int(id)) for id in "234"}
    shown = {f"s{id}": n("Show", value=[id, 0]) for id in "234"}
    world.engine.run(world.plan(graph | shown), listen)
    assert [(b.rows, b.rung) for b in told if isinstance(b, ModelBatch)] == [(3, 4)]


def test_an_error_reaches_the_walks_of_its_batch_only(rig: Rig) -> None:
    found = rig.run(a=loop(Doubler(), "bad"), b=loop(Doubler(), "good"), c=loop(Doubler(), 1, 2))
    assert isinstance(found["a"], ValueError)
    assert isinstance(found["b"], ValueError)
    assert found["c"] == [2, 4]


def test_a_walk_may_catch_the_error_and_go_on(rig: Rig) -> None:
    def careful() -> Steps[Any]:
        try:
            yield from call(Doubler(), "bad")
        except ValueError:
            return (yield from call(Doubler(), 4))

    assert rig.run(a=careful()) == {"a": [8]}


def test_out_of_memory_frees_what_is_held_and_tries_again(rig: Rig) -> None:
    model = Doubler(fits=[2])
    rig.devices.held("weights", lambda: [0], lambda _: 5 * 2**20)

    def grow(_: Any) -> None:
        model.fits[0] = 10**9

    rig.lane._listen = lambda e: (rig.events.append(e), grow(e) if isinstance(e, Notice) else None)  # type: ignore[assignment]
    assert rig.run(a=at_once(model, 1, 2, 3, 4)) == {"a": [2, 4, 6, 8]}
    assert [len(rows) for rows in model.rows] == [4, 4]
    assert "freed 5 MB" in next(e.message for e in rig.events if isinstance(e, Notice))


def test_out_of_memory_again_halves_the_rung_until_it_fits(rig: Rig) -> None:
    model = Doubler(fits=[2])
    assert rig.run(a=at_once(model, *range(7))) == {"a": [2 * i for i in range(7)]}
    assert [len(rows) for rows in model.rows] == [8, 8, 4, 2, 2, 2, 2]
    assert rig.batches()[0].rung == 2, "the rung that was used is recorded"


def test_a_row_that_never_fits_is_an_error(rig: Rig) -> None:
    assert isinstance(rig.run(a=at_once(Doubler(fits=[0]), 1, 2))["a"], MemoryError)
    assert rig.run(a=at_once(Doubler(), 1)) == {"a": [2]}


def test_stopping_a_job_closes_its_generators_and_no_other(rig: Rig) -> None:
    closed: list[str] = []

    def endless(name: str) -> Steps[None]:
        try:
            while True:
                yield Progress(1, 2)
                if name == "b" and closed:
                    return
                yield from call(Doubler(), 1)
        finally:
            closed.append(name)

    for name in "aab":
        rig.start(name, endless(name))
    rig.lane.stop_job("a")
    ended = [rig.ended.get(timeout=30) for _ in "aab"]
    assert closed == ["a", "a", "b"]
    assert [type(e) for _, _, e in ended] == [Stopped, Stopped, type(None)]


def test_a_generator_that_raises_while_it_is_closed_does_not_end_the_lane(rig: Rig) -> None:
    def stubborn() -> Steps[None]:
        try:
            while True:
                yield from call(Doubler(), 1)
        finally:
            raise ZeroDivisionError

    rig.start("a", stubborn())
    rig.lane.stop_job("a")
    assert isinstance(rig.ended.get(timeout=30)[2], Stopped)
    assert rig.run(b=loop(Doubler(), 2)) == {"b": [4]}


def test_a_call_without_requests_is_answered_at_once(rig: Rig) -> None:
    assert rig.run(a=at_once(Doubler())) == {"a": []}
    assert rig.batches() == []


def test_a_generator_that_only_tells_progress_can_be_stopped() -> None:
    begun, ended = threading.Event(), threading.Event()
    outcomes: list[BaseException | None] = []

    def endless() -> Steps[None]:
        while True:
            begun.set()
            yield Progress(1, 2)

    def over(_value: Any, error: BaseException | None) -> None:
        outcomes.append(error)
        ended.set()

    lane = Lane(Devices("cpu"))
    walk = Walk(endless(), "job", asked=lambda _: None, told=lambda _: None, ended=over)
    lane.start(walk)
    assert begun.wait(10)
    lane.stop(walk)
    assert ended.wait(10)
    assert isinstance(outcomes[0], Stopped)
    lane.close()
