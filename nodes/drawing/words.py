"""How wide text is, roughly and for no font in particular, and how it is cut and wrapped to fit."""

import unicodedata

_NARROW = frozenset("ijlI.,:;'|!()[]{}/\\ `ftr-\"")
_WIDE = frozenset("mwMW@%&")


def width(text: str, size: float) -> float:
    """About how wide `text` is in a sans-serif face of this size."""
    return size * sum(map(_em, text))


def _em(char: str) -> float:
    if char in _NARROW:
        return 0.34
    if char in _WIDE:
        return 0.9
    if ord(char) > 0x2E7F and unicodedata.east_asian_width(char) in "WF":
        return 1.0
    return 0.68 if char.isupper() else 0.57


def plain(text: str) -> str:
    """One line that any file can hold: whatever does not print (controls, lone surrogates) is a space."""
    return "".join(c if c.isprintable() else " " for c in text)


def cut(text: str, size: float, room: float) -> str:
    """`text`, with an ellipsis for what does not fit."""
    text = text[: max(8, int(room / size * 4))]
    if width(text, size) <= room:
        return text
    while text and width(text, size) + 0.9 * size > room:
        text = text[:-1]
    return text.rstrip() + "…"


def wrapped(text: str, size: float, room: float, lines: int) -> list[str]:
    """`text` in at most so many lines, broken between words; the last is cut."""
    done: list[str] = []
    words = text.split()
    while words and len(done) < lines - 1:
        line = [words.pop(0)]
        while words and width(" ".join([*line, words[0]]), size) <= room:
            line.append(words.pop(0))
        done.append(cut(" ".join(line), size, room))
    return [*done, cut(" ".join(words), size, room)] if words else done
