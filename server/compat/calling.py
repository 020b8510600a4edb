"""Running a pack's node: its instance, its calls over lists, lazy inputs, coroutines, added nodes."""

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakSet

from engine.files import Files
from engine.lane import Stopped
from engine.ports import Blocked, Written
from engine.problems import NodeFailure
from engine.running import Running
from engine.steps import Await, Lazy, NeedAll, Slots, Steps, Subgraph
from server.compat.context import CALL, Call, Interrupted, in_call, submit, together, under_way
from server.compat.dynamic import nested
from server.compat.interface import OWN, Interface
from server.compat.methods import bound, own_method
from server.compat.outcomes import Outcome, merged_graph, outcome, shown, slots, wanted_links
from server.compat.prompts import DynamicPrompt

GIVEN = f"{OWN}running"


class Instances:
    """The objects of packs' classes, one for each node, kept between runs while the prompts hold the node."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, type], tuple[Any, str]] = {}
        self._runs: WeakSet[Any] = WeakSet()

    def of(self, running: Running, cls: type) -> Any:
        """The object of a node; only the device lane asks."""
        if running.run not in self._runs:
            self._runs.add(running.run)
            live = [run for run in self._runs if not run.ended]
            present = {id for run in live for id in run.plan.graph.workflow.nodes}
            self._kept = {key: kept for key, kept in self._kept.items() if kept[1] in present}
        key = (running.node_id, cls)
        if key not in self._kept:
            self._kept[key] = (cls(), running.nodes.top(running.node_id))
        return self._kept[key][0]


INSTANCES = Instances()


def run(cls: type, face: Interface, /, **inputs: Any) -> Steps[Slots]:
    """Run a node of a pack's class; the `fn` of its engine node.

    Args:
        inputs: Whole lists by port, `Lazy` for those to be asked for, and the node itself as `GIVEN`.
    """
    running: Running = inputs.pop(GIVEN)
    calls = Calls(cls, face, running, inputs)
    with under_way(running):
        try:
            yield from calls.ask_for_lazy()
            results = yield from calls.mapped(cls.FUNCTION)  # type: ignore[attr-defined]
            outcomes = [r if isinstance(r, Outcome) else outcome(r, len(face.outputs)) for r in results]
            found: Sequence[Sequence[Any]] = ()
            if graph := merged_graph(outcomes):
                found = yield Subgraph(graph, wanted_links(outcomes))
        except Interrupted:
            running.stop()
            raise Stopped() from None
    messages = tuple(o.blocked for o in outcomes if o.blocked)
    ran = any(o.blocked is None for o in outcomes)
    ui = _with_digests(shown(outcomes), running)
    return Slots(slots(outcomes, face.outputs, found), ui, messages, ran)


def _with_digests(ui: dict[str, list[Any]], running: Running) -> dict[str, list[Any]]:
    """What a node shows, its files with their content's hash: if one changes, the node runs again."""
    env = running.run.services.env
    if Files not in env:
        return ui
    for entry in (e for entries in ui.values() for e in entries if isinstance(e, dict)):
        with contextlib.suppress(NodeFailure, OSError):
            path = env[Files].saved(entry)
            if path is not None:
                entry.setdefault("sha256", env[Files].sha256(path))
    return ui


class Calls:
    """The calls of one node over its lists of inputs."""

    def __init__(self, cls: type, face: Interface, running: Running, inputs: Mapping[str, Any]) -> None:
        self._cls, self._face, self._running = cls, face, running
        self._whole = bool(getattr(cls, "INPUT_IS_LIST", False))
        self._owner = INSTANCES.of(running, cls)
        self._missing = [name for name, value in inputs.items() if isinstance(value, Lazy)]
        lists = {k: v for k, v in inputs.items() if not isinstance(v, Lazy)}
        self._hidden = {source: self._source(source, lists.get(n)) for n, source in face.hidden.items()}
        self._lists = {k: self._list(k, v) for k, v in lists.items() if not k.startswith(OWN)}
        self._lists |= dict.fromkeys(self._missing, (None,))

    def _source(self, source: str, found: Any) -> Any:
        if source == "DYNPROMPT":
            return DynamicPrompt(self._running.nodes)
        return _plain(found[0]) if found else None

    def _list(self, name: str, values: Sequence[Any]) -> Sequence[Any]:
        """The values as the method knows them: plain ones of our classes, links where it wants links."""
        if name in self._face.hidden:
            return [self._hidden[self._face.hidden[name]]]
        if name in self._face.raw:
            saved = self._running.nodes.saved(self._running.node_id)["inputs"].get(name)
            return [saved] if isinstance(saved, list) else values
        return [v.as_plain() if hasattr(type(v), "as_plain") else v for v in values]

    def ask_for_lazy(self) -> Steps[None]:
        """Have made what `check_lazy_status` says is needed, until it says that nothing more is."""
        check = own_method(self._cls, "check_lazy_status", "check_lazy_status")
        while check:
            wanted: list[str] = []
            for names in (yield from self.mapped(check)):
                if isinstance(names, list | tuple | set):
                    wanted += [n for n in names if isinstance(n, str)]
            unknown = [n for n in wanted if n not in self._lists]
            if unknown:
                raise NodeFailure(
                    f"check_lazy_status asks for {unknown[0]!r}, which is no input that is linked or set"
                )
            needed = tuple(n for n in dict.fromkeys(wanted) if n in self._missing)
            if not needed:
                return
            found = yield NeedAll(needed)
            for name, values in zip(needed, found, strict=True):
                self._missing.remove(name)
                self._lists[name] = self._list(name, values)

    def mapped(self, name: str) -> Steps[list[Any]]:
        """Call a method for each of the rows; those with a blocker give an `Outcome` instead."""
        results: list[Any] = []
        waiting: dict[int, Any] = {}
        for i, (index, row) in enumerate(self._rows()):
            if self._running.stopped:
                raise Stopped()
            blocker = self._blocker(row)
            if blocker is not None:
                results.append(Outcome((Blocked(),) * len(self._face.outputs), blocked=blocker.message or ""))
                continue
            call = Call(self._running, index)
            row = nested(row, self._face.paths)
            method = bound(self._cls, self._owner, name, self._hidden)
            if inspect.iscoroutinefunction(method):
                waiting[i] = in_call(call, method(**row))
                results.append(None)
            else:
                results.append(_called(call, method, row))
        if waiting:
            for i, value in zip(waiting, (yield from _awaited(list(waiting.values()))), strict=True):
                results[i] = value
        return results

    def _rows(self) -> list[tuple[int | None, Mapping[str, Any]]]:
        """The arguments of each call: shorter lists repeat their last value.

        Raises:
            IndexError: Some lists are empty, others are not.
        """
        if self._whole:
            return [(0, self._lists)]
        count = max((len(v) for v in self._lists.values()), default=0)
        if count == 0:
            return [(None, {})]
        return [(i, {k: v[i if i < len(v) else -1] for k, v in self._lists.items()}) for i in range(count)]

    def _blocker(self, row: Mapping[str, Any]) -> Blocked | None:
        values = [v for vs in row.values() for v in vs] if self._whole else list(row.values())
        return next((v for v in values if isinstance(v, Blocked)), None)


def _called(call: Call, method: Callable[..., Any], row: Mapping[str, Any]) -> Any:
    token = CALL.set(call)
    try:
        return method(**row)
    finally:
        CALL.reset(token)


def _awaited(coroutines: list[Any]) -> Steps[list[Any]]:
    """What coroutines give, run together; ended when the node is."""
    future = submit(together(coroutines))
    try:
        found: list[Any] = yield Await(future)
        return found
    finally:
        future.cancel()


def _plain(hidden: Any) -> Any:
    """A hidden value as packs may change it."""
    if not isinstance(hidden, dict):
        return hidden
    return {k: dict(v) if isinstance(v, Written) else v for k, v in hidden.items()}
