"""What a node may ask of the program while it runs."""

from typing import Any

from server.compat.reporting import report


def _tell(
    value: float, max_value: float, node_id: str | None, preview_image: Any, ignore_size_limit: bool
) -> None:
    del ignore_size_limit  # the listener decides how large a preview is sent
    report(value, max_value, preview_image, node_id)


class Execution:
    """The run that the caller belongs to."""

    async def set_progress(
        self, value: float, max_value: float, node_id: str | None = None, preview_image: Any = None,
        ignore_size_limit: bool = False,
    ) -> None:  # fmt: skip
        """Tell that `value` of `max_value` is done."""
        _tell(value, max_value, node_id, preview_image, ignore_size_limit)


class ExecutionSync:
    """The same for functions that are no coroutines."""

    def set_progress(
        self, value: float, max_value: float, node_id: str | None = None, preview_image: Any = None,
        ignore_size_limit: bool = False,
    ) -> None:  # fmt: skip
        """Tell that `value` of `max_value` is done."""
        _tell(value, max_value, node_id, preview_image, ignore_size_limit)


class ComfyAPI:
    """What a coroutine may ask."""

    VERSION = "latest"
    STABLE = False
    Execution = Execution

    def __init__(self) -> None:
        self.execution = Execution()


class ComfyAPISync:
    """What a function may ask."""

    VERSION = "latest"
    STABLE = False
    Execution = ExecutionSync

    def __init__(self) -> None:
        self.execution = ExecutionSync()
