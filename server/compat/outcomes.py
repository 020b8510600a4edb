"""What a pack's method returned, in all the forms that it may have, put into the slots of its outputs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.graph import is_link
from engine.node import Value
from engine.ports import Blocked
from engine.problems import NodeFailure
from server.compat.jsonable import jsonable

VALUE = "__value__"


@dataclass(frozen=True)
class Outcome:
    """What one call gave.

    Args:
        values: One for each output, or None where it gave only something to show.
        graph: Nodes to run, among whose outputs are those of `values` that are links.
        blocked: The message of a blocker for which the call was left out; "" for a silent one.
    """

    values: Sequence[Any] | None
    ui: Mapping[str, Any] = field(default_factory=dict)
    graph: Mapping[str, Mapping[str, Any]] | None = None
    blocked: str | None = None


def outcome(returned: Any, outputs: int) -> Outcome:
    """Read what a method returned: a tuple, a dict of `ui`, `result` and `expand`, a V3 output, a blocker."""
    if isinstance(returned, Mapping):
        ui, graph, values = returned.get("ui"), returned.get("expand"), returned.get("result")
        if "result" not in returned and graph is None:
            return Outcome(None if outputs else (), _shown(ui))
        return Outcome(_values(values, outputs), _shown(ui), graph)
    if hasattr(returned, "block_execution"):
        values = returned.result
        if returned.block_execution is not None:
            values = Blocked(returned.block_execution)
        elif values is None and returned.expand is None:
            return Outcome(None if outputs else (), _shown(returned.ui))
        return Outcome(_values(values, outputs), _shown(returned.ui), returned.expand)
    return Outcome(_values(returned, outputs))


def _values(result: Any, outputs: int) -> Sequence[Any]:
    if isinstance(result, Blocked):
        return (result,) * outputs
    if result is None:
        if outputs:
            raise NodeFailure(f"it returned nothing, though it has {outputs} outputs", "return a tuple")
        return ()
    if not isinstance(result, list | tuple):
        raise NodeFailure(f"it returned {type(result).__name__} and not a tuple", "return (value,)")
    return result


def _shown(ui: Any) -> Mapping[str, Any]:
    found = ui.as_dict() if hasattr(ui, "as_dict") else ui
    return found if isinstance(found, Mapping) else {}


def merged_graph(outcomes: Iterable[Outcome]) -> dict[str, Mapping[str, Any]]:
    """All nodes that the calls ask for.

    Raises:
        NodeFailure: Two calls gave the same id.
    """
    merged: dict[str, Mapping[str, Any]] = {}
    for graph in (o.graph for o in outcomes if o.graph):
        for id, node in graph.items():
            if id in merged:
                raise NodeFailure(f"the id {id!r} is taken already", "give every added node an id of its own")
            inputs = {k: _lifted(v) for k, v in (node.get("inputs") or {}).items()}
            merged[id] = {**node, "inputs": inputs}
    return merged


def _lifted(value: Any) -> Any:
    """A value that cannot be mistaken for a link: added nodes may be given anything."""
    mistakable = isinstance(value, list) or (isinstance(value, dict) and set(value) == {VALUE})
    return {VALUE: value} if mistakable and not is_link(value) else value


def lowered(value: Any) -> Any:
    """The value as it was before `merged_graph`."""
    return value[VALUE] if isinstance(value, dict) and set(value) == {VALUE} else value


def wanted_links(outcomes: Iterable[Outcome]) -> tuple[Any, ...]:
    """The links among the values of calls that ask for nodes, in order."""
    return tuple(v for o in outcomes if o.graph is not None for v in o.values or () if is_link(v))


def slots(
    outcomes: Sequence[Outcome], outputs: Sequence[Value], found: Iterable[Sequence[Any]]
) -> tuple[list[Any], ...]:
    """The list of values at each output, over all calls.

    Args:
        found: What each of the `wanted_links` gave.
    """
    answers = iter(found)
    lists: tuple[list[Any], ...] = tuple([] for _ in outputs)
    for one in outcomes:
        if one.values is None:
            continue
        for i, value in enumerate(one.values):
            many = next(answers) if one.graph is not None and is_link(value) else (value,)
            if i < len(lists):
                for v in many:
                    _add(lists[i], v, outputs[i].is_list)
    return tuple(given or [None] if _gave_too_little(outcomes, i) else given for i, given in enumerate(lists))


def _add(slot: list[Any], value: Any, is_list: bool) -> None:
    if is_list and not isinstance(value, Blocked):
        if not isinstance(value, list | tuple):
            raise NodeFailure(f"an output is declared a list and got {type(value).__name__}")
        slot.extend(value)
    else:
        slot.append(value)


def _gave_too_little(outcomes: Sequence[Outcome], slot: int) -> bool:
    """Whether no call gave a value there, so that what is linked to it finds None."""
    return all(o.values is None or slot >= len(o.values) for o in outcomes)


def shown(outcomes: Sequence[Outcome]) -> dict[str, list[Any]]:
    """What the calls show, each kind of thing joined; the kinds are those that the first of them shows."""
    uis = [o.ui for o in outcomes if o.ui]
    joined = {key: [entry for ui in uis for entry in ui.get(key, ())] for key in (uis[0] if uis else ())}
    found: dict[str, list[Any]] = jsonable(joined)
    return found
