"""Rows of `--jobs`: JSONL and CSV, and what is wrong with them, with line and column."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.batch.rows import Rows, read_rows
from engine.problems import Problem


def rows(tmp_path: Path, name: str, content: bytes | str) -> Rows:
    problems: list[Problem] = []
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = read_rows(path, problems)
    assert problems == []
    return found


def said(tmp_path: Path, name: str, content: bytes | str) -> list[str]:
    problems: list[Problem] = []
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    read_rows(path, problems)
    assert problems
    return [p.message.removeprefix(f"{path}, ").removeprefix(f"{path}: ") for p in problems]


def plain(found: Rows) -> list[dict[str, Any]]:
    return [{k: v.value for k, v in row.inputs.items()} for row in found.rows]


CSV = '''name,Prompt.text,Sampler.seed
first,"a house, red",1

second,"two
lines, ""quoted""",2
,,3
'''


def test_a_csv_has_a_job_a_row(tmp_path: Path) -> None:
    found = rows(tmp_path, "jobs.csv", CSV)
    assert plain(found) == [
        {"Prompt.text": "a house, red", "Sampler.seed": "1"},
        {"Prompt.text": 'two\nlines, "quoted"', "Sampler.seed": "2"},
        {"Sampler.seed": "3"},
    ]
    assert [row.name for row in found.rows] == ["first", "second", ""]
    assert found.named
    path = tmp_path / "jobs.csv"
    assert [row.place for row in found.rows] == [f"{path}, line {n}" for n in (2, 4, 6)]
    assert found.rows[1].inputs["Sampler.seed"].place == f"{path}, line 4, column 3"
    header = f"{path}, line 1, column"
    assert found.columns == {"Prompt.text": f"{header} 2", "Sampler.seed": f"{header} 3"}


def test_a_csv_as_spreadsheets_write_it_reads_the_same(tmp_path: Path) -> None:
    unix = rows(tmp_path, "jobs.csv", CSV)
    other = rows(tmp_path, "jobs.CSV", CSV.replace("\n", "\r\n").encode("utf-8-sig"))
    assert [r.name for r in other.rows] == [r.name for r in unix.rows]
    assert [d["Sampler.seed"] for d in plain(other)] == ["1", "2", "3"]
    assert plain(other)[1]["Prompt.text"] == 'two\r\nlines, "quoted"'


JSONL = """{"Prompt.text": "a\\nb", "Sampler.seed": 7, "Size.x": null, "name": "n"}

{"Sampler.cfg": 0.5}
"""


def test_a_jsonl_has_an_object_a_line(tmp_path: Path) -> None:
    for content in (JSONL.encode(), JSONL.replace("\n", "\r\n").encode("utf-8-sig")):
        found = rows(tmp_path, "jobs.jsonl", content)
        assert plain(found) == [{"Prompt.text": "a\nb", "Sampler.seed": 7}, {"Sampler.cfg": 0.5}]
        assert [row.name for row in found.rows] == ["n", ""]
        assert list(found.columns) == ["Prompt.text", "Sampler.seed", "Size.x", "Sampler.cfg"]
        assert found.rows[1].inputs["Sampler.cfg"].place.endswith("jobs.jsonl, line 3 (Sampler.cfg)")


def test_at_a_file_stands_for_its_content(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("a long, long prompt\n")
    at = tmp_path / "long.txt"
    expected = [{"P.t": "a long, long prompt"}, {"P.t": "@home"}]
    assert plain(rows(tmp_path, "jobs.csv", f"P.t\n@{at}\n\\@home\n")) == expected
    lines = f'{{"P.t": "@{at}"}}\n{{"P.t": "\\\\@home"}}\n'
    assert plain(rows(tmp_path, "jobs.jsonl", lines)) == expected


cells = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\r\0"), min_size=1).filter(
    lambda t: not t.startswith(("@", "\\", "\ufeff"))
)


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=5))
def test_quoted_cells_hold_any_text(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str]]
) -> None:
    lines = ["A.x,B.y", *(",".join('"' + c.replace('"', '""') + '"' for c in row) for row in table)]
    found = rows(tmp_path_factory.mktemp("csv"), "jobs.csv", "\n".join(lines))
    assert plain(found) == [{"A.x": a, "B.y": b} for a, b in table]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("jobs.csv", "A.x,B.y\n1,2\n1\n1,2,3\n", [
            "line 3: 1 cells, but the header has 2",
            "line 4: 3 cells, but the header has 2",
        ]),
        ("jobs.csv", "A.x,,A.x\n1,2,3\n", [
            "line 1, column 2: the column has no name",
            "line 1, column 3: a second column is called 'A.x'",
        ]),
        ("jobs.csv", 'A.x\n"open\nstill\n', ["line 3: the row cannot be read: unexpected end of data"]),
        ("jobs.csv", 'A.x\n1\n"a"b\n', ["line 3: the row cannot be read: ',' expected after '\"'"]),
        ("jobs.csv", "", ["there are no jobs in it"]),
        ("jobs.csv", "A.x\n\n", ["there are no jobs in it"]),
        ("jobs.csv", b"A.x\n1\n\xff\n", ["line 3, byte 1: this is not UTF-8"]),
        ("jobs.csv", "A.x\n@/no/file\n", ["line 2, column 1: /no/file cannot be read"]),
        ("jobs.csv", "A.x\n" + "x" * 200_000, ["line 2: the row cannot be read: field larger"]),
        ("jobs.jsonl", '{"A.x": 1}\n{"A.x": }\n[1]\n{"A.x": 1, "A.x": 2, "name": 3}\n', [
            "line 2, column 9: this is no JSON: Expecting value",
            "line 3: a JSON object is needed, found list",
            "line 4: 'A.x' stands there twice",
            "line 4: the name of a job is a text, found 3",
        ]),
        ("jobs.jsonl", '{"A.x": ' + "9" * 5000 + "}", ["line 1: this cannot be read: Exceeds the limit"]),
        ("jobs.jsonl", "[" * 100_000, ["line 1: this cannot be read: maximum recursion depth"]),
        ("jobs.jsonl", "\n\n", ["there are no jobs in it"]),
        ("jobs.txt", "A.x\n1", ["jobs.txt is neither a .csv nor a .jsonl"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_at_once_with_its_line(
    tmp_path: Path, name: str, content: bytes | str, expected: list[str]
) -> None:
    found = said(tmp_path, name, content)
    assert len(found) == len(expected), found
    for message, part in zip(found, expected, strict=True):
        assert part in message


def test_a_folder_or_nothing_is_no_file_of_rows(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for name, expected in (("folder.csv", "is a folder"), ("none.jsonl", "cannot be read: No such file")):
        problems: list[Problem] = []
        read_rows(tmp_path / name, problems)
        assert expected in problems[0].message
