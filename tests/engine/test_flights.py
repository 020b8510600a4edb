"""Jobs of an engine that need the same nodes at once: one runs them, the others wait; nobody for ever."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest
from toys import GROW, REGISTRY, Log, Number, n

from engine import events
from engine.cache import Tiers
from engine.cache.memory import MemoryTier
from engine.devices import Devices
from engine.job import AT_ONCE, Job
from engine.node import node
from engine.ports import Blocked, Env, Given
from engine.runner import Engine, Run
from engine.steps import Subgraph
from engine.workflow import from_json


@dataclass
class Gates:
    """What holds the nodes of a test up, and how they go on: a value, an error or a blocker."""

    open: asyncio.Event = field(default_factory=asyncio.Event)
    bad: list[Any] = field(default_factory=list)


@node("Wait", category="tests")
async def wait(
    *, who: int = 0, log: Annotated[Log, Given()], gates: Annotated[Gates, Given()]
) -> Number:  # fmt: skip
    """A number, once the gate is open."""
    log.ran.append(who)
    await gates.open.wait()
    if gates.bad:
        raise gates.bad.pop()
    return who


@node("Refuse", category="tests")
async def refuse(*, log: Annotated[Log, Given()], gates: Annotated[Gates, Given()]) -> Number:
    """A blocker, once the gate is open."""
    log.ran.append("refused")
    await gates.open.wait()
    return Blocked("not now")  # type: ignore[return-value]


@node("WaitAnew", category="tests", volatile=True, is_output=True)
async def wait_anew(*, log: Annotated[Log, Given()], gates: Annotated[Gates, Given()]) -> Number:
    """Another number each time."""
    log.ran.append("anew")
    await gates.open.wait()
    return len(log.ran)


class Hall:
    """An engine whose nodes wait at gates."""

    def __init__(self, tiers: Tiers | None = None) -> None:
        self.log, self.gates = Log(), Gates()
        env = Env(self.log, self.gates, Devices("cpu"))
        registry = REGISTRY.with_nodes(wait, refuse, wait_anew)  # type: ignore[arg-type]
        self.engine = Engine(registry, env, tiers)
        self.events: dict[Job, list[events.Event]] = {}

    def begin(self, graph: Mapping[str, Any], **how: Any) -> tuple[Job, asyncio.Task[Run]]:
        """A job under way."""
        told: list[events.Event] = []
        plan = self.engine.plan(from_json(dict(graph)))
        job = self.engine.start(plan, told.append, **how)
        self.events[job] = told
        return job, asyncio.create_task(self.engine.finish(job))

    def act(self, play: Callable[["Hall"], Awaitable[None]]) -> None:
        asyncio.run(asyncio.wait_for(play(self), 30))


@pytest.fixture
def hall() -> Iterator[Hall]:
    hall = Hall()
    yield hall
    hall.engine.close()


async def until(what: Callable[[], object]) -> None:
    while not what():
        await asyncio.sleep(0)


def shown(who: int = 0) -> dict[str, Any]:
    return {"1": n("Wait", who=who), "2": n("Show", value=["1", 0])}


def following(job: Job) -> list[str]:
    return list(job._elsewhere.following)


def test_a_node_under_way_in_another_job_is_awaited(hall: Hall) -> None:
    async def play(hall: Hall) -> None:
        _, first = hall.begin(shown(who=7))
        await until(lambda: hall.log.ran == [7])
        second, other = hall.begin({"a": n("Wait", who=7), "b": n("Show2", values=["a", 0])})
        await until(lambda: following(second) == ["a"])
        hall.gates.open.set()
        assert (await first).executed == ("1", "2")
        run = await other
        assert (run.status, run.cached, run.executed) == ("success", ("a",), ("b",))
        told = [e for e in hall.events[second] if isinstance(e, events.NodeCached)]
        assert [(e.node_id, e.tier) for e in told] == [("a", "run")]
        assert dict(run.results["b"].ui) == {"text": ["[7]"]}

    hall.act(play)
    assert hall.log.ran == [7, ("Show", 7)]


def test_an_output_under_way_is_shared_and_what_it_is_made_of_not_asked_for(hall: Hall) -> None:
    async def play(hall: Hall) -> None:
        _, first = hall.begin(shown(who=7))
        second, other = hall.begin({"a": n("Wait", who=7), "b": n("Show", value=["a", 0])})
        await until(lambda: following(second) == ["b"] and hall.log.ran)
        hall.gates.open.set()
        assert (await first).executed == ("1", "2")
        run = await other
        assert (run.status, run.cached, run.executed) == ("success", ("b",), ())
        assert dict(run.results["b"].ui) == {"text": ["7"]}
        assert [type(e) for e in hall.events[second]][1:] == [events.NodeCached, events.RunFinished]

    hall.act(play)


def test_the_records_of_both_jobs_are_equal(hall: Hall) -> None:
    graph = {"1": n("Wait", who=0), "2": n("AddInSteps", a=["1", 0]), "3": n("Show", value=["2", 0])}

    async def play(hall: Hall) -> None:
        runs = [hall.begin(graph)[1] for _ in range(3)]
        await until(lambda: hall.log.ran)
        hall.gates.open.set()
        records = [run.record() for run in await asyncio.gather(*runs)]
        assert records[0] == records[1] == records[2]
        assert records[0].rungs == {"2": 1}

    hall.act(play)


def test_where_the_leader_fails_the_others_run_the_node_themselves_and_together(hall: Hall) -> None:
    async def play(hall: Hall) -> None:
        _, first = hall.begin(shown())
        await until(lambda: hall.log.ran)
        others = [hall.begin(shown()) for _ in range(3)]
        await until(lambda: all(following(job) for job, _ in others))
        hall.gates.bad.append(ValueError("only once"))
        hall.gates.open.set()
        assert (await first).status == "error"
        hall.gates.open.clear()
        await until(lambda: hall.log.ran == [0] * 4)
        hall.gates.open.set()
        assert [(await run).status for _, run in others] == ["success"] * 3

    hall.act(play)


@pytest.mark.parametrize("by", ["cancel", "task"])
def test_where_the_leader_is_cancelled_one_of_the_others_runs_the_node(hall: Hall, by: str) -> None:
    async def play(hall: Hall) -> None:
        first, task = hall.begin(shown())
        await until(lambda: hall.log.ran)
        others = [hall.begin(shown()) for _ in range(3)]
        await until(lambda: all(following(job) for job, _ in others))
        first.cancel() if by == "cancel" else task.cancel()
        await until(lambda: len(hall.log.ran) == 2)
        await asyncio.wait([task])
        hall.gates.open.set()
        assert [(await run).status for _, run in others] == ["success"] * 3

    hall.act(play)
    assert hall.log.ran.count(0) == 2


def test_a_job_that_is_cancelled_while_it_waits_ends_at_once(hall: Hall) -> None:
    async def play(hall: Hall) -> None:
        _, first = hall.begin(shown())
        await until(lambda: hall.log.ran)
        second, other = hall.begin(shown())
        await until(lambda: following(second))
        second.cancel()
        assert (await other).status == "cancelled"
        hall.gates.open.set()
        assert (await first).status == "success"

    hall.act(play)


def test_every_job_says_itself_that_a_node_is_blocked(hall: Hall) -> None:
    graph = {"1": n("Refuse"), "2": n("Add", a=["1", 0]), "3": n("Show", value=["2", 0])}

    async def play(hall: Hall) -> None:
        (one, _), (two, _) = jobs = [hall.begin(graph) for _ in range(2)]
        await until(lambda: hall.log.ran)
        hall.gates.open.set()
        assert [(await run).status for _, run in jobs] == ["success"] * 2
        for job in (one, two):
            assert [e.message for e in hall.events[job] if isinstance(e, events.NodeSkipped)] == ["not now"]

    hall.act(play)


def test_what_must_run_each_time_is_run_in_each_job_even_of_one_plan(hall: Hall) -> None:
    async def play(hall: Hall) -> None:
        plan = hall.engine.plan(from_json({"1": n("WaitAnew")}))
        runs = [asyncio.create_task(hall.engine.finish(hall.engine.start(plan))) for _ in range(2)]
        await until(lambda: hall.log.ran == ["anew", "anew"])
        hall.gates.open.set()
        await asyncio.gather(*runs)

    hall.act(play)


def test_a_job_does_not_wait_for_one_of_lower_priority(hall: Hall) -> None:
    async def play(hall: Hall) -> None:
        _, low = hall.begin(shown(), priority=0)
        await until(lambda: hall.log.ran)
        _, high = hall.begin(shown(), priority=1)
        await until(lambda: hall.log.ran == [0, 0])
        lower, last = hall.begin(shown(), priority=-1)
        await until(lambda: following(lower))
        hall.gates.open.set()
        assert [(await run).status for run in (low, high, last)] == ["success"] * 3

    hall.act(play)


def test_a_job_with_tiers_of_its_own_runs_everything_itself(hall: Hall) -> None:
    async def play(hall: Hall) -> None:
        _, first = hall.begin(shown())
        await until(lambda: hall.log.ran)
        _, second = hall.begin(shown(), tiers=Tiers(()))
        await until(lambda: hall.log.ran == [0, 0])
        hall.gates.open.set()
        assert (await first).executed == (await second).executed == ("1", "2")

    hall.act(play)


def test_waiting_nodes_take_no_place(hall: Hall) -> None:
    def many(*last: dict[str, Any]) -> dict[str, Any]:
        graph = {"last": n("Show2", values=["own", 0]), "own": last[0]} if last else {}
        for i in range(AT_ONCE):
            graph |= {f"w{i}": n("Wait", who=i), f"s{i}": n("Show", value=[f"w{i}", 0])}
        return graph

    async def play(hall: Hall) -> None:
        _, first = hall.begin(many())
        await until(lambda: len(hall.log.ran) == AT_ONCE)
        second, other = hall.begin(many(n("AddAsync", plus=3)))
        await until(lambda: len(following(second)) == AT_ONCE and "last" in second.executed)
        hall.gates.open.set()
        assert len((await other).cached) == AT_ONCE
        await first

    hall.act(play)


def test_what_another_job_has_made_since_the_plan_is_not_made_again() -> None:
    hall = Hall(Tiers([MemoryTier(2**20)]))
    hall.gates.open = asyncio.Event()

    async def play(hall: Hall) -> None:
        hall.gates.open.set()
        plan = hall.engine.plan(from_json(shown(who=3)))
        await hall.begin(shown(who=3))[1]
        run = await hall.engine.finish(hall.engine.start(plan))
        assert (run.executed, run.cached) == ((), ("2",))

    hall.act(play)
    hall.engine.close()
    assert hall.log.ran == [3, ("Show", 3)]


def test_jobs_whose_added_nodes_wait_for_each_other_in_a_circle_end_with_an_error(hall: Hall) -> None:
    GROW["x"] = Subgraph({"x.n": n("Add", a=["z", 0])}, (["x.n", 0],))
    GROW["z"] = Subgraph({"z.n": n("Add", a=["x", 0])}, (["z.n", 0],))
    both = {
        "w": n("Wait", who=1), "x": n("Grow", what="x", a=["w", 0]), "z": n("Grow", what="z", a=["w", 0]),
        "no x": n("Switch", yes=["w", 0], no=["x", 0], take=["w", 0]),
        "no z": n("Switch", yes=["w", 0], no=["z", 0], take=["w", 0]),
    } | {f"show {id}": n("Show", value=[id, 0]) for id in ("x", "z", "no x", "no z")}  # fmt: skip

    async def play(hall: Hall) -> None:
        targets = ["show x", "show no z"], ["show z", "show no x"]
        plans = [hall.engine.plan(from_json(both), t) for t in targets]
        jobs = [asyncio.create_task(hall.engine.finish(hall.engine.start(plan))) for plan in plans]
        await until(lambda: hall.log.ran)
        hall.gates.open.set()
        for run in await asyncio.gather(*jobs):
            assert run.status == "error"
            assert "cycle" in run.failures[0].message

    hall.act(play)


def test_a_node_that_waits_for_a_lazy_input_is_shared_too(hall: Hall, tmp_path: Path) -> None:
    graph = {
        "t": n("Value", value=1), "w": n("Wait", who=0), "o": n("Show", value=["s", 0]),
        "s": n("Switch", yes=["w", 0], no=["t", 0], take=["t", 0]),
    }  # fmt: skip

    async def play(hall: Hall) -> None:
        (one, _), (two, _) = jobs = [hall.begin(graph) for _ in range(2)]
        await until(lambda: hall.log.ran and (following(one) or following(two)))
        hall.gates.open.set()
        runs = [await run for _, run in jobs]
        assert len(runs[0].executed) + len(runs[1].executed) == 4

    hall.act(play)
    assert hall.log.ran.count(0) == 1
