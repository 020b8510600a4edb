"""The disk tier: results that outlive the process; SQLite for the actions, a folder for the blobs."""

import contextlib
import json
import logging
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from engine.cache import KeyParts, Result
from engine.cache.codec import NotStorable, decode, encode

log = logging.getLogger(__name__)

SCHEMA = """
CREATE TABLE IF NOT EXISTS actions (
    key TEXT PRIMARY KEY, class TEXT NOT NULL, node TEXT NOT NULL, parts TEXT NOT NULL,
    blob TEXT, size INTEGER NOT NULL, cost REAL NOT NULL, used REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS actions_used ON actions (used) WHERE blob IS NOT NULL;
CREATE INDEX IF NOT EXISTS actions_noted ON actions (used) WHERE blob IS NULL;
CREATE INDEX IF NOT EXISTS actions_node ON actions (class, node, used);
CREATE INDEX IF NOT EXISTS actions_blob ON actions (blob) WHERE blob IS NOT NULL;
CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, stamp TEXT NOT NULL, digest TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS total (one INTEGER PRIMARY KEY CHECK (one = 1), bytes INTEGER NOT NULL);
INSERT OR IGNORE INTO total VALUES (1, 0);
CREATE TRIGGER IF NOT EXISTS grow AFTER INSERT ON actions BEGIN UPDATE total SET bytes = bytes + NEW.size; END;
CREATE TRIGGER IF NOT EXISTS change AFTER UPDATE OF size ON actions
    BEGIN UPDATE total SET bytes = bytes - OLD.size + NEW.size; END;
CREATE TRIGGER IF NOT EXISTS shrink AFTER DELETE ON actions BEGIN UPDATE total SET bytes = bytes - OLD.size; END;
"""
PUT = """
INSERT INTO actions VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET
    node = excluded.node, parts = excluded.parts, blob = coalesce(excluded.blob, blob),
    size = iif(excluded.blob IS NULL, size, excluded.size), cost = excluded.cost, used = excluded.used
"""
TOUCH_SECONDS = 60.0
NOTED_AT_ONCE = 1000
NOTES_KEPT = 200_000


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

    def __init__(self, folder: Path, budget: int = 20 * 2**30, worth: float = 0.02) -> None:
        self.folder, self._budget, self._worth = folder, budget, worth
        self._blobs = folder / "blobs"
        self._lock = threading.RLock()
        self._blobs.mkdir(parents=True, exist_ok=True)
        self._db = self._open()
        self._full = False
        self._notes: list[tuple[object, ...]] = []

    def _open(self) -> sqlite3.Connection:
        path = self.folder / "actions.sqlite"
        try:
            return _connect(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # locked, read-only, disk full: not damaged
                raise
            aside = path.with_suffix(f".damaged-{time.strftime('%Y%m%d-%H%M%S')}")
            log.warning(
                "the cache's table is damaged (%s); moved to %s, starting an empty one", error, aside.name
            )
            for suffix in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    os.rename(f"{path}{suffix}", f"{aside}{suffix}")  # noqa: PTH104  (suffix after the name)
            return _connect(path)

    def close(self) -> None:
        """Close the table; results stay."""
        with self._lock:
            self.flush()
            self._db.close()

    def has(self, key: str) -> bool:
        """Whether the table and the folder have it."""
        with self._lock:
            row = self._db.execute(
                "SELECT blob FROM actions WHERE key = ? AND blob IS NOT NULL", (key,)
            ).fetchone()
        return row is not None and self._path(row[0]).is_file()

    def get(self, key: str) -> Result | None:
        """The result, or None where it is not stored or its blob is damaged (which removes it)."""
        with self._lock:
            row = self._db.execute(
                "SELECT blob, cost, used FROM actions WHERE key = ? AND blob IS NOT NULL", (key,)
            ).fetchone()
        if row is None:
            return None
        blob, cost, used = row
        data = self._read(blob)
        if data is None:
            self._forget(blob)
            return None
        if time.time() - used > TOUCH_SECONDS:
            self._write("UPDATE actions SET used = ? WHERE key = ?", (time.time(), key))
        value = decode(data)
        return Result(tuple(value["outputs"]), value["ui"], cost)

    def put(self, key: str, result: Result, parts: KeyParts) -> None:
        """Store a result if it has a codec and is worth it; else note its key parts only."""
        blob: str | None = None
        size = 0
        if result.cost >= self._worth or result.ui:
            try:
                data = encode({"outputs": list(result.outputs), "ui": dict(result.ui)})
                blob, size = self._store(data), len(data)
            except NotStorable:
                pass
            except OSError as error:
                self._complain(error)
        row = (key, parts.class_type, parts.node_id, _parts_json(parts), blob, size, result.cost, time.time())
        if blob:
            self._write(PUT, row)
            self._trim()
            return
        with self._lock:
            self._notes.append(row)
            if len(self._notes) >= NOTED_AT_ONCE:
                self.flush()

    def flush(self) -> None:
        """Write the rows of results that were not worth a blob; they only explain later misses."""
        with self._lock:
            rows, self._notes = self._notes, []
            if not rows:
                return
            try:
                self._db.execute("BEGIN")
                self._db.executemany(PUT, rows)
                self._db.execute(
                    "DELETE FROM actions WHERE blob IS NULL AND used < (SELECT used FROM actions"
                    " WHERE blob IS NULL ORDER BY used DESC LIMIT 1 OFFSET ?)",
                    (NOTES_KEPT,),
                )
                self._db.execute("COMMIT")
            except sqlite3.OperationalError as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                self._complain(error)

    def last_parts(self, class_type: str, node_id: str) -> KeyParts | None:
        """The key parts of the last result of this node, to explain what changed since."""
        with self._lock:
            row = self._db.execute(
                "SELECT parts FROM actions WHERE class = ? AND node = ? ORDER BY used DESC LIMIT 1",
                (class_type, node_id),
            ).fetchone()
        if row is None:
            return None
        parts = json.loads(row[0])
        links = {port: (key, slot) for port, (key, slot) in parts["links"].items()}
        return KeyParts(class_type, node_id, parts["literals"], links, parts["other"])

    def usual_cost(self, class_type: str) -> float | None:
        """Mean seconds of the last results of a class, or None where there are none."""
        with self._lock:
            (cost,) = self._db.execute(
                "SELECT avg(cost) FROM (SELECT cost FROM actions WHERE class = ? LIMIT 20)", (class_type,)
            ).fetchone()
        return None if cost is None else float(cost)

    def recall(self, path: str, stamp: str) -> str | None:
        """The remembered content hash of a file (see `engine.files.DigestMemo`)."""
        with self._lock:
            row = self._db.execute(
                "SELECT digest FROM files WHERE path = ? AND stamp = ?", (path, stamp)
            ).fetchone()
        return row[0] if row else None

    def remember(self, path: str, stamp: str, digest: str) -> None:
        """Remember the content hash of a file."""
        self._write("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", (path, stamp, digest))

    def stats(self) -> Stats:
        """What is stored."""
        with self._lock:
            (count,) = self._db.execute("SELECT count(*) FROM actions WHERE blob IS NOT NULL").fetchone()
            (size,) = self._db.execute("SELECT bytes FROM total").fetchone()
        return Stats(count, size, self._budget)

    def verify(self) -> Stats:
        """Read every blob, remove what is damaged, and say how much that was."""
        damaged = 0
        with self._lock:
            blobs = [
                b for (b,) in self._db.execute("SELECT DISTINCT blob FROM actions WHERE blob IS NOT NULL")
            ]
        for blob in blobs:
            if self._read(blob) is None:
                self._forget(blob)
                damaged += 1
        for path in self._stray(set(blobs)):
            path.unlink(missing_ok=True)
        stats = self.stats()
        return Stats(stats.results, stats.bytes, stats.budget, damaged)

    def clear(self) -> None:
        """Remove all results; remembered file hashes stay."""
        with self._lock:
            self._write("DELETE FROM actions", ())
        for path in self._stray(set()):
            path.unlink(missing_ok=True)

    def _stray(self, known: set[str]) -> Iterator[Path]:
        """Blobs without an action, and drafts left by a crash more than an hour ago."""
        for path in self._blobs.glob("*/*"):
            if path.name.startswith(".draft-"):
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime < time.time() - 3600:
                        yield path
            elif path.name not in known:
                yield path

    def _path(self, blob: str) -> Path:
        return self._blobs / blob[:2] / blob

    def _read(self, blob: str) -> bytes | None:
        try:
            data = self._path(blob).read_bytes()
        except OSError:
            return None
        if blake3(data).hexdigest() != blob:
            log.warning("a cached result is damaged and is computed again (blob %s)", blob[:12])
            return None
        return data

    def _store(self, data: bytes) -> str:
        blob = blake3(data).hexdigest()
        path = self._path(blob)
        if path.is_file() and path.stat().st_size == len(data):
            return blob
        path.parent.mkdir(parents=True, exist_ok=True)
        fd, draft = tempfile.mkstemp(prefix=".draft-", dir=path.parent)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(draft).replace(path)
        finally:
            Path(draft).unlink(missing_ok=True)
        return blob

    def _forget(self, blob: str) -> None:
        self._write("DELETE FROM actions WHERE blob = ?", (blob,))
        self._path(blob).unlink(missing_ok=True)

    def _trim(self) -> None:
        with self._lock:
            (size,) = self._db.execute("SELECT bytes FROM total").fetchone()
            while size > self._budget:
                rows = self._db.execute(
                    "SELECT blob, size FROM actions WHERE blob IS NOT NULL ORDER BY used LIMIT 16"
                ).fetchall()
                if not rows:
                    return
                for blob, _ in rows:
                    self._forget(blob)
                    (size,) = self._db.execute("SELECT bytes FROM total").fetchone()
                    if size <= self._budget:
                        return

    def _write(self, sql: str, values: tuple[object, ...]) -> bool:
        """Run one statement; a full disk or a long lock costs the cache, never the job."""
        try:
            with self._lock:
                self._db.execute(sql, values)
        except sqlite3.OperationalError as error:
            self._complain(error)
            return False
        return True

    def _complain(self, error: Exception) -> None:
        if not self._full:
            self._full = True
            log.warning("the cache in %s cannot be written (%s); going on without it", self.folder, error)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=15.0, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")  # a lost row is a miss; blobs are synced before their row
        db.executescript(SCHEMA)
    except sqlite3.Error:
        db.close()
        raise
    return db


def _parts_json(parts: KeyParts) -> str:
    return json.dumps({"literals": dict(parts.literals), "links": dict(parts.links), "other": parts.other})
