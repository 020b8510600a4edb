"""Values to bytes and back."""

import enum
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.cache.codec import NotStorable, decode, digest, encode, nbytes
from engine.ports import Port

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@Port("PIECE", stored=True)
@dataclass(frozen=True)
class Piece:
    samples: Any
    note: str = ""


def same(a: Any, b: Any) -> bool:
    """Equal in value and in type, all the way down, dictionaries in the same order."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, Piece):
        return same(a.samples, b.samples) and a.note == b.note
    return bool(a == b)


@given(PLAIN)
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    assert same(decode(encode(value)), value)
    assert encode(value) == encode(value)
    assert nbytes(value) > 0


@given(
    st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]),
    st.lists(st.integers(0, 3), max_size=4),
    PLAIN,
)
def test_tensors_and_stored_classes_come_back_as_they_were(dtype: Any, shape: list[int], beside: Any) -> None:
    tensor = torch.arange(int(torch.tensor(shape).prod()) if shape else 1).reshape(shape).to(dtype)
    value = {"z": [tensor, Piece(tensor.T if tensor.dim() == 2 else tensor, "n")], "a": (beside, tensor)}
    assert same(decode(encode(value)), value)


def test_a_view_is_stored_without_what_it_is_a_view_of() -> None:
    assert len(encode(torch.zeros(1000)[:2])) < 400


class Color(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize(
    "value",
    [
        object(), b"bytes", {1: 2}, {1, 2}, Color.RED, namedtuple("P", "x")(1), OrderedDict(a=1),
        [1, [object()]], {"a": lambda: None}, torch.nn.Linear(1, 1), torch.zeros(2).to_sparse(),
        torch.nn.Parameter(torch.zeros(1)),
    ],
)  # fmt: skip
def test_what_has_no_codec_is_refused(value: Any) -> None:
    with pytest.raises(NotStorable):
        encode(value)


@given(PLAIN, PLAIN)
def test_digests_differ_exactly_where_values_do(a: Any, b: Any) -> None:
    assert (digest(a) == digest(b)) == (repr(a) == repr(b))


def test_a_digest_sees_every_bit_the_type_and_the_shape_of_a_tensor() -> None:
    ones = torch.ones(2, 3)
    off = torch.nextafter(ones, ones * 2)
    others = [ones.T.contiguous(), ones.half(), ones[0], off, -ones, torch.zeros(2, 3), torch.zeros(0)]
    assert len({digest(t) for t in (ones, *others)}) == 1 + len(others)
    assert digest(-torch.zeros(1)) != digest(torch.zeros(1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.bool, torch.int64, torch.float8_e4m3fn])
def test_a_digest_does_not_depend_on_how_a_tensor_lies_in_memory(dtype: torch.dtype) -> None:
    tensor = torch.arange(12).reshape(3, 4).to(dtype)
    view = torch.arange(24).reshape(6, 4).to(dtype)[:3]
    assert digest([tensor.T]) == digest([tensor.T.contiguous()])
    assert digest(Piece(view)) == digest(Piece(view.clone()))
    assert digest(Piece(tensor)) == digest(Piece(tensor.clone()))


def test_what_has_no_codec_has_no_digest() -> None:
    assert digest([1, object()]) is None
    assert digest([torch.zeros(2).to_sparse()]) is None


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"d":{"a":1}}', b'{"c":"no.such","f":{}}', b"x" * 20])
def test_what_is_no_encoded_value_is_a_value_error(data: bytes) -> None:
    with pytest.raises((ValueError, KeyError)):
        decode(data)
