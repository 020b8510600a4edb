"""The progress bar that packs' nodes show."""

from collections.abc import Callable
from typing import Any

from server.compat.context import running_now
from server.compat.reporting import picture, report

PROGRESS_BAR_ENABLED = True
_hooks: list[Callable[..., Any]] = []


def set_progress_bar_enabled(enabled: bool) -> None:
    """Whether bars are drawn in a terminal; the engine's listeners are told in any case."""
    global PROGRESS_BAR_ENABLED
    PROGRESS_BAR_ENABLED = enabled


def set_progress_bar_global_hook(function: Callable[..., Any] | None) -> None:
    """Have a function told of all progress too."""
    _hooks[:] = [function] if function else []


class ProgressBar:
    """Tells how far a node is.

    Args:
        total: Steps in all.
        node_id: The node; by default the one that is being run.
    """

    def __init__(self, total: float, node_id: str | None = None) -> None:
        running = running_now()
        self.total, self.current = total, 0.0
        self.hook = _hooks[0] if _hooks else None
        self.node_id = node_id if node_id is not None or running is None else running.node_id

    def update_absolute(self, value: float, total: float | None = None, preview: Any = None) -> None:
        """So much is done, of `total` from now on."""
        if total is not None:
            self.total = total
        self.current = min(value, self.total)
        report(self.current, self.total, preview, self.node_id)
        if self.hook:
            self.hook(self.current, self.total, picture(preview), node_id=self.node_id)

    def update(self, value: float) -> None:
        """So much more is done."""
        self.update_absolute(self.current + value)
