"""Where in a run the caller is."""

from contextvars import Token
from typing import NamedTuple

from server.compat.context import CALL, Call


class ExecutionContext(NamedTuple):
    """The node that is being run, and which of its calls over a list."""

    prompt_id: str
    node_id: str
    list_index: int | None


def get_executing_context() -> ExecutionContext | None:
    """The caller's place, or None outside a node."""
    call = CALL.get()
    return ExecutionContext(call.running.info.name, call.running.node_id, call.index) if call else None


class CurrentNodeContext:
    """While the block runs, the caller is in another call of its node; outside a node it does nothing."""

    def __init__(self, prompt_id: str, node_id: str, list_index: int | None = None) -> None:
        self.context = ExecutionContext(prompt_id, node_id, list_index)
        self._token: Token[Call | None] | None = None

    def __enter__(self) -> "CurrentNodeContext":
        call = CALL.get()
        if call:
            self._token = CALL.set(Call(call.running, self.context.list_index, call.graphs))
        return self

    def __exit__(self, *_: object) -> None:
        if self._token:
            CALL.reset(self._token)
