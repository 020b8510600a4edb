"""How long functions of node classes take, so that quick ones are called without a change of threads."""

QUICK_S = 0.0015
"""Seconds up to which a call is made on the loop's own thread: to hand it to another and back takes about
1 ms where threads share an interpreter, and a job of two small nodes took 5 ms in place of 2."""


class Pace:
    """Remembers the slowest recent call of each class; slow calls count at once and are forgotten slowly."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def is_quick(self, name: str, calls: int) -> bool:
        """Whether so many calls of a class will very likely be done at once."""
        return self._seconds.get(name, QUICK_S) * calls < QUICK_S

    def took(self, name: str, seconds: float) -> None:
        """Note how long one call of a class took."""
        self._seconds[name] = max(seconds, 0.9 * self._seconds.get(name, 0.0))
