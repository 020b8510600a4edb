"""Which outputs of a prompt run, which are left out and why, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from engine.config import make_env, open_tiers, read_settings
from engine.ports import Env
from server.admission import Inadmissible, admit
from tests.server.faulty import TINY, prompt


@pytest.fixture
def env(tmp_path: Path) -> Env:
    settings = read_settings(base_directory=tmp_path, cache=Path("off"), device="cpu")
    return make_env(settings, TINY, open_tiers(settings))


def twice() -> dict[str, Any]:
    """Two outputs, 9 and 19, of two pictures."""
    other = {"11": prompt(2, "b")["1"], "19": prompt(2, "b")["9"]}
    other["19"]["inputs"]["picture"] = ["11", 0]
    return prompt(1, "a") | other


def refused(env: Env, value: Any, **more: Any) -> Inadmissible:
    with pytest.raises(Inadmissible) as caught:
        admit(value, TINY, env, more.get("targets"), 1_000, more.get("nodes", 1_000))
    return caught.value


def test_all_outputs_of_a_sound_prompt_run(env: Env) -> None:
    admitted = admit(twice(), TINY, env, None, 1_000, 1_000)
    assert (admitted.targets, admitted.errors) == (("9", "19"), {})


def test_only_targets_that_are_outputs_are_chosen(env: Env) -> None:
    assert admit(twice(), TINY, env, ["19", "1", "nowhere"], 1_000, 1_000).targets == ("19",)
    assert refused(env, twice(), targets=["1"]).error["type"] == "prompt_no_outputs"
    assert refused(env, twice(), targets=[]).error["type"] == "prompt_no_outputs"


def test_outputs_that_can_run_do_and_the_others_are_told_why_not(env: Env) -> None:
    value = twice()
    value["11"]["inputs"]["color"] = -1
    admitted = admit(value, TINY, env, None, 1_000, 1_000)
    assert admitted.targets == ("9",)
    assert list(admitted.errors) == ["11"]
    assert admitted.errors["11"]["dependent_outputs"] == ["19"]


def test_where_no_output_can_run_the_prompt_is_refused_with_all_that_is_wrong(env: Env) -> None:
    value = twice()
    value["1"]["inputs"]["color"] = "blue"
    value["11"]["inputs"]["size"] = 10**9
    error = refused(env, value)
    assert error.error["type"] == "prompt_outputs_failed_validation"
    assert set(error.errors) == {"1", "11"}


def test_a_loop_is_refused_at_a_node_of_it(env: Env) -> None:
    value = prompt(1, "a", "Slow")
    value["6"] = {"class_type": "Slow", "inputs": {"picture": ["5", 0], "steps": 1, "seconds": 0.0}}
    value["5"]["inputs"] |= {"picture": ["6", 0], "steps": 1, "seconds": 0.0}
    error = refused(env, value)
    assert set(error.errors) & {"5", "6"}
    assert "dependency_cycle" in {e["type"] for node in error.errors.values() for e in node["errors"]}


def test_a_loop_beside_a_sound_output_costs_only_its_own(env: Env) -> None:
    value = twice()
    value["21"] = {"class_type": "Slow", "inputs": {"picture": ["21", 0]}}
    value["29"] = {"class_type": "Keep", "inputs": {"picture": ["21", 0], "prefix": "c"}}
    assert admit(value, TINY, env, None, 1_000, 1_000).targets == ("9", "19")


@pytest.mark.parametrize(
    "value", [None, [], "x", 1, {"1": 5}, {"1": {"inputs": {}}}, {"1": {"class_type": None}}]
)
def test_what_is_no_prompt_is_refused(env: Env, value: Any) -> None:
    error = refused(env, value).error
    assert error["type"] == "invalid_prompt"
    assert error["message"]


def test_an_unknown_class_names_the_node_even_where_other_outputs_are_sound(env: Env) -> None:
    value = twice()
    value["11"]["class_type"] = "Piant"
    error = refused(env, value)
    assert error.error["type"] == "invalid_prompt"
    assert error.error["details"] == "Node ID '#11'"
    assert "'Paint'" in str(error.errors["11"])


def test_more_nodes_than_allowed_are_refused_before_they_are_looked_at(env: Env) -> None:
    many = {str(i): None for i in range(1_001)}
    assert "1001 nodes; at most 1000" in refused(env, many).error["message"]
