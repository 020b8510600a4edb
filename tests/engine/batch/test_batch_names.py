"""Output names: templates, values made safe, names that would collide."""

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from engine.batch.names import LONGEST, Template, collisions, parsed, safe, safe_path, tidy, wrong_with
from engine.drafts import last_numbers


def template(text: str) -> Template:
    found = parsed(text, ["job", "prefix", "Prompt.text"])
    assert isinstance(found, Template)
    return found


def said(text: str) -> list[str]:
    found = parsed(text, ["job", "prefix", "Prompt.text"])
    assert isinstance(found, list)
    return [f"{p.message}; {p.hint}" for p in found]


def test_fields_stand_for_their_texts() -> None:
    fields = {"job": "07", "prefix": "p", "Prompt.text": "a {job}"}
    assert template("{prefix}/{job}-{Prompt.text}").filled(fields) == "p/07-a {job}"
    assert template("{{{job}}}").filled(fields) == "{07}"
    assert template("{{job}}").filled(fields) == "{job}"
    assert template("").filled(fields) == ""
    assert template("{prefix}{job}").fields == {"prefix", "job"}


def test_what_is_wrong_with_a_template_is_said_at_once_with_its_columns() -> None:
    messages = said("{jobb}_{prefix}_{x")
    assert "--name {jobb}_{prefix}_{x, column 1: there is no field {jobb}; did you mean 'job'?" in messages
    assert any("column 17: a { without its partner" in m for m in messages)
    assert "column 2: a } without its partner" in said("a}")[0]
    assert "there are {job}, {prefix}, {Prompt.text}" in said("{}")[0]


@given(st.text())
def test_a_template_with_doubled_braces_is_the_text_itself(text: str) -> None:
    assert template(text.replace("{", "{{").replace("}", "}}")).filled({}) == text


@given(st.text(st.characters()))
def test_a_safe_value_is_one_part_of_a_path_that_can_be_written(text: str) -> None:
    name = safe(text)
    assert 0 < len(name) <= LONGEST
    assert not re.search(r"[/\\:\x00-\x1f%]", name)
    assert name.strip(". ") == name
    assert tidy(name) == name
    assert wrong_with(name) == ""
    assert safe(name) == name


def test_values_in_names_are_written_as_in_json() -> None:
    assert [safe(v) for v in (7, 0.5, True, "a/b: c?", "..", "", " .x. ", "%year%")] == [
        "7", "0.5", "true", "a_b_ c_", "_", "_", "x", "_year_",
    ]  # fmt: skip
    assert safe_path("a/../b\\c//d") == "a/_/b/c/d"


def test_names_that_cannot_be_are_told() -> None:
    assert wrong_with("a/../b") == "leads out of the output folder"
    assert wrong_with(tidy("/")) == "is empty"
    assert "control" in wrong_with("a\nb")
    assert "220 bytes" in wrong_with("x/" + "ü" * 111)
    assert "dot" in wrong_with(".batch/a")
    assert tidy("/a//./b\\c/") == "a/b/c"


def test_names_that_differ_in_case_alone_collide() -> None:
    assert list(collisions([["a/Red"], ["b"], ["A/red"]])) == [(1, 3, "A/red")]
    assert list(collisions([["é"], ["e\N{COMBINING ACUTE ACCENT}"]])) == [
        (1, 2, "e\N{COMBINING ACUTE ACCENT}")
    ]
    assert list(collisions([["a", "A"]])) == [(1, 1, "A")]


def test_names_collide_where_the_number_of_one_could_be_read_in_the_other() -> None:
    assert list(collisions([["house_2"], ["house"]])) == [(2, 1, "house_2")]
    assert list(collisions([["house_00001_x"], ["house"]])) == [(2, 1, "house_00001_x")]
    assert list(collisions([["a_1_x/b"], ["a"]])) == []
    assert list(collisions([["house_1"], ["house_2"], ["house2"], ["house_2x"]])) == []


@given(st.lists(st.from_regex(r"[aA]{1,2}(_[0-9a]{1,2}){0,3}", fullmatch=True), min_size=2, max_size=4))
def test_names_without_collisions_are_numbered_apart(stems: list[str]) -> None:
    """However the files of other jobs lie there, each first file is number 1 (see `engine.drafts`)."""
    if list(collisions([[stem] for stem in stems])):
        return

    class Folder:
        def iterdir(self) -> list[Path]:
            return [Path(f"{stem}_00001_.png") for stem in others]

    for stem in stems:
        others = [other for other in stems if other != stem]
        numbers = last_numbers(Folder())  # type: ignore[arg-type]
        assert numbers.get(f"{stem}_".lower(), 0) == 0
