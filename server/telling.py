"""What a run tells: the engine's events as the classic messages, and what the history keeps of them."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from engine import events
from server.previews import Pictured
from server.queue.jobs import Ending, Job

FEW = 64
"""Nodes up to which each change of state tells all of them; beyond it, at most every `PAUSE_S`."""
PAUSE_S = 0.1
TOGETHER_S = 0.005
"""Seconds for which what a run tells is kept together: waking another thread or process holds up nodes."""
ENDS = ("execution_success", "execution_error", "execution_interrupted")


class Message(NamedTuple):  # made a dozen times a job: in a third of the time of a dataclass
    """One thing to tell.

    Args:
        sid: The client id whose sockets hear it; None tells all of them.
        type: The classic message's type; "job" for what only the job's own event stream has.
        picture: For `preview`: what to show, not yet encoded.
        estimate: Whether the picture is what a sampler thinks for now, not what a pack shows.
    """

    job_id: str
    sid: str | None
    type: str
    data: Mapping[str, Any] = {}
    picture: Any = None
    estimate: bool = False


class Place(NamedTuple):
    """Where a node stands: the node it is shown at, the one that added it, its ancestor in the workflow."""

    display: str
    parent: str | None
    real: str


class Telling:
    """Turns the events of one run into messages, and gathers its ending.

    Args:
        job: The job that runs.
        send: Is given every message, on the thread that `tell` is called on.
        place: Where a node stands.
        cached: The nodes of the workflow whose results are at hand.
    """

    def __init__(
        self,
        job: Job,
        send: Callable[[Message], None],
        place: Callable[[str], Place],
        cached: Iterable[str] = (),
    ) -> None:
        self._job, self._send, self._place = job, send, place
        self._cached = list(cached)
        self._states: dict[str, dict[str, Any]] = {}
        self._told_states = 0.0
        self._current: tuple[str, str] | None = None
        self._nodes = 0
        self.executed: list[str] = []
        self.reused: list[str] = []
        self.messages: list[Any] = []
        self.outputs: dict[str, Any] = {}
        self.meta: dict[str, Any] = {}
        self.error: Mapping[str, Any] | None = None
        self.held: list[Message] = []
        """Messages that say how it ended: to be sent once the ending is committed."""

    def tell(self, event: events.Event) -> None:
        """Tell what an event says."""
        match event:
            case events.NodeStarted():
                self._started(event)
            case events.NodeProgress():
                self._progressed(event)
            case events.NodeFinished() | events.NodeCached():
                self._ended(event)
            case events.NodeFailed():
                self._failed(event)
            case events.NodeSkipped() if event.because == "blocked":
                self._blocked(event)
            case events.Notice():
                self._own({"kind": "log", "level": "warning", "message": event.message})
            case events.RunStarted() | events.RunFinished():
                self._began_or_ended(event)
            case _:
                return

    def ending(self, status: events.Status, files: tuple[Mapping[str, Any], ...] = ()) -> Ending:
        """What came of the run, for the history."""
        return Ending(
            status,
            self.outputs,
            self.meta,
            tuple(self.messages),
            self.error,
            tuple(self.executed),
            tuple(self.reused),
            files,
        )

    def failed_before(self, error: Mapping[str, Any]) -> None:
        """Tell that the job could not be begun."""
        self._noted("execution_start", {})
        self._error(error)

    # ------------------------------------------------------------ one kind of event each

    def _started(self, event: events.NodeStarted) -> None:
        self._current = (event.node_id, event.class_type)
        self._state(event.node_id, "running")
        display = self._place(event.node_id).display
        self._to_client("executing", {"node": event.node_id, "display_node": display})
        self._own(self._progress())

    def _progressed(self, event: events.NodeProgress) -> None:
        id = event.node_id
        self._state(id, "running", event.step, event.total)
        place = self._place(id)
        if event.preview is not None:
            described = {"node_id": id, "prompt_id": self._job.id, **_wide(place)}
            estimate = isinstance(event.preview, Pictured)
            sid = self._job.client_id
            self._send(Message(self._job.id, sid, "preview", described, event.preview, estimate))
        data = {"value": event.step, "max": event.total, "prompt_id": self._job.id, "node": id}
        self._to_all("progress", data)
        self._own(self._progress() | {"step": event.step, "steps": event.total})

    def _failed(self, event: events.NodeFailed) -> None:
        self._error(
            {
                "node_id": event.node_id,
                "node_type": event.class_type,
                "executed": list(self.executed),
                "exception_message": (event.exception_message or event.message) + "\n" + event.hint,
                "exception_type": event.exception_type.removeprefix("builtins."),
                "traceback": [_from_root(line) for line in event.details.splitlines(keepends=True)],
                "current_inputs": {k: [v] for k, v in event.inputs.items()},
                "current_outputs": [*self.reused, *self.executed],
            }
        )

    def _blocked(self, event: events.NodeSkipped) -> None:
        data = {
            "node_id": event.node_id,
            "node_type": event.class_type,
            "executed": list(self.executed),
            "exception_message": f"Execution Blocked: {event.message}",
            "exception_type": "ExecutionBlocked",
            "traceback": [],
            "current_inputs": [],
            "current_outputs": [],
        }
        self._to_client("execution_error", data)

    def _ended(self, event: events.NodeFinished | events.NodeCached) -> None:
        ran = isinstance(event, events.NodeFinished)
        (self.executed if ran else self.reused).append(event.node_id)
        self._shown(event.node_id, event.ui)
        self._state(event.node_id, "finished", done=True, hurry=ran)

    def _began_or_ended(self, event: events.RunStarted | events.RunFinished) -> None:
        if isinstance(event, events.RunStarted):
            self._nodes = event.nodes
            self._noted("execution_start", {})
            self._noted("execution_cached", {"nodes": self._cached})
        elif event.status == "success":
            self._noted("execution_success", {})
        elif event.status == "cancelled" and self.error is None:
            node, kind = self._current or (None, None)
            data = {"node_id": node, "node_type": kind, "executed": list(self.executed)}
            self._noted("execution_interrupted", data, everyone=self._job.client_id is None)

    # ------------------------------------------------------------ how it is told

    def _error(self, data: Mapping[str, Any]) -> None:
        if self.error is None:
            self.error = {"prompt_id": self._job.id, **data, "timestamp": _now()}
            self._noted("execution_error", data)

    def _noted(self, type: str, data: Mapping[str, Any], everyone: bool = False) -> None:
        whole = {**data, "prompt_id": self._job.id, "timestamp": _now()}
        self.messages.append([type, whole])
        if everyone or self._job.client_id is not None:
            message = Message(self._job.id, self._job.client_id, type, whole)
            if type in ENDS:
                self.held.append(message)
            else:
                self._send(message)

    def _shown(self, id: str, ui: Mapping[str, list[Any]]) -> None:
        output = {k: [_shown(entry) for entry in entries] for k, entries in ui.items()}
        if output:
            place = self._place(id)
            self.outputs[id] = output
            self.meta[id] = {"node_id": id, **_meta(place)}
            self._to_client("executed", {"node": id, "display_node": place.display, "output": output})

    def _state(
        self, id: str, state: str, value: float = 0, most: float = 1, done: bool = False, hurry: bool = True
    ) -> None:
        """Note a node's state and tell those of all nodes; for long runs not at every change (O(n²))."""
        before = self._states.get(id, {})
        place = self._place(id)
        self._states[id] = {
            "value": before.get("max", 1.0) if done else value,
            "max": before.get("max", 1.0) if done else most,
            "state": state,
            "node_id": id,
            "prompt_id": self._job.id,
            **_wide(place),
        }
        now = time.monotonic()
        if len(self._states) <= FEW or (hurry and now - self._told_states >= PAUSE_S):
            self._told_states = now
            self._to_all("progress_state", {"prompt_id": self._job.id, "nodes": dict(self._states)})

    def _progress(self) -> dict[str, Any]:
        node, kind = self._current or (None, None)
        done = len(self.executed)
        return {
            "kind": "progress",
            "nodes_done": done,
            "nodes_total": max(self._nodes, done),
            "current_node": node,
            "current_node_class": kind,
        }

    def _to_client(self, type: str, data: Mapping[str, Any]) -> None:
        """Tell the client that sent the job; a job without one tells nobody."""
        if self._job.client_id is not None:
            self._send(Message(self._job.id, self._job.client_id, type, {**data, "prompt_id": self._job.id}))

    def _to_all(self, type: str, data: Mapping[str, Any]) -> None:
        """Tell the client, or everybody where the job has none."""
        self._send(Message(self._job.id, self._job.client_id, type, data))

    def _own(self, data: Mapping[str, Any]) -> None:
        self._send(Message(self._job.id, None, "job", data))


def _wide(place: Place) -> dict[str, Any]:
    return {
        "display_node_id": place.display,
        "parent_node_id": place.parent,
        "real_node_id": place.real,
    }


def _meta(place: Place) -> dict[str, Any]:
    return {"display_node": place.display, "parent_node": place.parent, "real_node_id": place.real}


def _shown(entry: Any) -> Any:
    """An entry as clients know it: our content hash is for the cache."""
    if isinstance(entry, dict) and "sha256" in entry:
        return {k: v for k, v in entry.items() if k != "sha256"}
    return entry


def _from_root(line: str) -> str:
    """A line of a traceback that names its file from where modules are found, not by absolute path."""
    for root in sorted(filter(None, sys.path), key=len, reverse=True):
        if f'"{root}/' in line:
            return line.replace(f'"{root}/', '"')
    return line


def _now() -> int:
    return int(time.time() * 1000)
