"""Every kind of fault in the classic form: the type, the words, the input, what was received."""

from pathlib import Path
from typing import Any

import pytest

from engine.config import make_env, open_tiers, read_settings
from engine.ports import Env
from server.admission import Inadmissible, admit
from server.nodeerrors import MOST_DEPENDENT
from tests.server.faulty import TINY, prompt


@pytest.fixture
def env(tmp_path: Path) -> Env:
    settings = read_settings(base_directory=tmp_path, cache=Path("off"), device="cpu")
    return make_env(settings, TINY, open_tiers(settings))


def errors_of(env: Env, value: dict[str, Any]) -> Inadmissible:
    with pytest.raises(Inadmissible) as caught:
        admit(value, TINY, env, None, 1_000, 100_000)
    return caught.value


def one(env: Env, node: str, port: str, value: Any) -> dict[str, Any]:
    wrong = prompt(1, "a", "Slow", steps=1, seconds=0.0)
    if value is ...:
        del wrong[node]["inputs"][port]
    else:
        wrong[node]["inputs"][port] = value
    entry = errors_of(env, wrong).errors[node]
    assert entry["class_type"] == wrong[node]["class_type"]
    assert entry["dependent_outputs"] == ["9"]
    (error,) = entry["errors"]
    assert error["extra_info"]["input_name"] == port
    if value is not ... and value is not None:
        assert error["extra_info"]["received_value"] == value
    return dict(error)


@pytest.mark.parametrize(
    ("node", "port", "value", "type", "message"),
    [
        ("5", "picture", ..., "required_input_missing", "Required input is missing"),
        ("1", "color", -5, "value_smaller_than_min", "Value -5 smaller than min of 0"),
        ("1", "size", 5_000, "value_bigger_than_max", "Value 5000 bigger than max of 4096"),
        ("1", "size", "wide", "invalid_input_type", "Failed to convert an input value to a INT value"),
        ("1", "size", None, "invalid_input_type", "Failed to convert an input value to a INT value"),
        ("9", "picture", ["1"], "bad_linked_input",
         "Bad linked input, must be a length-2 list of [node_id, slot_index]"),
        ("9", "picture", ["77", 0], "bad_linked_input",
         "Bad linked input, must be a length-2 list of [node_id, slot_index]"),
    ],
)  # fmt: skip
def test_a_fault_at_an_input_is_told_in_classic_words(
    env: Env, node: str, port: str, value: Any, type: str, message: str
) -> None:
    error = one(env, node, port, value)
    assert (error["type"], error["message"]) == (type, message)
    assert port in error["details"]


def test_bounds_and_type_are_told_with_the_fault(env: Env) -> None:
    assert one(env, "1", "size", 0)["extra_info"]["input_config"] == ["INT", {"min": 1, "max": 4096}]


def test_a_link_of_the_wrong_type_says_both_types(env: Env) -> None:
    wrong = prompt(1, "a")
    wrong["2"] = {"class_type": "Paint", "inputs": {"color": 0, "size": ["1", 0]}}
    wrong["9"]["inputs"]["picture"] = ["2", 0]
    (error,) = errors_of(env, wrong).errors["2"]["errors"]
    assert error["type"] == "return_type_mismatch"
    assert error["details"] == "size, received_type(PICTURE) mismatch input_type(INT)"


def test_a_shared_node_names_all_outputs_that_need_it(env: Env) -> None:
    value = prompt(1, "a")
    value["1"]["inputs"]["size"] = 0
    value["10"] = {"class_type": "Keep", "inputs": {"picture": ["1", 0], "prefix": "b"}}
    error = errors_of(env, value)
    assert error.errors["1"]["dependent_outputs"] == ["9", "10"]
    assert error.error["type"] == "prompt_outputs_failed_validation"


def test_thousands_of_faults_are_told_in_time_that_does_not_grow_with_their_square(env: Env) -> None:
    value: dict[str, Any] = {"0": {"class_type": "Paint", "inputs": {"size": 0}}}
    for i in range(1, 5_000):
        value[str(i)] = {"class_type": "Slow", "inputs": {"picture": [str(i - 1), 0], "steps": "x"}}
    value["out"] = {"class_type": "Keep", "inputs": {"picture": ["4999", 0], "prefix": "a"}}
    error = errors_of(env, value)
    assert len(error.errors) == 5_000
    assert error.errors["0"]["dependent_outputs"] == [], f"further away than {MOST_DEPENDENT} nodes"
    assert error.errors["4999"]["errors"]
    assert len(error.error["extra_info"]["problems"]) == 100
