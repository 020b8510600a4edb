"""Text cut and wrapped to fit a number of pixels in a font."""

from PIL.ImageFont import FreeTypeFont, ImageFont

LONGEST = 400
"""Characters that are looked at."""
Font = FreeTypeFont | ImageFont


def one_line(text: str) -> str:
    """The beginning of a text as one line that a font can draw: what does not print is a space."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * LONGEST]).split())[:LONGEST]


def cut(text: str, font: Font, room: int) -> str:
    """The text, with an ellipsis for what does not fit."""
    if font.getlength(text) <= room:
        return text
    return f"{text[: _fitting(text, font, room - int(font.getlength('…')) - 1)].rstrip()}…"


def wrapped(text: str, font: Font, room: int, lines: int) -> list[str]:
    """The text in at most so many lines, broken between words, or inside one that is longer than a line."""
    found: list[str] = []
    while text and len(found) < lines - 1 and font.getlength(text) > room:
        fits = max(1, _fitting(text, font, room))
        space = text.rfind(" ", 0, fits + 1)
        at = space if space > 0 else fits
        found.append(text[:at])
        text = text[at:].lstrip()
    return [*found, cut(text, font, room)] if text else found


def _fitting(text: str, font: Font, room: int) -> int:
    """How many characters from the left fit."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if font.getlength(text[:middle]) <= room:
            low = middle
        else:
            high = middle - 1
    return low
