"""Checks: everything wrong at once, with the place, the code and what to do."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_keys import WORLD
from test_runner import chain
from toys import REGISTRY, TOYS, World, n

import engine.problems
from engine.check import check
from engine.graph import bind
from engine.problems import MOST_LOOKED_FOR, Problem, WorkflowError, nearest
from engine.workflow import Workflow, WorkflowNode, from_json


def problems(world: World, graph: dict[str, Any], targets: list[str] | None = None) -> list[Problem]:
    return list(check(bind(from_json(graph), REGISTRY), world.env, targets).problems)


def shown(**inputs: Any) -> dict[str, Any]:
    """A widgets node, with an output."""
    return {"w": n("Widgets", **{"n": 2} | inputs), "s": n("Show", value=["w", 0])}


def the_one(world: World, graph: dict[str, Any]) -> Problem:
    (problem,) = problems(world, graph)
    return problem


def test_all_problems_are_found_at_once(world: World) -> None:
    graph = {
        "1": n("Vallue", value=1),
        "2": n("Widgets", n=99, x=-1, choice="blue", flag=True) ,
        "3": n("Add", a=["2", 5], b=["9", 0], c=["1", 0]),
        "4": n("Show", value=["3", 0]),
        "5": {"class_type": "Show", "inputs": {}},
        "6": n("Total", values=["7", 0]),
        "7": n("Switch", yes=["6", 0], no=["6", 0], take=["s1", 0]),
        "s1": n("Range", count="many"),
        "8": n("Show", value=["6", 0]),
    }  # fmt: skip
    found = {(p.code, p.node_id, p.input) for p in problems(world, graph)}
    assert found == {
        ("missing_node_type", "1", ""),
        ("value_bigger_than_max", "2", "n"), ("value_smaller_than_min", "2", "x"),
        ("value_not_in_list", "2", "choice"),
        ("bad_linked_input", "3", "a"), ("bad_linked_input", "3", "b"),
        ("required_input_missing", "5", "value"),
        ("invalid_input_type", "s1", "count"),
        ("dependency_cycle", "6", ""),
    }  # fmt: skip


def test_an_unknown_class_names_the_nearest(world: World) -> None:
    problem = the_one(world, {"1": n("Widgetz", n=2), "2": n("Show", value=["1", 0])})
    assert (problem.code, problem.value, problem.class_type) == ("missing_node_type", "Widgetz", "Widgetz")
    assert "'Widgets'" in problem.hint


def test_a_link_to_no_node_or_no_output_says_what_there_is(world: World) -> None:
    graph = {
        "picture": n("Value", value=1),
        "1": n("Show", value=["pictures", 0]),
        "2": n("Show", value=["picture", 1]),
    }
    first, second = problems(world, graph)
    assert "'picture'" in first.hint
    assert "0 NUMBER" in second.hint


@pytest.mark.parametrize("link", [["1", -1], ["1", 0.5], ["1"], [1, 0], ["1", True], [], ["1", float("nan")]])
def test_a_malformed_link_is_one_problem(world: World, link: Any) -> None:
    problem = the_one(world, {"1": n("Value", value=1), "2": n("Show", value=link)})
    assert (problem.code, problem.node_id, problem.input) == ("bad_linked_input", "2", "value")


def test_a_type_mismatch_names_the_output_that_fits(world: World) -> None:
    graph = {"1": n("Show", value=["2", 0]), "2": n("Load", name="x")}
    graph |= {"3": n("Widgets", n=["4", 0]), "4": n("Value", value=1), "5": n("Show", value=["3", 0])}
    found = {p.node_id: p for p in problems(world, graph)}
    assert found["3"].code == "return_type_mismatch"
    assert "takes INT" in found["3"].message


@pytest.mark.parametrize(
    ("inputs", "code", "hint"),
    [
        ({"n": "four"}, "invalid_input_type", ""),
        ({"n": None}, "invalid_input_type", ""),
        ({"n": 11}, "value_bigger_than_max", "0 to 10"),
        ({"n": 10**400}, "value_bigger_than_max", "0 to 10"),
        ({"n": -(10**400)}, "value_smaller_than_min", "0 to 10"),
        ({"x": 10**400}, "invalid_input_type", ""),
        ({"x": float("nan")}, "invalid_input_type", ""),
        ({"x": "inf"}, "invalid_input_type", ""),
        ({"x": 1.01}, "value_bigger_than_max", "0 to 1"),
        ({"choice": "Red"}, "value_not_in_list", "'red'"),
        ({"choice": {}}, "value_not_in_list", "'red', 'green'"),
        ({"n": 3}, "custom_validation_failed", ""),
    ],
)
def test_a_wrong_literal_says_what_is_allowed(world: World, inputs: Any, code: str, hint: str) -> None:
    problem = the_one(world, shown(**inputs))
    assert problem.code == code
    assert hint in problem.hint


def test_literals_take_the_type_of_their_port(world: World) -> None:
    graph = bind(from_json(shown(n="4", x="0.25", text=7, flag="false", left=2.9)), REGISTRY)
    literals = check(graph, world.env).graph.nodes["w"].literals
    assert literals == {"n": 4, "x": 0.25, "text": "7", "flag": True, "choice": "red", "left": 2}


def test_a_missing_widget_is_an_error_unless_it_may_be_left_out(world: World) -> None:
    graph = {"w": {"class_type": "Widgets", "inputs": {}}, "s": n("Show", value=["w", 0])}
    assert {p.input for p in problems(world, graph)} == {"n", "x", "text", "flag", "choice"}


def test_a_literal_where_a_link_belongs_is_refused(world: World) -> None:
    assert the_one(world, {"1": n("Add", a=4), "2": n("Show", value=["1", 0])}).code == "invalid_input_type"


def test_what_no_output_needs_is_not_checked_but_for_its_class(world: World) -> None:
    graph = shown() | {"x": n("Widgets", n=99), "y": n("Add", a=["y", 0], b=[]), "z": n("Nope")}
    assert [p.code for p in problems(world, graph)] == ["missing_node_type"]


def test_a_workflow_without_outputs_says_so(world: World) -> None:
    assert the_one(world, {"1": n("Value", value=1)}).code == "prompt_no_outputs"


def test_a_target_that_is_not_there_is_a_problem(world: World) -> None:
    assert "no node 'x'" in problems(world, shown(), ["x"])[0].message
    with pytest.raises(WorkflowError):
        world.plan(shown(), ["x"])


def test_a_cycle_is_reported_once_with_its_path(world: World) -> None:
    graph = {str(i): n("Add", a=[str((i + 1) % 4), 0]) for i in range(4)} | {"s": n("Show", value=["2", 0])}
    problem = the_one(world, graph)
    assert problem.code == "dependency_cycle"
    assert problem.message.count("→") == 4


def test_a_long_chain_and_a_long_cycle_are_checked(world: World) -> None:
    graph = chain(10_000)
    assert problems(world, graph) == []
    graph["0"] = n("Add", a=["9999", 0])
    assert [p.code for p in problems(world, graph)] == ["dependency_cycle"]


# ---------------------------------------------------------------- files


@pytest.fixture
def files(world: World) -> World:
    for name in (
        "input/a.txt",
        "output/out.txt",
        "models/checkpoints/SD15/Base.ckpt",
        "models/checkpoints/one.ckpt",
    ):
        path = world.base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("5")
    return world


@pytest.mark.parametrize(
    "name", ["SD15/Base.ckpt", "SD15\\Base.ckpt", "base.ckpt", "sd15/base.CKPT", "Base.ckpt", "sd15/base"]
)
def test_a_file_is_found_whatever_its_slashes_case_and_folder(files: World, name: str) -> None:
    graph = bind(from_json({"1": n("Load", name=name), "2": n("Show", value=["1", 0])}), REGISTRY)
    checked = check(graph, files.env)
    assert checked.problems == ()
    assert checked.graph.nodes["1"].literals["name"] == "SD15/Base.ckpt"


def test_a_name_that_means_two_files_is_not_guessed(files: World) -> None:
    other = files.base / "models/checkpoints/other/base.ckpt"
    other.parent.mkdir()
    other.write_text("6")
    assert (
        the_one(files, {"1": n("Load", name="base.ckpt"), "2": n("Show", value=["1", 0])}).code
        == "value_not_in_list"
    )


def test_a_missing_file_is_named_with_its_role_and_the_nearest(files: World) -> None:
    problem = the_one(files, {"1": n("Load", name="two.ckpt"), "2": n("Show", value=["1", 0])})
    assert (problem.code, problem.value) == ("value_not_in_list", "checkpoints/two.ckpt")
    assert "'one.ckpt'" in problem.hint


def test_a_node_that_checks_its_file_itself_decides_what_it_takes(files: World) -> None:
    def graph(name: Any) -> dict[str, Any]:
        return {"1": n("Read", name=name), "2": n("Show", value=["1", 0])}

    assert problems(files, graph("a.txt")) == problems(files, graph("A.TXT")) == []
    assert problems(files, graph("out.txt [output]")) == []
    problem = the_one(files, graph("b.txt"))
    assert (problem.code, problem.value, problem.input) == ("value_not_in_list", "input/b.txt", "name")
    for name in ("x" * 5000, "\0", "../output/out.txt", "", ".", {}, 7, None, "\ud800"):
        assert the_one(files, graph(name)).code == "value_not_in_list"


# ---------------------------------------------------------------- arbitrary JSON

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
LINKS = st.tuples(st.sampled_from("123x"), st.integers(-1, 3) | st.floats()).map(list)
PORTS = sorted({v.name for x in TOYS for v in x.inputs})


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from("1234"),
        st.tuples(
            st.sampled_from([x.name for x in TOYS]) | st.text(max_size=3),
            st.dictionaries(st.sampled_from(PORTS), JSON | LINKS, max_size=6),
        ),
        min_size=1,
    )
)
def test_check_never_raises(nodes: dict[str, Any]) -> None:
    workflow = Workflow({id: WorkflowNode(name, inputs) for id, (name, inputs) in nodes.items()})
    for problem in check(bind(workflow, REGISTRY), WORLD.env).problems:
        assert problem.code
        assert problem.message
        assert str(problem)


@settings(max_examples=100, deadline=None)
@given(JSON)
def test_what_is_no_workflow_is_a_workflow_error(value: Any) -> None:
    try:
        from_json(value)
    except WorkflowError as error:
        assert error.problems  # noqa: PT017  (either outcome will do)


def test_of_thousands_of_mistakes_all_are_told_and_near_names_are_looked_for_for_the_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    def slow(name: str, known: Iterable[str], limit: int = 3) -> str:
        looked.append(name)
        return f"did you mean {next(iter(known))!r}?"

    monkeypatch.setattr(engine.problems, "nearest", slow)
    unknown = {f"u{i}": n(f"Valu{i % 200}") for i in range(400)}
    links = {f"s{i}": n("Show", value=[f"gone{i}", 0]) for i in range(300)}
    found = problems(world, unknown | links)
    assert [p.code for p in found].count("missing_node_type") == 400
    assert [p.code for p in found].count("bad_linked_input") == 300
    assert len(looked) == 2 * MOST_LOOKED_FOR
    hints = {p.node_id: p.hint for p in found}
    assert hints["u0"] == hints["u200"] == "did you mean 'Value'?"  # the same class once more
    assert hints["u399"] == "`latentgraph nodes` lists all classes"
    assert sorted({*hints} & {*links}) == sorted(links)


def test_a_missing_link_names_the_first_node_that_would_do(world: World) -> None:
    graph = {"t": n("Range"), "b": n("Value"), "s": n("Save")}
    assert the_one(world, graph).hint == "link an output of this type, e.g. of node t"
    assert the_one(world, {"s": n("Save")}).hint == "link an output of this type"


def test_among_thousands_of_names_a_near_one_is_found() -> None:
    names = [f"pic_{i:05}_.png" for i in range(5_000)] + ["portrait.png", "Sunset Beach.jpg"]
    for wrong, meant in {"portrat.png": "portrait.png", "sunsetbeach.jpg": "Sunset Beach.jpg"}.items():
        assert nearest(wrong, names) == f"did you mean {meant!r}?"
    assert nearest("pic_00001.png", names).startswith("did you mean 'pic_00001_.png'")
    assert nearest("zzz", names) == ""
