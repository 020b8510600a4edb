"""A job of the queue as clients of the versioned API see it: Job, Output, Progress, JobError."""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from server.inert import media_type
from server.queue.jobs import Ending, Job

STATUS = {
    "pending": "queued",
    "paused": "queued",
    "running": "running",
    "success": "succeeded",
    "error": "failed",
    "cancelled": "canceled",
}
"""A job's status as the versioned API words it."""
OVER = ("succeeded", "failed", "canceled", "expired")
"""The statuses after which nothing more happens."""
TEXT = "text/plain; charset=utf-8"
_OUTPUTS = uuid.UUID("5b0b6c1e-6f0a-5d5c-9a3e-2f6d1c8e7a40")
_CODES = {"WorkflowError": "invalid_workflow", "Interrupted": "interrupted"}
_DAY_S = 86_400


@dataclass(frozen=True)
class Look:
    """How a job is shown to somebody.

    Args:
        base: The address of the server as its client knows it, `http://host:port`.
        days: How long ended jobs are kept.
    """

    base: str
    days: float


@dataclass(frozen=True)
class Output:
    """One file that a node of a job made, or one text that it shows.

    Args:
        id: The same in every answer, and that of the output as an asset.
        folder: Where the file is, "output" or "temp"; "" for a text.
        size: In bytes; 0 where it is not known yet.
    """

    id: str
    node_id: str
    name: str
    content_type: str
    size: int
    folder: str = ""
    subfolder: str = ""
    text: str | None = None
    sha256: str | None = None
    blake3: str | None = None

    @property
    def kind(self) -> str:
        """Which of the six types of the contract it has."""
        if self.name.endswith(".latent"):
            return "latent"
        first = self.content_type.partition("/")[0]
        return first if first in ("image", "video", "audio", "text") else "file"

    def as_json(self, job_id: str, base: str, until: float) -> dict[str, Any]:
        """The contract's Output, and where the file is by folder.

        Args:
            until: Till when the address is good.
        """
        return {
            "id": self.id,
            "node_id": self.node_id,
            "name": self.name,
            "type": self.kind,
            "content_type": self.content_type,
            "size_bytes": self.size,
            "hash": self.blake3,
            "sha256": self.sha256,
            "url": f"{base}/api/v2/assets/{self.id}/content",
            "url_expires_at": time_of(until),
            "job_id": job_id,
            "folder": self.folder,
            "subfolder": self.subfolder,
        }


def outputs_of(
    job_id: str, shown: Mapping[str, Any], files: Iterable[Mapping[str, Any]] = ()
) -> list[Output]:
    """Every file and text that the nodes of a job show, each once.

    Args:
        shown: By node id, what it shows.
        files: What is known of the files.
    """
    known: dict[tuple[str, ...], Mapping[str, Any]] = {
        (f["node_id"], f["type"], f["subfolder"], f["filename"]): f for f in files
    }
    found: dict[str, Output] = {}
    for node_id, ui in shown.items():
        for output in _of_node(job_id, node_id, ui, known):
            found.setdefault(output.id, output)
    return list(found.values())


def _of_node(
    job_id: str, node_id: str, ui: Mapping[str, Any], known: Mapping[tuple[str, ...], Mapping[str, Any]]
) -> Iterator[Output]:
    for key, entries in ui.items():
        for i, entry in enumerate(entries if isinstance(entries, list | tuple) else ()):
            if isinstance(entry, str):
                id, name = _id(job_id, node_id, "", key, str(i)), f"{key}_{i + 1}.txt"
                yield Output(id, node_id, name, TEXT, len(entry.encode("utf-8", "replace")), text=entry)
            elif isinstance(entry, dict) and isinstance(entry.get("filename"), str):
                folder, subfolder = str(entry.get("type", "output")), str(entry.get("subfolder", ""))
                place = (node_id, folder, subfolder, entry["filename"])
                facts = known.get(place, {})
                digest = facts.get("blake3")
                yield Output(
                    id=_id(job_id, *place),
                    node_id=node_id,
                    name=entry["filename"],
                    content_type=media_type(entry["filename"]) or "application/octet-stream",
                    size=facts.get("size", 0),
                    folder=folder,
                    subfolder=subfolder,
                    sha256=facts.get("sha256") or None,
                    blake3=f"blake3:{digest}" if digest else None,
                )


def _id(*parts: str) -> str:
    return str(uuid.uuid5(_OUTPUTS, "\0".join(parts)))


def outputs_at_end(job_id: str, ending: Ending) -> list[Output]:
    """The outputs of an ended job."""
    return outputs_of(job_id, ending.outputs, ending.files)


def view(
    job: Job,
    look: Look,
    *,
    position: int | None = None,
    progress: Mapping[str, Any] | None = None,
    outputs: Sequence[Output] = (),
) -> dict[str, Any]:
    """A job as the contract's Job, with what ours adds.

    Args:
        position: How many jobs run before it.
        progress: What it told last of how far it is.
        outputs: What it has shown so far, while it runs.
    """
    ending, until = job.ending, expires(job, look.days)
    made = outputs_at_end(job.id, ending) if ending else outputs
    found = {
        **brief(job, look),
        "expires_at": time_of(until),
        "queue_position": position,
        "progress": _ended_progress(job, progress) if job.ended else progress,
        "outputs": [output.as_json(job.id, look.base, until) for output in made],
        "error": _error(job),
        "executed": list(ending.executed) if ending else [],
        "outputs_reused": reused(ending) if ending else [],
        "metrics": {
            "queue_ms": _ms(job.created, job.started),
            "execution_ms": _ms(job.started, job.finished) if job.ended else None,
        },
        **{k: job.options[k] for k in ("warnings", "node_errors") if job.options.get(k)},
    }
    if job.status == "success" and not made:
        found["note"] = "the job ended well and no node of it shows a file or a text"
    return found


def brief(job: Job, look: Look) -> dict[str, Any]:
    """What a list of jobs tells of each."""
    path = f"{look.base}/api/v2/jobs/{job.id}"
    changed = job.finished or job.started or job.created
    return {
        "id": job.id,
        "status": status_of(job),
        "paused": job.status == "paused",
        "priority": job.priority,
        "created_at": time_of(job.created),
        "started_at": None if job.started is None else time_of(job.started),
        "completed_at": None if job.finished is None else time_of(job.finished),
        "create_time": time_of(job.created),
        "update_time": time_of(changed),
        "metadata": job.options.get("metadata"),
        "urls": {"self": path, "events": f"{path}/events", "cancel": f"{path}/cancel"},
    }


def status_of(job: Job) -> str:
    """A job's status as the contract words it."""
    return "canceling" if job.status == "running" and job.cancelling else STATUS[job.status]


def expires(job: Job, days: float) -> float:
    """Till when a job is kept, in seconds since 1970."""
    return (job.finished or job.created) + days * _DAY_S


def time_of(seconds: float) -> str:
    """A time with its offset; one beyond what dates can say is the last that they can."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        return datetime.max.replace(tzinfo=UTC).isoformat()


def progress_of(told: Mapping[str, Any]) -> dict[str, Any] | None:
    """The contract's Progress of what a run told last; None if it told nothing."""
    if not told:
        return None
    done, total = int(told["nodes_done"]), int(told["nodes_total"])
    step, steps = told.get("step"), told.get("steps")
    part = min(1.0, step / steps) if step is not None and steps else 0.0
    found = {
        "value": min(1.0, (done + part) / total) if total else 0.0,
        "nodes_done": done,
        "nodes_total": total,
        "current_node": told.get("current_node"),
        "current_node_class": told.get("current_node_class"),
    }
    if step is not None and steps:
        words = f"{told.get('current_node_class')} {int(step)}/{int(steps)}"
        found |= {"step": int(step), "steps": int(steps), "message": words}
    return found


def reused(ending: Ending) -> list[str]:
    """The nodes of the workflow that were served from the cache, or not needed because others were."""
    at_hand = [n for type, data in ending.messages if type == "execution_cached" for n in data["nodes"]]
    return [id for id in dict.fromkeys([*ending.cached, *at_hand]) if id not in ending.executed]


def _ended_progress(job: Job, last: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if job.status != "success":
        return last
    ran = len(job.ending.executed) if job.ending else 0
    return {"value": 1.0, "nodes_done": ran, "nodes_total": ran}


def _error(job: Job) -> dict[str, Any] | None:
    error = job.ending.error if job.ending else None
    if error is None or job.status != "error":
        return None
    return {
        "code": _CODES.get(str(error.get("exception_type")), "node_execution_error"),
        "message": str(error.get("exception_message", "")).strip(),
        "node_id": error.get("node_id"),
        "class_type": error.get("node_type"),
        "traceback": "".join(map(str, error.get("traceback") or ())) or None,
        "exception_type": error.get("exception_type"),
        "inputs": error.get("current_inputs") or {},
    }


def _ms(start: float | None, end: float | None) -> int | None:
    return None if start is None or end is None else max(0, round((end - start) * 1000))
