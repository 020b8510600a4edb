"""What a job's end brings with it, in the same transaction: its outputs as assets, its webhook."""

import json
from dataclasses import replace

from sqlalchemy import Connection, Update, bindparam, delete, select

from server.jobview import STATUS, Look, outputs_at_end, time_of, view
from server.queue.jobs import Ending, Job, job_of
from server.queue.quick import Quick
from server.queue.tables import assets, jobs, webhooks

_DROP = Quick(delete(assets).where(assets.c.job_id == bindparam("job")))
_INSERT = Quick(assets.insert(), [c.name for c in assets.c])


def job_ended(connection: Connection, job: Job, ending: Ending, now: float) -> None:
    """Note what follows from the end of a job that was just recorded."""
    if ending.outputs:
        _note_outputs(connection, job.id, ending, now)
    if "webhook" in job.options:
        _note_webhook(connection, replace(job, status=ending.status, ending=ending, finished=now), now)


def all_ended(connection: Connection, change: Update, now: float) -> list[str]:
    """Record the end of all jobs that a statement changes, and what follows from it; gives their ids."""
    ended = connection.execute(change.returning(jobs.c.id, jobs.c.options)).all()
    for id in (id for id, options in ended if '"webhook"' in options):
        row = connection.execute(select(*jobs.c).where(jobs.c.id == id)).mappings().one()
        _note_webhook(connection, job_of(dict(row)), now)
    return [id for id, _ in ended]


def _note_outputs(connection: Connection, job_id: str, ending: Ending, now: float) -> None:
    _DROP.change(connection, {"job": job_id})  # of an end before a retry
    rows = []
    for output in outputs_at_end(job_id, ending):
        place = {"text": output.text}
        if output.text is None:
            place = {"type": output.folder, "subfolder": output.subfolder, "filename": output.name}
        row = {
            "id": output.id,
            "hash": output.blake3,
            "size": output.size,
            "content_type": output.content_type,
            "file_path": output.name,
            "tags": "[]",
            "created": now,
            "job_id": job_id,
            "output": json.dumps(place),
        }
        rows.append(row)
    _INSERT.change_all(connection, rows)


def _note_webhook(connection: Connection, job: Job, now: float) -> None:
    hook = job.options.get("webhook")
    status = STATUS[job.status]
    if not hook or status not in hook["events"]:
        return
    body = {
        "type": f"job.{status}",
        "timestamp": time_of(now),
        "data": view(job, Look(hook["base"], hook["days"])),
    }
    row = {
        "job_id": job.id,
        "event": status,
        "url": hook["url"],
        "secret": hook.get("secret"),
        "body": json.dumps(body),
        "created": now,
        "attempts": 0,
        "next": now,
    }
    connection.execute(webhooks.insert().values(row))
