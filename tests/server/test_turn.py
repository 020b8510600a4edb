"""What waits for its turn is told then, in order."""

from server.turn import Turn


def test_what_is_told_before_its_turn_waits_and_what_comes_later_is_told_at_once() -> None:
    heard: list[int] = []
    turn = Turn()
    tell = turn.of(heard.append)
    tell(1)
    tell(2)
    assert heard == []
    turn.come()
    assert heard == [1, 2]
    tell(3)
    turn.come()
    assert heard == [1, 2, 3]
