"""The held tier: results stay until the last job that needs them has ended; what is predicted is executed."""

import asyncio
import itertools
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from toys import World, n

from engine.cache import UNKNOWN, Result, Tiers
from engine.cache.codec import nbytes
from engine.cache.held import HeldTier
from engine.plan import Plan
from engine.runner import Run

ADDERS = ("Add", "AddOnDevice", "AddInSteps", "AddAsync")


def of(text: str) -> Result:
    return Result(([text],))


def test_a_result_stays_until_its_last_use() -> None:
    held = HeldTier({"a": 2, "b": 1}, 10**6)
    for key in "abc":
        held.put(key, of(key), UNKNOWN)
    assert [held.has(key) for key in "abc"] == [True, True, False]
    held.used(["a", "b", "c"])
    assert held.get("a") == of("a")
    assert held.get("b") is None
    held.used(["a"])
    assert not held.has("a")
    assert held.bytes == 0
    held.put("a", of("a"), UNKNOWN)
    assert not held.has("a"), "nobody needs it any more"


def test_what_would_go_beyond_the_budget_is_not_kept() -> None:
    size = nbytes(of("x" * 1000).outputs) + nbytes({})
    held = HeldTier(dict.fromkeys("abc", 1), 2 * size)
    for key in "abc":
        held.put(key, of("x" * 1000), UNKNOWN)
    assert [held.has(key) for key in "abc"] == [True, True, False]
    assert held.bytes == 2 * size
    held.used("a")
    held.put("c", of("x" * 1000), UNKNOWN)
    assert held.has("c")


def test_a_result_is_counted_once_however_often_it_is_put() -> None:
    held = HeldTier({"a": 1}, 10**6)
    held.put("a", of("a"), UNKNOWN)
    before = held.bytes
    held.put("a", of("a"), UNKNOWN)
    assert held.bytes == before


@st.composite
def sweeps(draw: st.DrawFn) -> list[dict[str, Any]]:
    """The jobs of a sweep: a random graph of adders on all lanes, numbers in it varied, in random order."""
    graph: dict[str, Any] = {"0": n("Value", value=1)}
    for i in range(1, draw(st.integers(2, 7))):
        inputs = {"a": [str(draw(st.integers(0, i - 1))), 0], "plus": i}
        if draw(st.booleans()):
            inputs["b"] = [str(draw(st.integers(0, i - 1))), 0]
        graph[str(i)] = n(draw(st.sampled_from(ADDERS)), **inputs)
    ends = draw(st.sets(st.sampled_from(sorted(graph)), min_size=1, max_size=3))
    axes = draw(st.lists(st.sampled_from(sorted(graph.keys() - {"0"})), min_size=1, max_size=3, unique=True))
    jobs = []
    for values in itertools.product(*(range(draw(st.integers(1, 4))) for _ in axes)):
        job = {id: {**node, "inputs": dict(node["inputs"])} for id, node in graph.items()}
        for id, number in zip(axes, values, strict=True):
            job[id]["inputs"]["plus"] = 100 * number
        jobs.append(job | {f"show {id}": n("Show", value=[id, 0]) for id in ends})
    return draw(st.permutations(jobs))


def expected(graph: dict[str, Any], id: str) -> int:
    inputs = graph[id]["inputs"]
    if id == "0":
        return int(inputs["value"])
    return int(inputs["plus"]) + sum(expected(graph, inputs[p][0]) for p in "ab" if p in inputs)


def consulted(plans: list[Plan]) -> list[set[str]]:
    """The keys that each job consults, if the first that has a node runs it."""
    known: set[str] = set()
    found = []
    for plan in plans:
        new = [id for id, key in plan.keys.items() if key not in known]
        links = {link.node_id for id in new for link in plan.graph.nodes[id].links.values()}
        found.append({plan.keys[id] for id in (*links, *plan.targets)})
        known.update(plan.keys.values())
    return found


@settings(max_examples=60, deadline=None)
@given(sweeps(), st.integers(1, 8), st.booleans())
def test_a_sweep_runs_its_distinct_nodes_once_however_many_jobs_run_together(
    sweep: list[dict[str, Any]], together: int, sparing: bool
) -> None:
    """Whether each job says all keys that it knows, or the first with a node only what that consults."""
    with tempfile.TemporaryDirectory() as base:
        world = World(Path(base))
        plans = [world.plan(graph) for graph in sweep]
        needs = consulted(plans) if sparing else [set(plan.keys.values()) for plan in plans]
        distinct = {key for plan in plans for key in plan.keys.values()}
        held = HeldTier(
            {k: count for k, count in Counter(itertools.chain(*needs)).items() if count > 1}, 10**9
        )
        world.engine.tiers = Tiers([held])

        async def all_of_them() -> list[Run]:
            places = asyncio.Semaphore(together)

            async def one(i: int) -> Run:
                async with places:
                    plan = world.plan(sweep[i]) if i % 2 else plans[i]
                    run = await world.engine.finish(world.engine.start(plan))
                    held.used(needs[i])
                    return run

            return await asyncio.wait_for(asyncio.gather(*map(one, range(len(sweep)))), 60)

        runs = asyncio.run(all_of_them())
        world.close()
    assert sum(len(run.executed) for run in runs) == len(distinct)
    assert held.bytes == 0
    for graph, run in zip(sweep, runs, strict=True):
        for id, result in run.results.items():
            assert result.ui["text"] == [str(expected(graph, id.removeprefix("show ")))]
