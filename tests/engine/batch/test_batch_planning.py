"""Plans of batches: what merges, what is counted, at which rungs; and that what is predicted is executed."""

import json
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sweeps import REGISTRY, Bench, titled, workflow
from toys import n

from engine.batch import Batch
from engine.batch.planning import BatchPlan, plan_batch
from engine.batch.reading import read_batch
from engine.cache import Tiers
from engine.cache.disk import DiskTier
from engine.cache.held import HeldTier
from engine.node import Node
from engine.plan import Plan
from engine.problems import NodeFailure, WorkflowError
from engine.workflow import Workflow, from_json


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(tmp_path) as bench:
        yield bench


def read(*vary: str, of: Workflow | None = None, **options: Any) -> Batch:
    return read_batch(of or workflow(), REGISTRY, vary, **options)


def executed(bench: Bench, plan: BatchPlan, held: HeldTier | None = None) -> int:
    """Run the jobs one after another, as they are planned when their turn comes."""
    count = 0
    for planned in plan.jobs:
        run = bench.engine.run(bench.engine.plan(planned.job.workflow))
        assert run.status == "success"
        count += len(run.executed)
        if held:
            held.used(planned.uses)
    return count


SWEEP = ('Prompt.text=["a","b","c"]', "Sampler.seed=1..4", "Sampler.cfg=1,2")


def test_jobs_merge_by_key(bench: Bench) -> None:
    plan = plan_batch(read(*SWEEP), bench.engine)
    assert plan.runs == 1 + 3 + 1 + 3 * 24
    assert plan.asked == 6 * 24
    assert (plan.cached, plan.lazy, plan.seconds) == (0, 0, None)
    assert [p.job.number for p in plan.jobs] == list(range(1, 25))
    assert executed(bench, plan) == plan.runs


def test_what_the_cache_has_is_counted_and_not_run(bench: Bench) -> None:
    first = plan_batch(read("Prompt.text=a,b", "Sampler.seed=1,2"), bench.engine)
    executed(bench, first)
    plan = plan_batch(read("Prompt.text=a,b,c", "Sampler.seed=2"), bench.engine)
    assert plan.runs == 1 + 3 + 2  # a prompt, all of its job, and pictures under other names
    assert plan.cached == 2 + 2  # two pictures; the model and the negative prompt for the third
    assert executed(bench, plan) == plan.runs


def test_jobs_that_are_done_are_not_counted(bench: Bench) -> None:
    plan = plan_batch(read(*SWEEP), bench.engine, done=range(1, 17))
    assert plan.runs == 1 + 1 + 1 + 3 * 8
    assert plan.asked == 6 * 8
    assert [p.job.number for p in plan.jobs] == list(range(17, 25))
    assert plan_batch(read(*SWEEP), bench.engine, done=range(1, 25)).jobs == ()


def test_volatile_nodes_run_in_every_job(bench: Bench) -> None:
    graph = workflow(n5=titled("Sampler", "Add", a=["8", 0], plus=1), n8=titled("Dice", "Volatile"))
    plan = plan_batch(read("Sampler.plus=1,2,2", of=graph), bench.engine)
    assert plan.runs == plan.asked == 3 * 4
    assert executed(bench, plan) == plan.runs
    assert plan.uses == {}


def test_uses_count_the_jobs_that_need_a_result(bench: Bench) -> None:
    batch = read("Prompt.text=a,b", "Sampler.seed=1,2,3")
    plan = plan_batch(batch, bench.engine)
    keys = plan.jobs[0].plan.keys
    assert {id: plan.uses.get(keys[id]) for id in keys} == {
        "1": 2,  # the first job encodes both of its prompts, the fourth another one
        "2": 3, "3": 6, "5": None, "6": None, "7": None,
    }  # fmt: skip
    assert [keys["1"] in job.uses for job in plan.jobs] == [True, False, False, True, False, False]
    left = plan_batch(batch, bench.engine, done=[1, 5])
    assert (left.uses[keys["2"]], left.uses[keys["3"]]) == (2, 4)


def test_what_a_later_job_needs_is_held_over_those_between(bench: Bench) -> None:
    graph = workflow(n8=n("Add", a=["5", 0]), n6=titled("Decode", "Decode", samples=["8", 0]))
    batch = read("8.plus=1,2", "Save.filename_prefix=a,b,c", of=graph, name="{prefix}/{8.plus}")
    plan = plan_batch(batch, bench.engine)
    key = plan.jobs[0].plan.keys["5"]
    assert [key in job.uses for job in plan.jobs] == [True, False, False, True, False, False]
    held = HeldTier(plan.uses, 2**20)
    bench.engine.tiers = Tiers([held])
    assert executed(bench, plan, held) == plan.runs == 4 + 2 + 2 + 6
    assert held.bytes == 0


def test_outputs_that_jobs_have_in_common_are_made_once(bench: Bench) -> None:
    graph = workflow(n9=n("Show", value=["1", 0]))
    plan = plan_batch(read("Sampler.seed=1..3", of=graph), bench.engine)
    assert plan.uses[plan.jobs[0].plan.keys["9"]] == 3
    held = HeldTier(plan.uses, 2**20)
    bench.engine.tiers = Tiers([held])
    assert executed(bench, plan, held) == plan.runs == 1 + 2 + 1 + 3 * 3


def test_an_estimate_is_what_the_classes_took(tmp_path: Path) -> None:
    disk = DiskTier(tmp_path / "cache", 2**24, worth=0.0)
    with Bench(tmp_path, disk) as bench:
        assert plan_batch(read("Sampler.seed=1,2"), bench.engine).seconds is None
        executed(bench, plan_batch(read("Sampler.seed=9", name="before"), bench.engine))
        plan = plan_batch(read("Sampler.seed=1,2"), bench.engine)
        assert plan.cached == 2
        classes = {"Sample": 2, "Decode": 2, "Keep": 2}
        usual = {name: disk.usual_cost(name) or 0.0 for name in classes}
        assert plan.seconds == pytest.approx(sum(usual[c] * count for c, count in classes.items()))
        disk.close()


# ------------------------------------------------------------ against counting without sharing


@st.composite
def sweeps(draw: st.DrawFn, lazy: bool = False) -> Batch:
    """Sums of sums with a volatile one among them; what nothing takes is shown."""
    graph: dict[str, Any] = {"v": n("Volatile"), "0": n("Add")}
    for i in range(1, draw(st.integers(2, 6))):
        ids = st.sampled_from(sorted(graph))
        kind = draw(st.sampled_from(["Add", "AddInSteps", *(["Either"] if lazy else [])]))
        ports = ("first", "second") if kind == "Either" else draw(st.sampled_from([("a",), ("a", "b")]))
        graph[f"{i}"] = n(kind, **{port: [draw(ids), 0] for port in ports})
        if kind == "Either":
            graph[f"{i}"]["inputs"]["take"] = True
    taken = {link[0] for node in graph.values() for link in node["inputs"].values() if isinstance(link, list)}
    ends = [id for id in graph if id not in taken | {"v"}]
    sums = [id for id, node in graph.items() if node["class_type"].startswith("Add")]
    graph |= {f"out{id}": n("Show", value=[id, 0]) for id in ends}
    lists = st.lists(st.integers(0, 2), min_size=1, max_size=3)
    varied = draw(st.dictionaries(st.sampled_from(sums), lists, min_size=1, max_size=3))
    vary = [f"{id}.plus={json.dumps(values)}" for id, values in varied.items()]
    vary += [f"{id}.take=true,false" for id in graph if "take" in graph[id]["inputs"]][:1]
    return read(*vary, of=from_json(graph))


def counted(plans: Collection[Plan]) -> tuple[int, int, int]:
    """What runs, what is cached and what was asked for, of plans that were made one by one."""
    runs = {p.keys[id] for p in plans for id in p.runs}
    served = {p.keys[id] for p in plans for id, tier in p.served.items() if tier != "run"}
    return len(runs), len(served - runs), sum(len(p.runs) for p in plans)


numbers = st.sets(st.integers(1, 30))
many = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@many
@given(sweeps(), numbers, numbers)
def test_a_plan_counts_what_plans_one_by_one_have_in_common(
    batch: Batch, ran: set[int], done: set[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder, Bench(Path(folder)) as bench:
        for job in batch.jobs:
            if job.number in ran:
                bench.engine.run(bench.engine.plan(job.workflow))
        plan = plan_batch(batch, bench.engine, done)
        left = [bench.engine.plan(job.workflow) for job in batch.jobs if job.number not in done]
        assert (plan.runs, plan.cached, plan.asked) == counted(left)
        for planned, alone in zip(plan.jobs, left, strict=True):
            assert planned.plan.runs == alone.runs
            assert planned.plan.served == alone.served
            assert planned.plan.graph.nodes == alone.graph.nodes
            lasting = [id for id, parts in alone.parts.items() if parts.lasts == "ever"]
            assert {id: planned.plan.keys[id] for id in lasting} == {id: alone.keys[id] for id in lasting}


@many
@given(sweeps(), numbers, st.booleans())
def test_what_is_predicted_is_executed(batch: Batch, ran: set[int], held: bool) -> None:
    """With the memory tier, and with nothing but what the uses say is held."""
    with tempfile.TemporaryDirectory() as folder, Bench(Path(folder)) as bench:
        for job in batch.jobs:
            if job.number in ran and not held:
                bench.engine.run(bench.engine.plan(job.workflow))
        if not held:
            plan = plan_batch(batch, bench.engine)
            assert executed(bench, plan) == plan.runs
            return
        bench.engine.tiers = Tiers(())
        plan = plan_batch(batch, bench.engine, done=ran)
        tier = HeldTier(plan.uses, 2**20)
        bench.engine.tiers = Tiers([tier])
        assert executed(bench, plan, tier) == plan.runs
        assert tier.bytes == 0


@many
@given(sweeps(lazy=True), st.booleans())
def test_what_lazy_inputs_may_ask_for_is_counted_beside(batch: Batch, held: bool) -> None:
    with tempfile.TemporaryDirectory() as folder, Bench(Path(folder)) as bench:
        plan = plan_batch(batch, bench.engine)
        every = {key for job in batch.jobs for key in bench.engine.plan(job.workflow).keys.values()}
        tier = HeldTier(plan.uses, 2**20)
        if held:
            bench.engine.tiers = Tiers([tier])
        count = executed(bench, plan, tier)
        assert plan.runs <= count <= len(every)
        if not plan.lazy:
            assert count == plan.runs
        assert tier.bytes == 0


# ------------------------------------------------------------ rungs


def pinned(batch: Batch, bench: Bench, **options: Any) -> list[dict[str, int]]:
    return [dict(job.pinned) for job in plan_batch(batch, bench.engine, **options).jobs]


def test_nodes_that_many_jobs_have_anew_share_the_largest_rung(bench: Bench) -> None:
    first, *others = pinned(read("Sampler.seed=1..16"), bench)
    assert first == {"2": 2, "3": 2, "5": 8, "6": 8}  # the two texts are encoded together
    assert all(other == first for other in others)
    assert pinned(read("Sampler.seed=1..5"), bench)[0] == {"2": 2, "3": 2, "5": 4, "6": 4}
    assert pinned(read("Sampler.seed=1..16"), bench, rung=2)[0]["5"] == 2
    assert pinned(read("Sampler.seed=1..64"), bench, rung=32)[0]["5"] == 16
    assert pinned(read("Sampler.seed=1..16"), bench, rung=1)[0]["5"] == 0


def test_texts_seeds_and_fractions_do_not_part_what_other_values_part(bench: Bench) -> None:
    texts = json.dumps([f"house {i}" for i in range(8)])
    assert pinned(read(f"Prompt.text={texts}", "Sampler.cfg=1,2"), bench)[0]["5"] == 8
    steps = pinned(read("Sampler.steps=1..2", "Sampler.seed=1..8"), bench)
    assert {p["5"] for p in steps} == {8}
    ragged = pinned(read("Sampler.steps=1..8", "Sampler.seed=1..2"), bench)
    assert {p["5"] for p in ragged} == {2}
    assert {p["5"] for p in pinned(read("Sampler.steps=1..16"), bench)} == {0}
    assert {p["6"] for p in pinned(read("Sampler.steps=1..16"), bench)} == {
        0
    }  # what is upstream parts them, too


def test_what_is_shared_by_a_window_is_counted_once(bench: Bench) -> None:
    texts = json.dumps([f"house {i}" for i in range(8)])
    seldom = pinned(read(f"Prompt.text={texts}", "Sampler.seed=1..16"), bench)
    assert seldom[0]["2"] == 0  # a text a window
    often = pinned(read("Sampler.seed=1..16", f"Prompt.text={texts}"), bench)
    assert often[0]["2"] == 8


def test_equal_nodes_have_equal_rungs_wherever_they_stand(bench: Bench) -> None:
    texts = json.dumps(["", *(f"house {i}" for i in range(15))])
    plan = plan_batch(read(f"Prompt.text={texts}"), bench.engine)
    assert plan.jobs[0].plan.keys["2"] == plan.jobs[0].plan.keys["3"]
    assert plan.jobs[0].pinned["2"] == plan.jobs[0].pinned["3"] == 8


def test_exact_pins_everything_to_one(bench: Bench) -> None:
    assert pinned(read("Sampler.seed=1..16"), bench, exact=True)[0] == {"2": 1, "3": 1, "5": 1, "6": 1}


@many
@given(sweeps(), numbers, numbers)
def test_rungs_depend_on_the_batch_alone(batch: Batch, ran: set[int], done: set[int]) -> None:
    with tempfile.TemporaryDirectory() as folder, Bench(Path(folder)) as bench:
        before = {job.job.number: job.pinned for job in plan_batch(batch, bench.engine).jobs}
        for job in batch.jobs:
            if job.number in ran:
                bench.engine.run(bench.engine.plan(job.workflow))
        after = {job.job.number: job.pinned for job in plan_batch(batch, bench.engine, done).jobs}
        assert after == {number: before[number] for number in before if number not in done}
        keyed: dict[str, set[int]] = {}
        for planned in plan_batch(batch, bench.engine).jobs:
            for id, rung in planned.pinned.items():
                keyed.setdefault(planned.plan.keys[id], set()).add(rung)
        assert all(len(rungs) == 1 for rungs in keyed.values())


# ------------------------------------------------------------ what is wrong


def said(batch: Batch, bench: Bench) -> list[str]:
    with pytest.raises(WorkflowError) as caught:
        plan_batch(batch, bench.engine)
    return [p.message for p in caught.value.problems]


def test_a_choice_that_there_is_not_is_said_with_the_job_and_its_place(bench: Bench, tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.csv"
    jobs.write_text("Checkpoint.name,Sampler.seed\nsmall,1\nhuge,2\n")
    batch = read("Sampler.cfg=1,2", jobs=jobs)
    assert said(batch, bench) == [
        f"'huge' is not one of the choices (job 3 and 1 more; {jobs}, line 3, column 1)"
    ]


def test_what_is_wrong_with_every_job_is_said_once_as_of_the_workflow(bench: Bench) -> None:
    graph = workflow(n6=titled("Decode", "Decode"), n9=titled("Other", "NoSuchNode"))
    assert sorted(said(read("Sampler.seed=1..50", of=graph), bench)) == [
        "no node class is called 'NoSuchNode'",
        "the NUMBER input is missing",
    ]


def test_a_link_may_be_replaced_in_some_jobs(bench: Bench, tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text('{"8.a": ["1", 0]}\n{"8.plus": 5}\n{"8.a": ["5", 0]}\n{"8.a": ["9", 0]}\n')
    graph = workflow(
        n8=n("Add", a=["6", 0]), n7=titled("Save", "Keep", filename_prefix="p", picture=["8", 0])
    )
    (message,) = said(read(jobs=jobs, of=graph), bench)
    assert message.startswith("links to node '9', which is not in the workflow (job 4; ")
    jobs.write_text(jobs.read_text().rpartition("{")[0])
    plan = plan_batch(read(jobs=jobs, of=graph), bench.engine)
    assert [len(job.plan.keys) for job in plan.jobs] == [3, 7, 6]
    assert executed(bench, plan) == plan.runs


def test_a_node_whose_ports_depend_on_its_inputs_is_bound_for_each(bench: Bench) -> None:
    add = REGISTRY.nodes["Add"]

    def shape(inputs: Mapping[str, Any]) -> Node[..., Any]:
        if inputs.get("plus") == 3:
            raise NodeFailure("three is too many")
        return replace(add, inputs=tuple(v for v in add.inputs if v.name != "b" or inputs.get("plus") == 1))

    shaped = replace(add, name="Shaped", shape=shape)
    bench.engine.registry = registry = REGISTRY.with_nodes(shaped)
    graph = workflow(
        n8=titled("S", "Shaped", a=["5", 0], b=["3", 0]), n6=titled("D", "Decode", samples=["8", 0])
    )
    plan = plan_batch(read_batch(graph, registry, ["S.plus=1,2", "Sampler.seed=1,2"]), bench.engine)
    assert [sorted(job.plan.graph.nodes["8"].links) for job in plan.jobs] == [["a", "b"]] * 2 + [["a"]] * 2
    assert counted([bench.engine.plan(job.job.workflow) for job in plan.jobs]) == (plan.runs, 0, plan.asked)
    (message,) = said(read_batch(graph, registry, ["S.plus=1,3"]), bench)
    assert message == "three is too many (job 2)"


def test_a_file_that_is_missing_is_said_once_for_all_jobs_that_name_it(bench: Bench) -> None:
    (bench.base / "input").mkdir()
    (bench.base / "input" / "there.txt").write_text("7")
    graph = workflow(n5=titled("Sampler", "Add", a=["8", 0], plus=1), n8=titled("File", "Read", name="x.txt"))
    batch = read("File.name=there.txt,gone.txt", "Sampler.plus=1,2,3", of=graph)
    (message,) = said(batch, bench)
    assert "gone.txt" in message
    assert "(job 4 and 2 more; --vary File.name, column 21)" in message


# ------------------------------------------------------------ size


@pytest.mark.slow
def test_thousands_of_jobs_are_planned_in_seconds(bench: Bench) -> None:
    texts = json.dumps([f"house {i}" for i in range(100)])
    batch = read(f"Prompt.text={texts}", "Sampler.seed=1..10", "Sampler.cfg=4.0..5.0..0.5")
    began = time.process_time()
    plan = plan_batch(batch, bench.engine)
    assert time.process_time() - began < 5
    assert (len(plan.jobs), plan.runs) == (3000, 1 + 101 + 9000)
    assert plan.jobs[0].plan.graph.dag is plan.jobs[-1].plan.graph.dag
