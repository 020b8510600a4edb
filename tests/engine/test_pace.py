"""Pace: a slow call counts at once, quick ones make it good again slowly."""

from engine.pace import QUICK_S, Pace


def test_an_unknown_class_is_not_called_on_the_loop() -> None:
    assert not Pace().is_quick("A", 1)


def test_a_quick_class_is_quick_for_few_calls_only() -> None:
    pace = Pace()
    pace.took("A", QUICK_S / 10)
    assert pace.is_quick("A", 1)
    assert not pace.is_quick("A", 20)


def test_one_slow_call_counts_at_once_and_is_forgotten_slowly() -> None:
    pace = Pace()
    pace.took("A", QUICK_S / 10)
    pace.took("A", 10.0)
    for _ in range(50):
        assert not pace.is_quick("A", 1)
        pace.took("A", QUICK_S / 10)
    for _ in range(50):
        pace.took("A", QUICK_S / 10)
    assert pace.is_quick("A", 1)
