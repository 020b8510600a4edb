"""The prompt language: weights, escapes, textual inversions, chunks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.diffusion.prompt import chunks, inversions, segments, tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("a fox", [("a fox", 1.0)]),
        ("(a)", [("a", 1.1)]),
        ("((a))", [("a", 1.1 * 1.1)]),
        ("a (b (c:1.5):2)", [("a ", 1.0), ("b ", 2.0), ("c", 1.5)]),
        ("(a b:c)", [("a b:c", 1.1)]),
        ("(x:)", [("x:", 1.1)]),
        ("(:1.5)", [(":1.5", 1.1)]),
        ("(a:b:0.5)", [("a:b", 0.5)]),
        ("(a:-0.5)", [("a", -0.5)]),
        ("(a:nan)", [("a:nan", 1.1)]),
        ("[a] (b)", [("[a] ", 1.0), ("b", 1.1)]),
        (r"\(a\) (b \(c\):1.2)", [("(a) ", 1.0), ("b (c)", 1.2)]),
        (r"a\b", [(r"a\b", 1.0)]),
        ("a (b", [("a ", 1.0), ("(b", 1.0)]),
        ("a) (b:2)", [("a) (b:2)", 1.0)]),
    ],
)
def test_weights_are_read(text: str, expected: list[tuple[str, float]]) -> None:
    found = segments(text)
    assert [words for words, _ in found] == [words for words, _ in expected]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in expected])


def test_two_thousand_nested_parentheses_are_read() -> None:
    ((words, weight),) = segments("(" * 2000 + "a" + ":1)" + ")" * 1999)
    assert (words, weight) == ("a", 1.0)


@given(st.text(alphabet="ab ():.12\\\n", max_size=40))
def test_any_text_is_read_and_no_letter_is_made_up(text: str) -> None:
    found = "".join(words for words, _ in segments(text))
    assert set(found) <= set(text)


def ids(text: str) -> list[str]:
    return text.split()


def vectors(name: str) -> list[str] | None:
    return {"one": ["v1"], "two": ["v1", "v2"]}.get(name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a embedding:one b c", [["a"], ["v1"], ["b", "c"]]),
        ("embedding:two", [["v1", "v2"]]),
        ("embedding:one, b", [["v1"], [",", "b"]]),
        ("a\nembedding:one\nb", [["a"], ["v1"], ["b"]]),
        ("embedding:none b", [["b"]]),
        ("embedding:none, b", [[",", "b"]]),
        ("anembedding:one", [["anembedding:one"]]),
        ("embedding:", []),
    ],
)
def test_textual_inversions_stand_for_their_vectors(text: str, expected: list[list[str]]) -> None:
    assert [[token for token, _ in group] for group in tokens(text, ids, vectors)] == expected


def test_a_textual_inversion_has_the_weight_of_its_place() -> None:
    assert list(tokens("(embedding:two:1.3)", ids, vectors)) == [[("v1", 1.3), ("v2", 1.3)]]
    assert inversions("a (embedding:two:1.3), embedding:x, embedding:") == ["two", "x,"]


def rows(*groups: int) -> list[str]:
    """Chunks of groups of these lengths, a letter a token; start <, end >, padding _."""
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    made = [[(next_letter, 1.0)] * count for count, next_letter in zip(groups, letters, strict=False)]
    return ["".join(token for token, _ in row) for row in chunks(made, "<", ">", "_")]


def test_an_empty_prompt_is_one_row() -> None:
    assert rows() == ["<>" + "_" * 75]


def test_rows_have_77_tokens_and_hold_75() -> None:
    assert rows(75) == ["<" + "a" * 75 + ">"]
    assert rows(76) == ["<" + "a" * 75 + ">", "<a>" + "_" * 74]


def test_a_short_group_goes_whole_to_the_next_row() -> None:
    assert rows(73, 7) == ["<" + "a" * 73 + ">__", "<bbbbbbb>" + "_" * 68]


def test_a_long_group_is_split() -> None:
    assert rows(73, 8) == ["<" + "a" * 73 + "bb>", "<bbbbbb>" + "_" * 69]


@given(st.lists(st.integers(0, 100), max_size=8))
def test_all_tokens_are_kept_in_order(groups: list[int]) -> None:
    made = rows(*groups)
    assert all(len(row) == 77 for row in made)
    kept = "".join(row.replace("<", "").replace(">", "").replace("_", "") for row in made)
    assert kept == "".join(letter * n for letter, n in zip("abcdefgh", groups, strict=False))
