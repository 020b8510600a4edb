"""How long functions of a class take is learnt from their calls."""

from engine.pace import LONG_S, QUICK_S, RECENT, Pace

QUICK, SLOW = QUICK_S / 10, QUICK_S * 2


def paced(*seconds: float) -> Pace:
    pace = Pace()
    for each in seconds:
        pace.took("A", each)
    return pace


def test_a_class_never_called_is_not_taken_for_quick() -> None:
    assert not Pace().is_quick("A", 1)


def test_a_quick_class_is_quick_for_few_calls_only() -> None:
    pace = paced(QUICK)
    assert pace.is_quick("A", 1)
    assert not pace.is_quick("A", 20)
    assert not pace.is_quick("B", 1)


def test_calls_that_waited_for_the_interpreter_do_not_make_a_class_slow() -> None:
    assert paced(QUICK, *[SLOW] * (RECENT - 1)).is_quick("A", 1)


def test_a_class_that_is_always_slow_is_slow_until_one_call_is_quick() -> None:
    assert not paced(QUICK, *[SLOW] * RECENT).is_quick("A", 1)
    assert paced(*[SLOW] * RECENT, QUICK).is_quick("A", 1)


def test_a_long_call_counts_at_once_and_is_forgotten_after_some_quick_ones() -> None:
    pace = paced(QUICK, LONG_S)
    for _ in range(RECENT):
        assert not pace.is_quick("A", 1)
        pace.took("A", QUICK)
    assert pace.is_quick("A", 1)
