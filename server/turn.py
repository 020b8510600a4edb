"""Things to be told that wait for their turn, so that they are heard in order."""

from collections.abc import Callable
from functools import partial
from typing import Any


class Turn:
    """Keeps what is told until its turn has come; lives on one thread."""

    def __init__(self) -> None:
        self._kept: list[tuple[Callable[..., None], tuple[Any, ...]]] | None = []

    def of(self, tell: Callable[..., None]) -> Callable[..., None]:
        """The same, in its turn."""
        return partial(self._tell, tell)

    def come(self) -> None:
        """Tell what was kept; from now on, all at once."""
        kept, self._kept = self._kept or [], None
        for tell, what in kept:
            tell(*what)

    def _tell(self, tell: Callable[..., None], *what: Any) -> None:
        if self._kept is None:
            tell(*what)
        else:
            self._kept.append((tell, what))
