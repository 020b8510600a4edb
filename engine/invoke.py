"""One call of a node and what comes back: list mapping, hidden and given inputs, outputs put into slots."""

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.cache import Result
from engine.events import NodeFailed
from engine.graph import GraphNode
from engine.node import Node, Value
from engine.ports import Blocked, Env, Loose, Shown, adapted
from engine.problems import NodeFailure
from engine.steps import Lazy, Slots


@dataclass(frozen=True)
class Gathered:
    """The inputs of a node as lists, ready to be mapped over.

    Args:
        lists: By port; lazy links are left out.
        lazy: Ports whose value is asked for while the node runs.
    """

    lists: Mapping[str, Sequence[Any]]
    lazy: tuple[str, ...] = ()


def gather(node: GraphNode, results: Mapping[str, Result], hidden: Mapping[str, Any]) -> Gathered:
    """Collect a node's inputs: linked lists, literals and hidden values as lists of one."""
    lists: dict[str, Sequence[Any]] = {}
    lazy = []
    for value in node.node.inputs:
        name = value.name
        if value.hidden:
            lists[name] = [node.id if value.hidden == "UNIQUE_ID" else hidden.get(value.hidden)]
        elif name in node.links:
            link = node.links[name]
            if value.lazy:
                lazy.append(name)
            else:
                values = results[link.node_id].outputs[link.slot]
                lists[name] = values if value.fact(Loose) else adapted(value.kind, values)
        elif name in node.literals:
            if value.lazy:
                lazy.append(name)
            else:
                lists[name] = [node.literals[name]]
    return Gathered(lists, tuple(lazy))


def calls(node: GraphNode, gathered: Gathered, env: Env) -> list[dict[str, Any]]:
    """The keyword arguments of each call of a node.

    Without `takes_lists` there are as many calls as the longest list has values, and shorter lists repeat
    their last; with it there is one call with whole lists.

    Raises:
        NodeFailure: A list is empty.
    """
    given: dict[str, Any] = {name: env[kind] for name, kind in node.node.given.items()}
    lazy: dict[str, Any] = {name: Lazy(name) for name in gathered.lazy}
    if node.node.takes_lists:
        return [{**{name: list(v) for name, v in gathered.lists.items()}, **lazy, **given}]
    count = max((len(v) for v in gathered.lists.values()), default=1)
    if empty := [name for name, v in gathered.lists.items() if not v]:
        raise NodeFailure(f"{', '.join(empty)}: the list is empty, so there is nothing to call the node with")
    return [
        {**{name: v[min(i, len(v) - 1)] for name, v in gathered.lists.items()}, **lazy, **given}
        for i in range(count)
    ]


def blocked(arguments: Mapping[str, Any], takes_lists: bool) -> Blocked | None:
    """The first blocker among a call's arguments, or None."""
    for value in arguments.values():
        if isinstance(value, Blocked):
            return value
        if takes_lists and isinstance(value, list):
            for item in value:
                if isinstance(item, Blocked):
                    return item
    return None


@dataclass
class Collected:
    """The outcomes of a node's calls, put together in the order of the calls."""

    node: Node[..., Any]
    outcomes: list[Any] = field(default_factory=list)

    def result(self, seconds: float) -> Result:
        """The node's result.

        Raises:
            NodeFailure: An outcome does not fit the declared outputs.
        """
        if self.outcomes and isinstance(whole := self.outcomes[0], Slots):
            return Result(whole.lists, whole.ui, seconds)
        slots: tuple[list[Any], ...] = tuple([] for _ in self.node.outputs)
        ui: dict[str, list[Any]] = {}
        for outcome in self.outcomes:
            if isinstance(outcome, Shown):
                for key, entries in outcome.ui.items():
                    ui.setdefault(key, []).extend(entries)
                outcome = outcome.value
            for slot, declared, value in zip(slots, self.node.outputs, self._values(outcome), strict=True):
                if declared.is_list and not isinstance(value, Blocked):
                    if not isinstance(value, list | tuple):
                        found = type(value).__name__
                        raise NodeFailure(f"{self.node.name} declares a list and returned {found}")
                    slot.extend(value)
                else:
                    slot.append(value)
        return Result(slots, ui, seconds)

    def _values(self, outcome: Any) -> Sequence[Any]:
        outputs: tuple[Value, ...] = self.node.outputs
        if isinstance(outcome, Blocked):
            return [outcome] * len(outputs)
        if not outputs:
            return ()
        if len(outputs) == 1:
            return (outcome,)
        if not isinstance(outcome, tuple) or len(outcome) != len(outputs):
            raise NodeFailure(
                f"{self.node.name} declares {len(outputs)} outputs and returned {type(outcome).__name__}"
            )
        return outcome


def described(node: Node[..., Any], arguments: Mapping[str, Any]) -> dict[str, str]:
    """What a call was given at its ports, in few words for each: shapes of tensors, short values."""
    words = {}
    for port in node.inputs:
        if port.name not in arguments or port.hidden:
            continue
        name, value = port.name, arguments[port.name]
        if node.maps_itself and isinstance(value, list) and len(value) == 1:
            (value,) = value
        shape = getattr(value, "shape", None)
        if shape is not None:
            words[name] = f"{type(value).__name__} {list(shape)} {getattr(value, 'dtype', '')}".strip()
        elif isinstance(value, str | int | float | bool | None):
            words[name] = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
        else:
            words[name] = type(value).__name__
    return words


def failed(node: GraphNode, top: GraphNode, error: BaseException, inputs: Mapping[str, str]) -> NodeFailed:
    """The event that says which node failed and why.

    Args:
        top: The node of the workflow that it belongs to; itself unless another node added it.
        inputs: As `described`.
    """
    mendable = error if isinstance(error, NodeFailure) else None
    return NodeFailed(
        node_id=top.id,
        class_type=node.node.name,
        title=top.title,
        message=mendable.message if mendable else f"{type(error).__name__}: {error}",
        exception_message=mendable.message if mendable else str(error),
        hint=mendable.hint if mendable else "",
        exception_type=f"{type(error).__module__}.{type(error).__qualname__}",
        inputs=inputs,
        details="" if mendable and not error.__cause__ else "".join(traceback.format_exception(error)),
    )
