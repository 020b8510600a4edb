"""Operations on texts."""

from typing import Any

import pytest

from engine.problems import NodeFailure
from nodes import strings


def test_texts_are_joined_cut_and_measured() -> None:
    assert strings.string_concatenate(string_a="a", string_b="b", delimiter=", ") == "a, b"
    assert strings.string_substring(string="abcdef", start=1, end=-1) == "bcde"
    assert strings.string_length(string="ab\n") == 3
    assert strings.string_replace(string="a.b.c", find=".", replace="-") == "a-b-c"


@pytest.mark.parametrize(
    ("mode", "text"),
    [("UPPERCASE", "A FOX"), ("lowercase", "a fox"), ("Capitalize", "A fox"), ("Title Case", "A Fox")],
)
def test_letters_change_their_case(mode: Any, text: str) -> None:
    assert strings.case_converter(string="a fOX", mode=mode) == text


@pytest.mark.parametrize(("mode", "text"), [("Both", "a"), ("Left", "a "), ("Right", " a")])
def test_white_space_is_removed_from_the_ends(mode: Any, text: str) -> None:
    assert strings.string_trim(string=" a ", mode=mode) == text


def test_texts_are_compared_with_and_without_case() -> None:
    assert strings.string_compare(string_a="Fox", string_b="fo", mode="Starts With", case_sensitive=False)
    assert not strings.string_compare(string_a="Fox", string_b="fox", mode="Equal")
    assert strings.string_contains(string="red Fox", substring="FOX", case_sensitive=False)
    assert not strings.string_contains(string="red Fox", substring="FOX")


@pytest.mark.parametrize(
    ("mode", "found"),
    [("First Match", "a=1"), ("All Matches", "a\nb"), ("First Group", "1"), ("All Groups", "1\n2")],
)
def test_expressions_take_matches_or_groups(mode: Any, found: str) -> None:
    extract = strings.regex_extract
    assert extract(string="a=1, b=2", regex_pattern=r"(\w)=(\d)", mode=mode, group_index=2) == found
    assert extract(string="x", regex_pattern="y", mode=mode) == ""
    assert extract(string="y", regex_pattern="y", mode="All Groups", group_index=5) == ""


def test_expressions_match_and_replace() -> None:
    assert strings.regex_match(string="a\nB", regex_pattern="^b$", multiline=True)
    assert not strings.regex_match(string="a\nB", regex_pattern="a.b")
    assert strings.regex_replace(string="aaa", regex_pattern="(A)", replace=r"<\1>", count=2) == "<a><a>a"


def test_a_wrong_expression_is_a_failure() -> None:
    with pytest.raises(NodeFailure, match="no regular expression"):
        strings.regex_match(string="a", regex_pattern="(")
    with pytest.raises(NodeFailure, match="no replacement"):
        strings.regex_replace(string="a", regex_pattern="a", replace=r"\2")
