"""A job of the queue as plain data: what was asked for, where it stands, what came of it."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from engine.graph import Graph

T = TypeVar("T")
_encode = json.JSONEncoder(separators=(",", ":")).encode  # made once: making one takes as long as using it
_encode_all = json.JSONEncoder(separators=(",", ":"), default=str).encode
log = logging.getLogger(__name__)
Status = Literal["pending", "paused", "running", "success", "error", "cancelled"]
End = Literal["success", "error", "cancelled"]
WAITING: tuple[Status, ...] = ("pending", "paused")
ENDED: tuple[Status, ...] = ("success", "error", "cancelled")
ATTEMPTS = 3
"""How often a job is begun at most; one that ends its process each time must not stop the queue."""


@dataclass(frozen=True)
class NewJob:
    """What a client asks for.

    Args:
        prompt: The API graph, as the client sent it.
        extra_data: Copied into the history; `extra_pnginfo` in it goes into outputs.
        targets: The output nodes to run.
        number: Smaller numbers run first; None takes the next of the server's counter.
        front: Whether to run before all that wait.
        priority: Higher runs first, before `number` is looked at.
        options: What else is asked for: `no_cache`, `webhook`, `metadata`, …
        checked: Its graph as it was checked, if that is at hand; not recorded.
    """

    id: str
    prompt: Mapping[str, Any]
    extra_data: Mapping[str, Any]
    targets: tuple[str, ...]
    number: float | None = None
    front: bool = False
    priority: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    checked: Graph | None = field(default=None, compare=False, repr=False)

    @property
    def client_id(self) -> str | None:
        """Whose socket hears of it."""
        found = self.extra_data.get("client_id")
        return None if found is None else str(found)


@dataclass(frozen=True)
class Ending:
    """What came of a job.

    Args:
        outputs: By node id, what it shows.
        meta: By node id: the node it is shown at, and where it comes from.
        messages: The history's messages, `[type, data]`.
        error: The data of the `execution_error`, if there was one.
        device: What it ran on, as torch spells it; "" where it did not run.
    """

    status: End
    outputs: Mapping[str, Any] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)
    messages: tuple[Any, ...] = ()
    error: Mapping[str, Any] | None = None
    executed: tuple[str, ...] = ()
    cached: tuple[str, ...] = ()
    files: tuple[Mapping[str, Any], ...] = ()
    device: str = ""

    def as_json(self) -> str:
        """The `ending` column."""
        found = {k: v for k, v in vars(self).items() if k != "status"}
        return _encode_all(found)


@dataclass(frozen=True)
class Job:
    """A row of the queue.

    Args:
        seq: Its place in the order of arrival.
        created: Seconds since 1970, as are `started` and `finished`.
        attempt: How often it was begun.
        owner: Who runs it.
    """

    seq: int
    id: str
    status: Status
    priority: int
    number: float
    counted: bool
    client_id: str | None
    prompt: Mapping[str, Any]
    extra_data: Mapping[str, Any]
    targets: tuple[str, ...]
    options: Mapping[str, Any]
    created: float
    started: float | None
    finished: float | None
    attempt: int
    owner: str | None
    cancelling: bool
    ending: Ending | None

    @property
    def shown_number(self) -> int | float:
        """The number as clients see it: whole where the server counted, else as they gave it."""
        return int(self.number) if self.counted else self.number

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in ENDED


def job_of(row: Mapping[str, Any]) -> Job:
    """A job of its row; what cannot be read of it (a damaged disk) is empty, so that it can end at least."""
    return Job(
        seq=row["seq"],
        id=row["id"],
        status=row["status"],
        priority=row["priority"],
        number=row["number"],
        counted=bool(row["counted"]),
        client_id=row["client_id"],
        prompt=_read(row["prompt"], dict),
        extra_data=_read(row["extra_data"], dict),
        targets=tuple(_read(row["targets"], list)),
        options=_read(row["options"], dict),
        created=row["created"],
        started=row["started"],
        finished=row["finished"],
        attempt=row["attempt"],
        owner=row["owner"],
        cancelling=bool(row["cancelling"]),
        ending=_ending(row["status"], row["ending"]),
    )


def _ending(status: Status, text: str | None) -> Ending | None:
    if status not in ("success", "error", "cancelled"):  # ENDED, as the type checker knows it
        return None
    found = {k: v for k, v in _read(text or "{}", dict).items() if k in Ending.__dataclass_fields__}
    found |= {k: tuple(found.get(k, ())) for k in ("messages", "executed", "cached", "files")}
    return Ending(status, **found)


def _read(text: str, kind: type[T]) -> T:
    if text in ("{}", "[]"):  # half of what long queues hold
        return kind()
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if isinstance(found, kind):
        return found
    log.error("a row of the queue's database holds what is no JSON %s: %.60r", kind.__name__, text)
    return kind()


def row_of(new: NewJob, number: float, counted: bool, created: float) -> dict[str, Any]:
    """The row of a job that was just accepted."""
    return {
        "id": new.id,
        "status": "pending",
        "priority": new.priority,
        "number": number,
        "counted": counted,
        "client_id": new.client_id,
        "prompt": _text(new.prompt),
        "extra_data": _text(new.extra_data),
        "targets": _text(new.targets),
        "options": _text(new.options),
        "created": created,
        "attempt": 0,
        "cancelling": False,
    }


def _text(value: Any) -> str:
    return _encode(value) if value else "[]" if isinstance(value, tuple | list) else "{}"


def failure(
    message: str, kind: str, node_id: str | None = None, node_type: str | None = None
) -> dict[str, Any]:
    """What an `execution_error` says of a job that failed before or outside of its nodes' own code."""
    return {
        "node_id": node_id,
        "node_type": node_type,
        "executed": [],
        "exception_message": message,
        "exception_type": kind,
        "traceback": [],
        "current_inputs": {},
        "current_outputs": [],
    }


def message_and_hint(error: Mapping[str, Any]) -> tuple[str, str]:
    """What an `execution_error` says, and what to do: the last line where a node itself failed."""
    text = str(error.get("exception_message") or "")
    message, _, hint = text.rpartition("\n")
    if not message or error.get("exception_type") == "WorkflowError":
        return text.strip(), ""
    return message.strip(), hint.strip()


def fault(id: str, error: Exception) -> dict[str, Any]:
    """What a job's `execution_error` says where the fault is ours."""
    return {"prompt_id": id, **failure(f"internal error: {error}", type(error).__name__)}


def worn_out(id: str, now: float) -> Ending:
    """The end of a job that was begun too often."""
    text = f"interrupted {ATTEMPTS} times: its process ended each time it was begun"
    error = {"prompt_id": id, **failure(text, "Interrupted"), "timestamp": int(now * 1000)}
    return Ending("error", error=error, messages=(["execution_error", error],))
