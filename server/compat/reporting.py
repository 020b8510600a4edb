"""Progress that packs tell: to the run's listener, with a preview, and a look at whether to stop."""

from typing import Any

from server.compat.context import go_on, running_now


def report(value: float, total: float, preview: Any = None, node_id: str | None = None) -> None:
    """Tell how far the caller's node is, or another node of its run.

    Args:
        preview: A picture, or the ecosystem's (format, picture, longest side), or None.

    Raises:
        Interrupted: The run is to end.
    """
    go_on()
    running = running_now()
    if running is not None:
        running.report(value, total, picture(preview), node_id)


def picture(preview: Any) -> Any:
    """The picture of a preview in the ecosystem's form (format, picture, longest side)."""
    is_triple = isinstance(preview, tuple) and len(preview) == 3 and isinstance(preview[0], str)
    return preview[1] if is_triple else preview
