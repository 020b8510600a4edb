"""The manifest of a batch: a line for each job that has ended, on disk before anything else is told of it."""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

from engine.cache import PASSING
from engine.drafts import make_folder, sync_folder, write_whole
from engine.paths import inside
from engine.plan import Plan
from engine.problems import NodeFailure
from server.queue.jobs import ENDED, Ending, Job, message_and_hint

NAME = "manifest.jsonl"
Line = Mapping[str, Any]


class Manifest:
    """The lines of a manifest, by job number; of several for one job the last counts.

    A kill may leave half a line at the end: it is no line, and is gone once something is added.

    Args:
        path: Need not exist.
        jobs: How many jobs the batch has.
    """

    def __init__(self, path: Path, jobs: int) -> None:
        self.path = path
        self.lines: dict[int, Line] = {}
        self._file: BinaryIO | None = None
        data = path.read_bytes() if path.exists() else b""
        pieces = data.split(b"\n")
        found = [_read(piece, jobs) for piece in pieces if piece]
        self._whole = pieces[-1] == b"" and None not in found
        self.lines.update({line["job"]: line for line in found if line is not None})

    @property
    def damaged(self) -> bool:
        """Whether what was read holds something that is no line."""
        return not self._whole

    def add(self, lines: Iterable[Line]) -> None:
        """Append lines, lastingly.

        Raises:
            OSError: They cannot be written; at most half a line is left behind.
        """
        added = list(lines)
        if not added:
            return
        file = self._file or self._opened()
        file.write(b"".join(_text(line) for line in added))
        file.flush()
        os.fsync(file.fileno())
        self.lines.update({line["job"]: line for line in added})

    def put_in_order(self) -> None:
        """Write it anew in the order of the jobs, one line each; as a whole or not at all."""
        self.close()
        write_whole(self.path, b"".join(_text(self.lines[n]) for n in sorted(self.lines)))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> BinaryIO:
        if not self._whole:
            self.put_in_order()
            self._whole = True
        make_folder(self.path.parent)
        self._file = self.path.open("ab")
        sync_folder(self.path.parent)
        return self._file


def changed(folder: Path, lines: Iterable[Line]) -> set[int]:
    """The jobs whose files are not there any more as their lines say."""
    listed = list(lines)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 2)) as pool:
        intact = pool.map(lambda line: _intact(folder, line), listed)
        return {line["job"] for line, ok in zip(listed, intact, strict=True) if not ok}


def line_of(
    number: int, inputs: Mapping[str, Any], keys: Mapping[str, str], job: Job, ending: Ending
) -> Line:
    """The line of a job that has ended.

    Args:
        keys: Of its plan's nodes, as `keys_of` gives them.
    """
    finished = job.finished or time.time()
    error = ending.error or {}
    outputs = [
        {
            "node": file["node_id"],
            "path": f"{file['subfolder']}/{file['filename']}".lstrip("/"),
            "sha256": file["sha256"],
        }
        for file in ending.files
        if file.get("type") == "output"
    ]
    told = {
        "node_id": error.get("node_id"),
        "class_type": error.get("node_type"),
        "message": "; ".join(filter(None, message_and_hint(error))),
    }
    return {
        "job": number,
        "inputs": dict(inputs),
        "status": ending.status,
        "outputs": outputs,
        "keys": dict(keys),
        "executed": list(ending.executed),
        "cached": list(ending.cached),
        "seconds": round(max(0.0, finished - (job.started or finished)), 3),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(finished)),
        **({"device": ending.device} if ending.device else {}),
        "attempts": job.attempt,
        **({"error": told} if ending.status == "error" else {}),
    }


def keys_of(plan: Plan) -> dict[str, str]:
    """The keys of a plan's nodes, as records have them: no output nodes, nothing that passes."""
    kept = {id: key for id, key in plan.keys.items() if not key.startswith(PASSING)}
    return {id: key for id, key in kept.items() if not plan.graph.nodes[id].node.is_output}


def _text(line: Line) -> bytes:
    """The line as UTF-8; what some programs take for the end of a line is escaped."""
    text = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
    for end in "\x85\u2028\u2029":
        text = text.replace(end, f"\\u{ord(end):04x}")
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair
        return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def _read(text: bytes, jobs: int) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
        whole = (
            1 <= line["job"] <= jobs
            and line["status"] in ENDED
            and all(isinstance(o["path"], str) and isinstance(o["sha256"], str) for o in line["outputs"])
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return line if whole and type(line["job"]) is int else None


def _intact(folder: Path, line: Line) -> bool:
    for output in line["outputs"]:
        try:
            with inside(folder, output["path"]).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != output["sha256"]:
                    return False
        except (OSError, NodeFailure):
            return False
    return True
