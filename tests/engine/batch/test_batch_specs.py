"""Specs: ranges, lists and files of values, and what is wrong with them."""

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.batch.specs import MAX_BYTES, MAX_JOBS, Unreadable, values_of


def values(spec: str) -> list[object]:
    return [g.value for g in values_of(spec, "--vary X.y", 5)]


def said(spec: str) -> list[str]:
    with pytest.raises(Unreadable) as caught:
        values_of(spec, "--vary X.y", 5)
    return [p.message for p in caught.value.problems]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("1..4", ["1", "2", "3", "4"]),
        ("4..1", ["4", "3", "2", "1"]),
        ("1..10..4", ["1", "5", "9"]),
        ("10..1..4", ["10", "6", "2"]),
        ("10..1..-4", ["10", "6", "2"]),
        ("-2..1", ["-2", "-1", "0", "1"]),
        ("7..7", ["7"]),
        ("0.5..1.0..0.1", ["0.5", "0.6", "0.7", "0.8", "0.9", "1.0"]),
        ("1..0..0.25", ["1.0", "0.75", "0.5", "0.25", "0.0"]),
        ("18446744073709551614..18446744073709551615", ["18446744073709551614", "18446744073709551615"]),
        ("a,b,c", ["a", "b", "c"]),
        (" a , b c ", ["a", "b c"]),
        (r"a\, b,c", ["a, b", "c"]),
        ("one", ["one"]),
        (r"\[cat:dog:0.5],b", ["[cat:dog:0.5]", "b"]),
        (r"\@home", ["@home"]),
        (r"C:\pictures\a.png", [r"C:\pictures\a.png"]),
        ('["a, b", 3, 0.5, true]', ["a, b", 3, 0.5, True]),
        ('[""]', [""]),
        ("1...3", ["1...3"]),
    ],
)
def test_a_spec_means_these_values(spec: str, expected: list[object]) -> None:
    assert values(spec) == expected


@given(st.integers(-(10**6), 10**6), st.integers(0, 300), st.integers(1, 50), st.booleans())
def test_a_range_of_integers_is_pythons_with_its_end(first: int, count: int, step: int, down: bool) -> None:
    sign = -1 if down else 1
    last = first + sign * step * count
    assert values(f"{first}..{last}..{step}") == [str(v) for v in range(first, last + sign, sign * step)]


@given(st.integers(-1000, 1000), st.integers(0, 200), st.integers(1, 99), st.integers(1, 4))
def test_a_range_of_decimals_does_not_drift(first: int, count: int, step: int, places: int) -> None:
    def plain(number: int) -> str:
        return f"{Decimal(number).scaleb(-places):f}"

    spec = f"{plain(first)}..{plain(first + count * step)}..{plain(step)}"
    expected = [float(Decimal(first + i * step).scaleb(-places)) for i in range(count + 1)]
    assert [float(str(v)) for v in values(spec)] == expected


texts = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1).map(str.strip)


@given(st.lists(texts.filter(lambda t: t and not t.endswith("\\") and "\\" not in t), min_size=1))
def test_a_list_gives_back_what_was_written(expected: list[str]) -> None:
    if len(expected) == 1 and ".." in expected[0]:
        return
    written = ",".join(t.replace(",", "\\,") for t in expected)
    if written.startswith(("@", "[")):
        written = "\\" + written
    assert values(written) == expected


@given(st.lists(st.text(st.characters(blacklist_categories=("Cs",))), min_size=1))
def test_a_json_list_gives_back_what_was_written(expected: list[str]) -> None:
    assert values(json.dumps(expected)) == expected


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_file_has_a_value_a_line(tmp_path: Path, end: str, encoding: str) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes(end.join(["ein Häuschen, rot", "", "  ", "@zwei", "3"]).encode(encoding))
    found = values_of(f"@{path}", "--vary X.y")
    assert [g.value for g in found] == ["ein Häuschen, rot", "@zwei", "3"]
    assert [g.place for g in found] == [f"{path}, line {i}" for i in (1, 4, 5)]


def test_a_json_file_is_a_list(tmp_path: Path) -> None:
    path = tmp_path / "values.json"
    path.write_text('["a\\nb", 2]')
    assert values(f"@{path}") == ["a\nb", 2]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("", "--vary X.y, column 5: there are no values"),
        ("a,,b", "--vary X.y, column 7: a value is empty"),
        ("a,b,", "--vary X.y, column 9: a value is empty"),
        ("1..2..0", "--vary X.y, column 5: a step of 0 never leads from 1 to 2"),
        ("1..2..-1", "--vary X.y, column 5: a step of -1 never leads from 1 to 2"),
        ("0.5..1.0", "--vary X.y, column 5: the range 0.5..1.0 needs a step"),
        ("[]", "--vary X.y: the list is empty"),
        ('["a", ]', "--vary X.y, line 1, column 11: the JSON list cannot be read"),
        ("[" * 10**5, "--vary X.y: the JSON list cannot be read"),
        ("1..1000000000000", f"1,000,000,000,000 jobs; a batch has at most {MAX_JOBS:,}"),
        ("@/no/such/file", "--vary X.y: /no/such/file cannot be read: No such file"),
        ("@", "--vary X.y: . is a folder"),
        ("@/", "--vary X.y: / is a folder"),
        ("@a\0b", "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_spec_is_said_with_its_column(spec: str, expected: str) -> None:
    (message,) = said(spec)
    assert expected in message


def test_every_empty_value_is_said(tmp_path: Path) -> None:
    assert len(said(",a,,b,")) == 3


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "holds no values"),
        (b"\xef\xbb\xbf\r\n \n", "holds no values"),
        (b"fine\nna\xefve\n", "lines.txt, line 2, byte 3: this is not UTF-8"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes(content)
    (message,) = said(f"@{path}")
    assert expected in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('["a",\n  b]', "line 2, column 3: the JSON list cannot be read: Expecting value"),
        ('{"a": 1}', "a JSON list is needed, found dict"),
        ("[]", "the list is empty"),
    ],
)
def test_what_is_wrong_with_a_json_file_is_said(tmp_path: Path, content: str, expected: str) -> None:
    path = tmp_path / "values.json"
    path.write_text(content)
    (message,) = said(f"@{path}")
    assert expected in message
    assert str(path) in message


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    (message,) = said(f"@{path}")
    assert "more than 64 MB" in message
