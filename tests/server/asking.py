"""Ask a server over HTTP from a test, and look into what it keeps on disk."""

import contextlib
import hashlib
import http.client
import json
import sqlite3
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

DATABASE = "user/latentgraph.sqlite"


def ask(address: str, method: str, path: str, body: Any = None, seconds: float = 30) -> tuple[int, Any]:
    """Status and decoded JSON of a request.

    Raises:
        OSError: The server does not answer (any more).
    """
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=seconds)
    try:
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read()
    except http.client.HTTPException as error:
        raise ConnectionError(str(error)) from error
    finally:
        connection.close()
    return response.status, json.loads(text) if text.strip() else None


def post(address: str, prompt: Any, id: str, **more: Any) -> int:
    """Send a prompt under an id of ours; the status."""
    return ask(address, "POST", "/prompt", {"prompt": prompt, "prompt_id": id, **more})[0]


def until_empty(address: str, seconds: float = 60) -> None:
    """Wait until nothing waits or runs."""
    last = time.monotonic() + seconds
    while ask(address, "GET", "/prompt")[1]["exec_info"]["queue_remaining"]:
        if time.monotonic() > last:
            raise TimeoutError(str(ask(address, "GET", "/queue")[1])[:2000])
        time.sleep(0.02)


def rows(base: Path, sql: str = "SELECT * FROM jobs ORDER BY seq") -> list[dict[str, Any]]:
    """Rows of the queue's database."""
    connection = sqlite3.connect(base / DATABASE)
    connection.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in connection.execute(sql).fetchall()]
    finally:
        connection.close()


def sound(base: Path) -> bool:
    """Whether SQLite finds nothing wrong with the database."""
    found = rows(base, "PRAGMA integrity_check")
    return [list(r.values()) for r in found] == [["ok"]] and not rows(base, "PRAGMA foreign_key_check")


def outputs(base: Path) -> dict[str, bytes]:
    """The files in the output folder, drafts included that stay."""
    folder, found = base / "output", dict[str, bytes]()
    for path in (p for p in folder.rglob("*") if p.is_file()) if folder.exists() else ():
        with contextlib.suppress(FileNotFoundError):  # a draft that was just given its name
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def recorded(row: dict[str, Any]) -> list[tuple[str, str]]:
    """The files that a job's row says it wrote: relative path and sha256."""
    files = json.loads(row["ending"] or "{}").get("files", [])
    return [((f["subfolder"] + "/" if f["subfolder"] else "") + f["filename"], f["sha256"]) for f in files]


def sha256(data: bytes) -> str:
    """As outputs are recorded with."""
    return hashlib.sha256(data).hexdigest()
