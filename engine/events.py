"""What happens in a run, as typed values; one stream feeds progress bars, sockets, logs and metrics."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Status = Literal["success", "error", "cancelled"]


@dataclass(frozen=True)
class RunStarted:
    """A run begins: how many nodes will run, which are served from the cache."""

    nodes: int
    cached: tuple[str, ...]


@dataclass(frozen=True)
class NodeStarted:
    """A node begins to run; `node_id` may be an added one, `display_id` is the one that stands for it."""

    node_id: str
    display_id: str
    class_type: str
    title: str = ""


@dataclass(frozen=True)
class NodeProgress:
    """A node has done `step` of `total` steps; `preview` is what it shows of them, not part of the JSON."""

    node_id: str
    step: float
    total: float
    preview: Any = None
    display_id: str = ""


@dataclass(frozen=True)
class NodeFinished:
    """A node has run, with what it shows."""

    node_id: str
    class_type: str
    seconds: float
    ui: Mapping[str, list[Any]]
    display_id: str = ""


@dataclass(frozen=True)
class NodeCached:
    """A node's result came from a cache tier."""

    node_id: str
    tier: str
    ui: Mapping[str, list[Any]]
    display_id: str = ""


@dataclass(frozen=True)
class NodeFailed:
    """A node failed: where, with what inputs, why, and what to do; `details` is the traceback."""

    node_id: str
    class_type: str
    title: str
    message: str
    hint: str = ""
    exception_type: str = ""
    exception_message: str = ""
    inputs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    details: str = ""


@dataclass(frozen=True)
class NodeSkipped:
    """A node did not run because of another: it failed, or it blocked its output."""

    node_id: str
    class_type: str
    because: str
    message: str = ""


@dataclass(frozen=True)
class ModelBatch:
    """One forward pass: rows asked for, rows computed (the rung of the ladder), jobs that shared it."""

    target: str
    rows: int
    rung: int
    jobs: int
    seconds: float


@dataclass(frozen=True)
class Notice:
    """Something done on the user's behalf that they should know: a retry after out-of-memory, a repair."""

    message: str


@dataclass(frozen=True)
class RunFinished:
    """The end: what was written, what ran, what was cached."""

    status: Status
    outputs: tuple[Mapping[str, str], ...]
    executed: tuple[str, ...]
    cached: tuple[str, ...]


Event: TypeAlias = (
    RunStarted
    | NodeStarted
    | NodeProgress
    | NodeFinished
    | NodeCached
    | NodeFailed
    | NodeSkipped
    | ModelBatch
    | Notice
    | RunFinished
)


def as_json(event: Event) -> dict[str, Any]:
    """The event as one JSON object: `{"event": "node_finished", ...}`; the last of a run is "finished"."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
    fields = {f.name: getattr(event, f.name) for f in dataclasses.fields(event) if f.name != "preview"}
    name = {"run_finished": "finished", "run_started": "started"}.get(name, name)
    return {"event": name, **{k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}}
