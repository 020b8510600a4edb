"""How long functions of node classes take, so that quick ones are called without a change of threads."""

from collections import defaultdict, deque

QUICK_S = 0.0015
"""Seconds up to which a call is made on the loop's own thread: to hand it to another and back takes about
1 ms where threads share an interpreter, and a job of two small nodes took 5 ms in place of 2."""
LONG_S = 0.025
"""Seconds that no call takes that only waits for its turn at the interpreter, which may take several times
as long as a quick function itself."""
RECENT = 4


class Pace:
    """Remembers some recent calls of each class.

    The shortest of them says how long a call takes by itself: the others may have waited for their turn at
    the interpreter, which they would on another thread too.
    """

    def __init__(self) -> None:
        self._recent: defaultdict[str, deque[float]] = defaultdict(lambda: deque((QUICK_S,), RECENT))

    def is_quick(self, name: str, calls: int) -> bool:
        """Whether so many calls of a class will very likely be done at once."""
        recent = self._recent[name]
        return min(recent) * calls < QUICK_S and max(recent) < LONG_S

    def took(self, name: str, seconds: float) -> None:
        """Note how long one call of a class took."""
        self._recent[name].append(seconds)
