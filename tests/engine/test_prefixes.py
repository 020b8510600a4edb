"""Time and size in the prefixes of file names."""

import time

import pytest

from engine.prefixes import expand_prefix

NOW = time.struct_time((2024, 3, 5, 7, 8, 9, 1, 65, 0))


def test_the_tokens_of_a_prefix_are_filled_in() -> None:
    text = "%year%-%month%-%day%/%hour%%minute%%second%_%width%x%height%_%other%_100%"
    assert expand_prefix(text, 64, 32, NOW) == "2024-03-05/070809_64x32_%other%_100%"


@pytest.mark.parametrize(
    ("prefix", "filled"),
    [
        ("%date:yyyy-MM-dd%/a", "2024-03-05/a"),
        ("%date:yy.M.d%", "24.3.5"),
        ("%date:yyyyMMdd_hhmmss% %date:h-m-s%", "20240305_070809 7-8-9"),
        ("%date:%", ""),
        ("%date:yyyy", "%date:yyyy"),
    ],
)
def test_dates_are_written_as_the_editor_writes_them(prefix: str, filled: str) -> None:
    assert expand_prefix(prefix, 1, 1, NOW) == filled
