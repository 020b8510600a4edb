"""Depth and marks of JSON text, against what the decoder makes of it."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.nesting import MAX_DEPTH, depth_of, is_flat, marks_of

JSON = st.recursive(
    st.none() | st.integers() | st.text('[]{},"\\aé\n'),
    lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text('[{,"\\'), x, max_size=4),
    max_leaves=30,
)


def depth(value: Any) -> int:
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


@given(JSON, st.booleans())
def test_the_depth_is_that_of_the_decoded_value(value: Any, escaped: bool) -> None:
    text = json.dumps(value, ensure_ascii=escaped).encode()
    assert depth_of(marks_of(text)) == depth(value)
    assert is_flat(text)


def test_a_text_with_many_brackets_may_still_not_be_deep() -> None:
    text = b"[" + b"[]," * MAX_DEPTH + b"[]]"
    assert not is_flat(text)
    assert depth_of(marks_of(text)) == 2
