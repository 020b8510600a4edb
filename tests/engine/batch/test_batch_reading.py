"""Batches read from specs and rows: which jobs they make, and everything wrong with them at once."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweeps import GRAPH, REGISTRY, titled, workflow
from toys import n

from engine.batch import Batch
from engine.batch.reading import SAID, read_batch
from engine.batch.specs import MAX_JOBS
from engine.problems import Problem, WorkflowError


def read(*vary: str, **options: Any) -> Batch:
    return read_batch(options.pop("of", workflow()), REGISTRY, vary, **options)


def inputs(batch: Batch) -> list[tuple[Any, ...]]:
    return [tuple(job.inputs.values()) for job in batch.jobs]


def problems(*vary: str, **options: Any) -> list[Problem]:
    with pytest.raises(WorkflowError) as caught:
        read(*vary, **options)
    return list(caught.value.problems)


def said(*vary: str, **options: Any) -> list[str]:
    return [p.message for p in problems(*vary, **options)]


def test_several_inputs_multiply_the_last_the_fastest() -> None:
    batch = read("Prompt.text=a,b", "Sampler.seed=1..3")
    assert inputs(batch) == [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2), ("b", 3)]
    assert [job.number for job in batch.jobs] == [1, 2, 3, 4, 5, 6]
    last = batch.jobs[-1].workflow.nodes
    assert (last["2"].inputs["text"], last["5"].inputs["seed"]) == ("b", 3)
    assert [(a.name, a.values, a.group) for a in batch.axes] == [
        ("Prompt.text", ("a", "b"), 0),
        ("Sampler.seed", (1, 2, 3), 1),
    ]


def test_zipped_inputs_go_in_step() -> None:
    batch = read("Prompt.text=a,b,a", "Sampler.seed=1..3", zipped=True)
    assert inputs(batch) == [("a", 1), ("b", 2), ("a", 3)]
    assert [(a.values, a.group) for a in batch.axes] == [(("a", "b"), 0), ((1, 2, 3), 0)]


def test_rows_are_outermost_and_an_empty_cell_keeps_the_workflows_value(tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.csv"
    jobs.write_text("Prompt.text,5.steps\na,3\n,4\n")
    batch = read("Sampler.seed=8,9", jobs=jobs)
    assert [dict(job.inputs) for job in batch.jobs] == [
        {"Prompt.text": "a", "5.steps": 3, "Sampler.seed": 8},
        {"Prompt.text": "a", "5.steps": 3, "Sampler.seed": 9},
        {"5.steps": 4, "Sampler.seed": 8},
        {"5.steps": 4, "Sampler.seed": 9},
    ]
    assert batch.jobs[2].workflow.nodes["2"].inputs["text"] == "a house"
    assert batch.jobs[2].places["5.steps"] == f"{jobs}, line 3, column 2"
    assert [a.group for a in batch.axes] == [0, 0, 1]


def test_values_are_read_as_set_reads_them() -> None:
    batch = read('Prompt.text=["7", "a"]', "Sampler.cfg=1,2.5")
    assert inputs(batch) == [("7", 1), ("7", 2.5), ("a", 1), ("a", 2.5)]
    assert inputs(read("Prompt.text=7,true")) == [("7",), ("true",)]
    assert inputs(read("Sampler.seed=18446744073709551615")) == [(2**64 - 1,)]


@given(st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True), min_size=1, max_size=3))
def test_a_product_has_every_combination_in_order(lists: list[list[int]]) -> None:
    ports = ("Sampler.seed", "Checkpoint 2.value", "Checkpoint 3.value")
    graph = workflow(n8=titled("Checkpoint 2", "Value", value=0), n9=titled("Checkpoint 3", "Value", value=0))
    batch = read(*(f"{p}={json.dumps(v)}" for p, v in zip(ports, lists, strict=False)), of=graph)
    assert inputs(batch) == list(itertools.product(*lists))
    assert len({job.names for job in batch.jobs}) == len(batch.jobs)


def test_a_job_shares_with_the_others_what_it_does_not_set() -> None:
    first, second, third, _ = read("Prompt.text=a,b", "Sampler.seed=1,2").jobs
    assert first.workflow.nodes["2"] is second.workflow.nodes["2"]
    assert first.workflow.nodes["5"] is third.workflow.nodes["5"]
    assert first.workflow.nodes["6"] is third.workflow.nodes["6"]


# ------------------------------------------------------------ names


def names(*vary: str, **options: Any) -> list[tuple[str, ...]]:
    batch = read(*vary, **options)
    for job in batch.jobs:
        saved = [
            node.inputs["filename_prefix"]
            for node in job.workflow.nodes.values()
            if node.class_type == "Keep"
        ]
        assert tuple(saved) == job.names
    return [job.names for job in batch.jobs]


def test_outputs_are_named_by_prefix_and_number_as_wide_as_the_last() -> None:
    assert names("Sampler.seed=1..2") == [("pictures/toy_1",), ("pictures/toy_2",)]
    assert names("Sampler.seed=1..100")[6] == ("pictures/toy_007",)


def test_a_template_names_them_by_what_varies() -> None:
    assert names("Prompt.text=A red/blue house,b", name="{Prompt.text}/{job}") == [
        ("A red_blue house/1",), ("b/2",),
    ]  # fmt: skip
    assert names("5.cfg=0.5,1", name="x-{5.cfg}") == [("x-0.5",), ("x-1",)]


def test_several_nodes_that_save_have_names_of_their_own() -> None:
    both = workflow(n9=n("Keep") | {"inputs": {"picture": ["5", 0]}})
    assert names("Sampler.seed=1,2", of=both)[0] == ("pictures/toy_1_7", "kept_1_9")
    assert names("Sampler.seed=1,2", of=both, name="{job}/{node}")[1] == ("2/7", "2/9")
    assert names("Sampler.seed=1,2", of=both, name="x{job}")[1] == ("x2_7", "x2_9")


def test_a_varied_prefix_is_the_name() -> None:
    assert names("Save.filename_prefix=a,b/c") == [("a",), ("b/c",)]
    assert names("Save.filename_prefix=a,a", "Sampler.seed=1", name="{prefix}_{job}") == [("a_1",), ("a_2",)]


def test_a_linked_prefix_is_replaced() -> None:
    linked = workflow(n7=titled("Save", "Keep", filename_prefix=["1", 0], picture=["6", 0]))
    assert names("Sampler.seed=1,2", of=linked) == [("kept_1",), ("kept_2",)]


def test_rows_may_name_their_jobs(tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text('{"Sampler.seed": 1, "name": "cats/first"}\n{"Sampler.seed": 2}\n')
    assert names(jobs=jobs) == [("cats/first",), ("pictures/toy_2",)]
    assert names(jobs=jobs, name="{name}-x") == [("cats/first-x",), ("pictures/toy_2-x",)]
    (problem,) = problems("Sampler.cfg=1,2", jobs=jobs)
    assert problem.code == "colliding_names"
    assert "jobs 1 and 2 would take each other's output names at 'cats/first'" in problem.message
    assert "{job}" in problem.hint


@given(
    st.lists(st.text(st.sampled_from("aA/_ 1.%é"), max_size=4), min_size=1, max_size=4),
    st.sampled_from(["{prefix}_{job}", "{job}/{Prompt.text}", "{Prompt.text}/{job}"]),
)
def test_names_with_the_number_never_collide(prompts: list[str], name: str) -> None:
    stems = names(f"Prompt.text={json.dumps(prompts)}", "Sampler.seed=1..3", name=name)
    assert len({stem.casefold() for (stem,) in stems}) == 3 * len(prompts)


def test_a_text_before_the_number_may_be_another_jobs_name() -> None:
    found = problems('Prompt.text=["", "__1"]', "Sampler.seed=1..3", name="{Prompt.text}_{job}")
    assert [p.code for p in found] == ["colliding_names"] * 3
    assert found[0].hint.startswith("begin --name with {job}")
    assert len(names('Prompt.text=["", "__1"]', "Sampler.seed=1..3", name="{job}_{Prompt.text}")) == 6


# ------------------------------------------------------------ the digest


def test_the_digest_is_of_the_jobs_and_the_rungs_alone(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("Sampler.seed\n1\n2\n")
    first = read("Sampler.seed=1,2")
    assert len(first.digest) == 64
    assert {first.digest, read("5.seed=1..2").digest, read(jobs=rows).digest} == {first.digest}
    others = [
        read("Sampler.seed=2,1"),
        read("Sampler.seed=1,2", rung=4),
        read("Sampler.seed=1,2", exact=True),
        read("Sampler.seed=1,2", name="{job}"),
        read("Sampler.seed=1,2", of=workflow(n3=GRAPH["3"] | {"inputs": {"text": "x", "model": ["1", 0]}})),
    ]
    assert len({first.digest, *(o.digest for o in others)}) == 6


# ------------------------------------------------------------ what is wrong


def test_everything_wrong_is_said_at_once() -> None:
    messages = said(
        "Promt.text=a",
        "Sampler.sed=1",
        "Sampler.seed",
        "Sampler.steps=a,0,3",
        "Sampler.cfg=1,,2",
        name="{oops}",
    )
    assert messages == [
        "--vary Promt.text: no node is called 'Promt'",
        "--vary Sampler.sed: Sample has no input 'sed'",
        "--vary Sampler.seed: there is no '='",
        "--vary Sampler.cfg, column 15: a value is empty",
        "--vary Sampler.steps, column 15: takes INT, found 'a'",
        "--vary Sampler.steps, column 17: 0 is below 1",
        "--name {oops}, column 1: there is no field {oops}",
    ]


def test_a_value_that_cannot_be_is_said_with_its_node_and_place(tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.csv"
    jobs.write_text("Sampler.steps,Sampler.seed\n1,1\n2,-1\nmany,2\n3,-1\n")
    found = problems(jobs=jobs)
    assert [(p.node_id, p.class_type, p.input, p.code) for p in found] == [
        ("5", "Sample", "steps", "invalid_input_type"),
        ("5", "Sample", "seed", "value_smaller_than_min"),
    ]
    assert [p.message for p in found] == [
        f"{jobs}, line 4, column 1: takes INT, found 'many'",
        f"{jobs}, line 3, column 2: -1 is below 0",
    ]


def test_a_fraction_is_no_whole_number() -> None:
    assert said("Sampler.seed=0.5..1.5..0.5") == [
        "--vary Sampler.seed, column 14: takes whole numbers, found 0.5",
        "--vary Sampler.seed, column 14: takes whole numbers, found 1.5",
    ]
    assert inputs(read("Sampler.seed=1.0")) == [(1.0,)]


def test_an_input_that_only_a_link_may_feed_does_not_vary() -> None:
    assert said("Sampler.prompt=1,2")[0].endswith("takes a link to NUMBER, found 1")


def test_the_same_input_does_not_vary_twice(tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.csv"
    jobs.write_text("Sampler.seed\n1\n")
    assert said("5.seed=1,2", jobs=jobs) == ["--vary 5.seed: 5.seed and Sampler.seed are the same input"]
    assert said("5.seed=1,2", "5.seed=3") == ["--vary 5.seed: 5.seed varies twice"]


def test_a_column_of_a_file_that_means_nothing_is_said_with_its_place(tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.csv"
    jobs.write_text("Sampler.seed,Prompt.txt,seed\n1,2,3\n")
    assert said(jobs=jobs) == [
        f"{jobs}, line 1, column 2: Encode has no input 'txt'",
        f"{jobs}, line 1, column 3: 'seed' is not NODE.INPUT",
    ]


def test_ragged_lists_are_refused_with_their_lengths() -> None:
    assert said("Prompt.text=a,b", "Sampler.seed=1..3", zipped=True) == [
        "--zip: the lists differ in length: Prompt.text has 2, Sampler.seed has 3"
    ]


def test_a_batch_varies_something() -> None:
    assert said() == ["nothing varies"]


def test_a_batch_has_a_largest_size() -> None:
    assert said("Sampler.seed=1..1000", "Sampler.steps=1..100", "Sampler.cfg=1,2") == [
        f"200,000 jobs; a batch has at most {MAX_JOBS:,}"
    ]


def test_of_very_many_problems_the_first_are_said() -> None:
    messages = said("Sampler.steps=101..300")
    assert len(messages) == SAID + 1
    assert messages[-1] == "... and 150 more"


def test_names_that_collide_are_refused_with_the_jobs() -> None:
    (problem,) = problems("Prompt.text=A,b,a", name="{Prompt.text}")
    assert problem.message == "jobs 1 and 3 would take each other's output names at 'a'"
    assert said("Prompt.text=x", "Save.filename_prefix=a,a_2")[0].endswith("names at 'a_2'")


def test_names_that_lead_out_are_refused() -> None:
    assert "leads out of the output folder" in said("Sampler.seed=1,2", name="../{job}")[0]
    assert "begins with a dot" in said("Save.filename_prefix=.batch/x,b")[0]


def test_a_template_needs_a_node_that_takes_it() -> None:
    none = workflow(n7=n("Show", value=["6", 0]))
    assert read("Sampler.seed=1,2", of=none).jobs[0].names == ()
    assert said("Sampler.seed=1,2", of=none, name="{job}") == [
        "--name: no node of the workflow takes a filename_prefix"
    ]


def test_a_node_of_an_unknown_class_is_left_to_the_plan() -> None:
    strange = workflow(n8=titled("Strange", "NoSuchNode", x=1))
    assert inputs(read("Strange.x=1,two", of=strange)) == [(1,), ("two",)]


def test_files_may_be_named_by_path(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("1")
    reads = workflow(n8=titled("File", "Read", name="x.txt"))
    batch = read(f"File.name={tmp_path / 'a.txt'},{tmp_path / 'b.txt'},c.txt", of=reads)
    assert batch.items == {"input": {str(tmp_path / n): tmp_path / n for n in ("a.txt", "b.txt")}}
