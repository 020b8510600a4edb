"""Operations on texts: join, cut, search, replace."""

import re
from typing import Annotated, Literal, TypeAlias

from engine.node import node
from engine.ports import Hint, Omittable, Range
from engine.problems import NodeFailure

Text: TypeAlias = Annotated[str, Hint("multiline")]


@node("StringConcatenate", category="utils/string", title="Concatenate")
def string_concatenate(
    *, string_a: Text, string_b: Text, delimiter: Annotated[str, Hint("multiline", False)] = ""
) -> str:
    """Join two texts.

    Args:
        string_a: The first.
        string_b: The second.
        delimiter: What stands between them.
    """
    return delimiter.join((string_a, string_b))


@node("StringSubstring", category="utils/string", title="Substring")
def string_substring(*, string: Text, start: int, end: int) -> str:
    """Cut a part out of a text.

    Args:
        string: The text.
        start: The first character taken, from 0; negative counts from the end.
        end: The first character no longer taken.
    """
    return string[start:end]


@node("StringLength", category="utils/string", title="Length", outputs=("length",))
def string_length(*, string: Text) -> int:
    """Count the characters of a text.

    Args:
        string: The text.
    """
    return len(string)


@node("CaseConverter", category="utils/string", title="Case Converter")
def case_converter(
    *, string: Text, mode: Literal["UPPERCASE", "lowercase", "Capitalize", "Title Case"]
) -> str:
    """Change between capital and small letters.

    Args:
        string: The text.
        mode: What is wanted, in its own form.
    """
    forms = {
        "UPPERCASE": str.upper,
        "lowercase": str.lower,
        "Capitalize": str.capitalize,
        "Title Case": str.title,
    }
    return forms[mode](string)


@node("StringTrim", category="utils/string", title="Trim")
def string_trim(*, string: Text, mode: Literal["Both", "Left", "Right"]) -> str:
    """Remove white space from the ends of a text.

    Args:
        string: The text.
        mode: From which end.
    """
    return {"Both": str.strip, "Left": str.lstrip, "Right": str.rstrip}[mode](string)


@node("StringReplace", category="utils/string", title="Replace")
def string_replace(*, string: Text, find: Text, replace: Text) -> str:
    """Replace all occurrences of a text in another.

    Args:
        string: The text.
        find: What is replaced.
        replace: What takes its place.
    """
    return string.replace(find, replace)


@node("StringContains", category="utils/string", title="Contains", outputs=("contains",))
def string_contains(*, string: Text, substring: Text, case_sensitive: bool = True) -> bool:
    """Tell whether a text holds another.

    Args:
        string: The text.
        substring: What is looked for.
        case_sensitive: Whether capital and small letters differ.
    """
    return substring in string if case_sensitive else substring.lower() in string.lower()


@node("StringCompare", category="utils/string", title="Compare")
def string_compare(
    *,
    string_a: Text,
    string_b: Text,
    mode: Literal["Starts With", "Ends With", "Equal"],
    case_sensitive: bool = True,
) -> bool:
    """Compare two texts.

    Args:
        string_a: The first.
        string_b: The second; what the first must start or end with, or equal.
        mode: Which of these.
        case_sensitive: Whether capital and small letters differ.
    """
    if not case_sensitive:
        string_a, string_b = string_a.lower(), string_b.lower()
    if mode == "Equal":
        return string_a == string_b
    return string_a.startswith(string_b) if mode == "Starts With" else string_a.endswith(string_b)


@node("RegexMatch", category="utils/string", title="Regex Match", outputs=("matches",))
def regex_match(
    *,
    string: Text,
    regex_pattern: Text,
    case_insensitive: bool = True,
    multiline: bool = False,
    dotall: bool = False,
) -> bool:
    """Tell whether a regular expression is found in a text.

    Args:
        string: The text.
        regex_pattern: The expression, in Python's dialect.
        case_insensitive: Whether capital and small letters are the same.
        multiline: Whether ^ and $ match at every line.
        dotall: Whether the dot matches line ends too.
    """
    return _compiled(regex_pattern, case_insensitive, multiline, dotall).search(string) is not None


@node("RegexExtract", category="utils/string", title="Regex Extract")
def regex_extract(
    *,
    string: Text,
    regex_pattern: Text,
    mode: Literal["First Match", "All Matches", "First Group", "All Groups"],
    case_insensitive: bool = True,
    multiline: bool = False,
    dotall: bool = False,
    group_index: Annotated[int, Range(0, 100)] = 1,
) -> str:
    """Take what a regular expression finds out of a text; several finds stand on lines of their own.

    Args:
        string: The text.
        regex_pattern: The expression, in Python's dialect.
        mode: One find or all, the whole of it or one of its groups. "All Matches" takes the first group
            where there are groups.
        case_insensitive: Whether capital and small letters are the same.
        multiline: Whether ^ and $ match at every line.
        dotall: Whether the dot matches line ends too.
        group_index: Which group; what has fewer groups is passed over.
    """
    pattern = _compiled(regex_pattern, case_insensitive, multiline, dotall)
    index = {"First Match": 0, "All Matches": min(pattern.groups, 1)}.get(mode, group_index)
    if index > pattern.groups:
        return ""
    found = [match[index] or "" for match in pattern.finditer(string)]
    return "\n".join(found[:1] if mode.startswith("First") else found)


@node("RegexReplace", category="utils/string", title="Regex Replace")
def regex_replace(
    *,
    string: Text,
    regex_pattern: Text,
    replace: Text,
    case_insensitive: Annotated[bool, Omittable()] = True,
    multiline: Annotated[bool, Omittable()] = False,
    dotall: Annotated[bool, Omittable()] = False,
    count: Annotated[int, Range(0, 100), Omittable()] = 0,
) -> str:
    """Replace what a regular expression finds in a text.

    Args:
        string: The text.
        regex_pattern: The expression, in Python's dialect.
        replace: What takes its place; \\1 is the first group.
        case_insensitive: Whether capital and small letters are the same.
        multiline: Whether ^ and $ match at every line.
        dotall: Whether the dot matches line ends too.
        count: How many are replaced; 0 replaces all.

    Raises:
        NodeFailure: The expression is wrong, or names a group that it does not have.
    """
    try:
        return _compiled(regex_pattern, case_insensitive, multiline, dotall).sub(replace, string, count=count)
    except (re.error, IndexError) as error:
        raise NodeFailure(f"{replace!r} is no replacement: {error}", "write \\\\ for a backslash") from error


def _compiled(pattern: str, case_insensitive: bool, multiline: bool, dotall: bool) -> re.Pattern[str]:
    flags = re.IGNORECASE * case_insensitive | re.MULTILINE * multiline | re.DOTALL * dotall
    try:
        return re.compile(pattern, flags)
    except re.error as error:
        raise NodeFailure(
            f"{pattern!r} is no regular expression: {error}", "put \\ before . * + ? ( ["
        ) from error
