"""Values and lists of values."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nodes import flow


def test_primitives_pass_their_value_on() -> None:
    assert flow.primitive_int(value=3) == 3
    assert flow.primitive_float(value=0.5) == 0.5
    assert flow.primitive_string(value="a") == "a"
    assert flow.primitive_string_multiline(value="a\nb") == "a\nb"
    assert flow.primitive_boolean(value=True) is True
    assert flow.reroute(value=torch) is torch


def test_notes_have_no_outputs_and_need_no_text() -> None:
    for note in (flow.note, flow.markdown_note):
        assert note.outputs == ()
        assert not note.is_output
        assert all(port.optional for port in note.inputs)


def test_an_int_range_counts_from_its_start() -> None:
    assert flow.int_range(start=7, count=3, step=2) == [7, 9, 11]
    assert flow.int_range.outputs[0].is_list


@given(start=st.floats(-10, 10), end=st.floats(-10, 10), count=st.integers(2, 20))
def test_a_float_range_has_both_ends(start: float, end: float, count: int) -> None:
    numbers = flow.float_range(start=start, end=end, count=count)
    assert len(numbers) == count
    assert (numbers[0], numbers[-1]) == pytest.approx((start, end))
    assert flow.float_range(start=start, end=end, count=1) == [start]


def test_sigma_levels_go_from_clean_to_noisy() -> None:
    sigmas = torch.tensor([14.6, 7.0, 3.0, 1.0, 0.0])
    levels = flow.sigma_levels(sigmas=sigmas, count=3)
    assert [level.tolist() for level in levels] == [[0.0], [3.0], pytest.approx([14.6])]


def test_any_value_is_shown_as_text() -> None:
    assert flow.preview_any(source="a").ui == {"text": ["a"]}
    assert flow.preview_any(source={"a": [1, None]}).ui == {"text": ['{"a": [1, null]}']}
    assert flow.preview_any(source=torch.ones(1)).ui == {"text": ['"tensor([1.])"']}
