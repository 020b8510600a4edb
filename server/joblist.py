"""A job of the queue as the newer classic job list shows it: `GET /api/jobs` of the editor."""

from collections.abc import Iterator, Mapping
from typing import Any

from server.inert import media_type
from server.queue.jobs import Job

STATUS = {
    "pending": "pending",
    "paused": "pending",
    "running": "in_progress",
    "success": "completed",
    "error": "failed",
    "cancelled": "cancelled",
}
"""A job's status as the editor words it."""
_MEDIA = ("images", "video", "videos", "gifs", "audio", "3d", "text")


def entry_of(job: Job) -> dict[str, Any]:
    """One line of the list: times in milliseconds, the output to show, how many there are."""
    shown = list(_shown(job))
    error = job.ending.error if job.ending and job.status == "error" else None
    return {
        "id": job.id,
        "status": STATUS[job.status],
        "priority": job.shown_number,
        "create_time": _ms(job.created),
        "execution_start_time": _ms(job.started),
        "execution_end_time": _ms(job.finished) if job.started else None,
        "execution_error": error,
        "outputs_count": len(shown) if job.ended else None,
        "previewable_outputs_count": sum(e["mediaType"] != "text" for e in shown) if job.ended else None,
        "preview_output": _preview(shown),
        "workflow_id": workflow_id(job),
    }


def whole_of(job: Job) -> dict[str, Any]:
    """One job with its outputs and its workflow."""
    ending, extra = job.ending, {k: v for k, v in job.extra_data.items() if k not in _SECRETS}
    said = {
        "status_str": "success" if job.status == "success" else "error",
        "completed": job.status == "success",
        "messages": list(ending.messages) if ending else [],
    }
    return {
        **entry_of(job),
        "update_time": _ms(job.finished or job.started or job.created),
        "outputs": ending.outputs if ending else {},
        "execution_status": said if ending else None,
        "execution_meta": ending.meta if ending else {},
        "workflow": {"prompt": job.prompt, "extra_data": extra},
    }


def workflow_id(job: Job) -> str | None:
    """The id of the saved workflow that a job came from, if the editor sent one."""
    found: Any = job.extra_data
    for key in ("extra_pnginfo", "workflow", "id"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) else None


_SECRETS = ("auth_token_comfy_org", "api_key_comfy_org")


def _shown(job: Job) -> Iterator[dict[str, Any]]:
    """The outputs as the editor previews them."""
    for node_id, ui in (job.ending.outputs if job.ending else {}).items():
        for key, entries in ui.items():
            for entry in entries if isinstance(entries, list | tuple) else ():
                if isinstance(entry, dict) and "filename" in entry:
                    yield {**entry, "nodeId": node_id, "mediaType": _media(key, str(entry["filename"]))}
                elif isinstance(entry, str):
                    yield {"content": entry[:1024], "nodeId": node_id, "mediaType": "text"}


def _media(key: str, name: str) -> str:
    kind = media_type(name).partition("/")[0]
    return {"image": "images", "video": "video", "audio": "audio"}.get(kind, key if key in _MEDIA else "file")


def _preview(shown: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The output that stands for a job: a kept file before one of a preview, a file before a text."""
    order = {"output": 0, "temp": 1}
    return min(shown, key=lambda e: order.get(str(e.get("type")), 2), default=None)


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)
