"""Jobs as the page shows them: what runs, what waits, what has ended; search among the ended."""

import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, or_, select

from engine.registry import Registry
from server.queue.jobs import ENDED, WAITING, Job, message_and_hint
from server.queue.store import Queue
from server.queue.tables import jobs

SHOWN_WAITING = 200
SHOWN_ENDED = 12
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".avif", ".bmp")
ON_CARD = 4
"""Pictures that a card names; the job's own page has all."""
TITLE = 200
"""Characters of a title."""
BATCH = 100
"""Ended jobs that a search reads at a time."""
MOST_READ = 1_000
"""Ended jobs that one request of a search reads; the next goes on from there."""
KNOWN_TITLES = 4_096


@dataclass(frozen=True)
class Cursor:
    """A place among the ended jobs, which are ordered by the time of their end."""

    finished: float
    seq: int

    @classmethod
    def read(cls, text: str) -> "Cursor":
        """A cursor of its text.

        Raises:
            ValueError: It is none.
        """
        finished, _, seq = text.partition("-")
        return cls(float(finished), int(seq))

    @classmethod
    def of(cls, job: Job) -> "Cursor":
        """The place of an ended job."""
        return cls(job.finished or 0.0, job.seq)

    def __str__(self) -> str:
        return f"{self.finished!r}-{self.seq}"


END = Cursor(1e15, 0)
"""The place after the newest."""


class Titles:
    """What jobs are called, by their place in the order of arrival; each prompt is read once."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, str] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, connection: Connection, seqs: Iterable[int]) -> dict[int, str]:
        """The titles of these jobs."""
        with self._lock:
            wanted = list(seqs)
            unknown = [seq for seq in wanted if seq not in self._known]
            if unknown:
                question = select(jobs.c.seq, jobs.c.prompt).where(jobs.c.seq.in_(unknown))
                self._known |= {s: title_of(json.loads(p)) for s, p in connection.execute(question)}
            found = {seq: self._known[seq] for seq in wanted if seq in self._known}
            while len(self._known) > KNOWN_TITLES:
                self._known.popitem(last=False)
            return found


def title_of(prompt: Mapping[str, Any]) -> str:
    """What a person would call a prompt: its text, else what it saves."""
    nodes = [node for node in prompt.values() if isinstance(node, dict)]
    titled = [n for n in nodes if isinstance(n.get("_meta"), dict) and n["_meta"].get("title") == "Prompt"]
    for node in (*titled, *nodes):
        inputs = node.get("inputs")
        for name, value in inputs.items() if isinstance(inputs, dict) else ():
            if isinstance(value, str) and value.strip() and any(w in name for w in ("text", "prompt")):
                return " ".join(value[: TITLE * 2].split())[:TITLE]
    kinds = dict.fromkeys(str(node.get("class_type", "?")) for node in nodes)
    return " → ".join(kinds)[:TITLE] or "no nodes"


def node_title(prompt: Mapping[str, Any], id: str | None, registry: Registry) -> str:
    """What a node is called: by the workflow, by its class, else its id."""
    node = prompt.get(id or "")
    if not isinstance(node, dict):
        return id or ""
    meta, kind = node.get("_meta"), str(node.get("class_type", ""))
    named = meta.get("title") if isinstance(meta, dict) else None
    known = registry.nodes.get(kind)
    return str(named or (known.title if known else kind) or id)


def waiting(connection: Connection, titles: Titles) -> list[dict[str, Any]]:
    """The first jobs that wait, in the order in which they will run."""
    columns = (jobs.c.seq, jobs.c.id, jobs.c.status, jobs.c.created, jobs.c.priority)
    question = select(*columns).where(jobs.c.status.in_(WAITING))
    order = (jobs.c.priority.desc(), jobs.c.number, jobs.c.seq)
    rows = [dict(r) for r in connection.execute(question.order_by(*order).limit(SHOWN_WAITING)).mappings()]
    named = titles.of(connection, [row["seq"] for row in rows])
    return [{"title": named.get(row["seq"], ""), **row} for row in rows]


def waiting_count(connection: Connection) -> int:
    """How many jobs wait."""
    question = select(func.count()).where(jobs.c.status.in_(WAITING))
    return int(connection.scalar(question) or 0)


def card_of(job: Job, registry: Registry) -> dict[str, Any]:
    """An ended job as the gallery shows it."""
    pictures = pictures_of(job)
    return {
        "id": job.id,
        "status": job.status,
        "title": title_of(job.prompt),
        "created": job.created,
        "started": job.started,
        "finished": job.finished,
        "pictures": pictures[:ON_CARD],
        "count": len(pictures),
        "error": error_of(job, registry),
        "cursor": str(Cursor.of(job)),
    }


def files_of(job: Job) -> list[dict[str, str]]:
    """The files that a job shows, those of the output folder first."""
    found = [
        {"node": id, **{k: str(entry.get(k) or "") for k in ("filename", "subfolder", "type")}}
        for id, shown in (job.ending.outputs if job.ending else {}).items()
        for entries in (shown.values() if isinstance(shown, dict) else ())
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and entry.get("filename")
    ]
    return sorted(found, key=lambda f: f["type"] != "output")


def pictures_of(job: Job) -> list[dict[str, str]]:
    """Those of the files that are pictures."""
    return [f for f in files_of(job) if PurePosixPath(f["filename"]).suffix.lower() in PICTURES]


def error_of(job: Job, registry: Registry) -> dict[str, Any] | None:
    """Why a job failed: where, what, and what to do."""
    if job.status != "error":
        return None
    error: Mapping[str, Any] = (job.ending.error if job.ending else None) or {}
    message, hint = message_and_hint(error)
    id = error.get("node_id")
    return {
        "node_id": id,
        "title": node_title(job.prompt, id, registry),
        "class_type": error.get("node_type"),
        "message": message or "it ended without saying why",
        "hint": hint,
        "traceback": "".join(map(str, error.get("traceback") or ())),
    }


# ------------------------------------------------------------ search


@dataclass(frozen=True)
class Search:
    """What is looked for among the ended jobs.

    Args:
        words: All must occur: in a text of the prompt, a node's class or title, a file name, or the id.
        statuses: The ends that they may have come to.
    """

    words: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ENDED

    def page(self, queue: Queue, before: Cursor | None, limit: int) -> tuple[list[Job], Cursor | None]:
        """The newest that fit, older than `before`, and where to go on; None at the end.

        No more than `MOST_READ` jobs are looked at, so that a page may be short, or empty, before the end.
        """
        found: list[Job] = []
        size = max(limit, BATCH) if self.words else limit
        for _ in range(-(-MOST_READ // size)):
            read = self._read(queue, before, size)
            found += [job for job in read if self._fits(job)]
            if len(found) >= limit:
                return found[:limit], Cursor.of(found[limit - 1])
            if len(read) < size:
                return found, None
            before = Cursor.of(read[-1])
        return found, before

    def _read(self, queue: Queue, before: Cursor | None, limit: int) -> list[Job]:
        place = before or END
        where: list[ColumnElement[bool]] = [
            jobs.c.status.concat("").in_(self.statuses),  # so that the index on `finished` serves, in order
            jobs.c.finished <= place.finished,
            or_(jobs.c.finished < place.finished, jobs.c.seq < place.seq),
        ]
        columns = (jobs.c.prompt, jobs.c.ending, jobs.c.id)
        where += [
            or_(*(c.icontains(form, autoescape=True) for c in columns for form in _forms(word)))
            for word in self.words
        ]
        return queue.jobs(*where, order=(jobs.c.finished.desc(), jobs.c.seq.desc()), limit=limit)

    def _fits(self, job: Job) -> bool:
        if not self.words:
            return True
        text = "\n".join(_texts(job)).casefold()
        return all(word.casefold() in text for word in self.words)


def _forms(word: str) -> set[str]:
    """How a word may stand in the database, for a first selection: JSON hides the case of other letters."""
    part = max(word.split("/"), key=len)  # a path is kept in pieces
    forms = {part} if part.isascii() else {part, part.lower(), part.upper(), part.capitalize()}
    return {json.dumps(form)[1:-1] for form in forms}


def _texts(job: Job) -> Iterator[str]:
    """What of a job can be searched for."""
    yield job.id
    for node in job.prompt.values():
        if not isinstance(node, dict):
            continue
        yield str(node.get("class_type", ""))
        if isinstance(node.get("_meta"), dict):
            yield str(node["_meta"].get("title", ""))
        inputs = node.get("inputs")
        yield from (v for v in (inputs.values() if isinstance(inputs, dict) else ()) if isinstance(v, str))
    for file in files_of(job):
        yield f"{file['subfolder']}/{file['filename']}"
    if job.ending and job.ending.error:
        yield str(job.ending.error.get("exception_message", ""))
