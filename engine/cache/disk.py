"""The disk tier: results that outlive the process; a table of actions, a folder of blobs."""

import json
import random
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from engine.cache import PASSING, KeyParts, Result
from engine.cache.blobs import Blobs
from engine.cache.codec import NotStorable
from engine.cache.stored import from_bytes, is_worth, to_bytes
from engine.cache.table import Table
from engine.trail import Trail

PUT = """
INSERT INTO actions VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET
    node = excluded.node, parts = excluded.parts, blob = coalesce(excluded.blob, blob),
    size = iif(excluded.blob IS NULL, size, excluded.size), cost = excluded.cost, used = excluded.used
"""
DROP_OLD_NOTES = (
    "DELETE FROM actions WHERE blob IS NULL AND used < (SELECT used FROM actions"
    " WHERE blob IS NULL ORDER BY used DESC LIMIT 1 OFFSET ?)"
)
TOUCH_SECONDS = 60.0
NOTED_AT_ONCE = 1000
"""Results not worth a blob after which their notes are written: the last of each node."""
NOTES_KEPT, NOTES_OVER = 200_000, 20_000
"""Notes that are kept at least, and about how many more before the oldest go: finding them takes long."""


@dataclass(frozen=True)
class Stats:
    """What a disk tier holds: results, bytes of all blobs, the budget, damaged blobs found by `verify`."""

    results: int
    bytes: int
    budget: int
    damaged: int = 0


class DiskTier:
    """Results by key in a folder that many processes may share.

    A blob is named by its content's blake3 and is written to a draft, synced and renamed, so that it is there
    whole or not at all; reading checks the hash, and a damaged blob is a miss that is reported and removed.

    Args:
        folder: Made when it is not there.
        budget: Bytes of all blobs; the least recently used go first.
        worth: Seconds; a result that took less is not stored (a node that shows something always is).
    """

    name = "disk"
    quick = False

    def __init__(self, folder: Path, budget: int = 20 * 2**30, worth: float = 0.02) -> None:
        self.folder, self._budget, self._worth = folder, budget, worth
        self._blobs = Blobs(folder / "blobs")
        self._table = Table(folder / "actions.sqlite")
        self._lock = threading.RLock()
        self._notes: dict[tuple[str, str], tuple[str, KeyParts, float, float]] = {}
        self._noted = 0

    def close(self) -> None:
        """Close the table; results stay."""
        self.flush()
        self._table.close()

    def has(self, key: str) -> bool:
        """Whether the table and the folder have it."""
        blob = None if key.startswith(PASSING) else self._blob(key)
        return blob is not None and self._blobs.has(blob)

    def get(self, key: str) -> Result | None:
        """The result, or None where it is not stored or its blob is damaged (which removes it)."""
        blob = self._blob(key)
        if blob is None:
            return None
        data = self._blobs.read(blob)
        if data is None:
            self._forget(blob)
            return None
        rows = self._table.rows("SELECT cost, used, parts FROM actions WHERE key = ?", key)
        try:
            ((cost, used, parts),) = rows
            result = from_bytes(data, cost, json.loads(parts).get("trail"))
            if result is not None and time.time() - float(used) > TOUCH_SECONDS:
                self._table.write("UPDATE actions SET used = ? WHERE key = ?", time.time(), key)
        except (ValueError, TypeError, AttributeError, RecursionError):
            return None  # a damaged row
        return result

    def slow(self, result: Result) -> bool:
        """Whether it is worth a blob: it took long to compute, or shows files that will stay."""
        return is_worth(result, self._worth)

    def put(self, key: str, result: Result, parts: KeyParts) -> None:
        """Store a result if it has a codec and is worth it; else note its key parts only."""
        if key.startswith(PASSING):
            return
        blob, size = self._stored(result) if self.slow(result) else (None, 0)
        if blob is None:
            return self._note(key, parts, result.cost)
        text = _parts_json(parts, result.trail)
        row = (key, parts.class_type, parts.node_id, text, blob, size, result.cost, time.time())
        before = self._blob(key)
        if not self._table.write(PUT, *row):
            self._remove_unused(blob)
        elif before is not None and before != blob:
            self._remove_unused(before)
        self._trim()

    def _note(self, key: str, parts: KeyParts, cost: float) -> None:
        """Remember a result that is not stored: the last one of its node explains the next miss."""
        with self._lock:
            self._notes[parts.class_type, parts.node_id] = key, parts, cost, time.time()
            self._noted += 1
            if self._noted >= NOTED_AT_ONCE:
                self.flush()

    def flush(self) -> None:
        """Write the rows of results that were not worth a blob; they only explain later misses."""
        with self._lock:
            notes, self._notes, self._noted = self._notes, {}, 0
        rows: list[tuple[object, ...]] = [
            (key, parts.class_type, parts.node_id, _parts_json(parts), None, 0, cost, used)
            for key, parts, cost, used in notes.values()
        ]
        if rows:
            trims = random.random() < len(rows) / NOTES_OVER
            self._table.write_all([(PUT, rows), (DROP_OLD_NOTES, [(NOTES_KEPT,)] if trims else [])])

    def last_parts(self, class_type: str, node_id: str) -> KeyParts | None:
        """The key parts of the last result of this node, to explain what changed since."""
        self.flush()
        rows = self._table.rows(
            "SELECT parts FROM actions WHERE class = ? AND node = ? ORDER BY used DESC LIMIT 1",
            class_type,
            node_id,
        )
        try:
            ((text,),) = rows
            parts = json.loads(text)
            links = {port: (key, slot) for port, (key, slot) in parts["links"].items()}
            return KeyParts(class_type, node_id, parts["literals"], links, parts["other"])
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    def usual_cost(self, class_type: str) -> float | None:
        """Mean seconds of the last results of a class, or None where there are none."""
        self.flush()
        rows = self._table.rows(
            "SELECT avg(cost) FROM (SELECT cost FROM actions WHERE class = ? LIMIT 20)", class_type
        )
        return float(rows[0][0]) if rows and isinstance(rows[0][0], int | float) else None

    def recall(self, path: str, stamp: str) -> str | None:
        """The remembered content hash of a file (see `engine.files.DigestMemo`)."""
        rows = self._table.rows("SELECT digest FROM files WHERE path = ? AND stamp = ?", path, stamp)
        return rows[0][0] if rows and isinstance(rows[0][0], str) else None

    def remember(self, path: str, stamp: str, digest: str) -> None:
        """Remember the content hash of a file."""
        self._table.write("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", path, stamp, digest)

    def stats(self) -> Stats:
        """What is stored."""
        count = self._table.rows("SELECT count(*) FROM actions WHERE blob IS NOT NULL")
        return Stats(count[0][0] if count else 0, self._bytes(), self._budget)

    def verify(self) -> Stats:
        """Read every blob, remove what is damaged, and say how much that was."""
        rows = self._table.rows("SELECT DISTINCT blob FROM actions WHERE blob IS NOT NULL")
        blobs = [b for (b,) in rows if isinstance(b, str)]
        damaged = [b for b in blobs if self._blobs.read(b) is None]
        for blob in damaged:
            self._forget(blob)
        self._blobs.sweep(set(blobs))
        stats = self.stats()
        return Stats(stats.results, stats.bytes, stats.budget, len(damaged))

    def clear(self) -> None:
        """Remove all results; remembered file hashes stay."""
        with self._lock:
            self._notes = {}
        self._table.write("DELETE FROM actions")
        self._blobs.sweep(())

    def _blob(self, key: str) -> str | None:
        rows = self._table.rows("SELECT blob FROM actions WHERE key = ? AND blob IS NOT NULL", key)
        return rows[0][0] if rows and isinstance(rows[0][0], str) else None

    def _stored(self, result: Result) -> tuple[str | None, int]:
        """The blob of a result and its size; None where it has no codec, or no place."""
        try:
            data = to_bytes(result)
            return (self._blobs.store(data), len(data)) if len(data) <= self._budget else (None, 0)
        except (NotStorable, RecursionError):
            return None, 0
        except OSError as error:
            self._table.complain(error)
            return None, 0

    def _remove_unused(self, blob: str) -> None:
        if not self._table.rows("SELECT 1 FROM actions WHERE blob = ? LIMIT 1", blob):
            self._blobs.remove(blob)

    def _forget(self, blob: str) -> bool:
        done = self._table.write("DELETE FROM actions WHERE blob = ?", blob)
        self._blobs.remove(blob)
        return done

    def _bytes(self) -> int:
        rows = self._table.rows("SELECT bytes FROM total")
        return rows[0][0] if rows and isinstance(rows[0][0], int) else 0

    def _trim(self) -> None:
        while self._bytes() > self._budget:
            oldest = "SELECT blob FROM actions WHERE blob IS NOT NULL ORDER BY used LIMIT 1"
            rows = self._table.rows(oldest)
            if not rows or not self._forget(rows[0][0]):
                return


def _parts_json(parts: KeyParts, trail: Trail | None = None) -> str:
    said = {"literals": dict(parts.literals), "links": dict(parts.links), "other": parts.other}
    return json.dumps(said | ({"trail": trail.as_json()} if trail else {}))
