"""The disk tier's table of actions in SQLite: its schema, and what to do when it is damaged or busy."""

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

SCHEMA = """
CREATE TABLE IF NOT EXISTS actions (
    key TEXT PRIMARY KEY, class TEXT NOT NULL, node TEXT NOT NULL, parts TEXT NOT NULL,
    blob TEXT, size INTEGER NOT NULL, cost REAL NOT NULL, used REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS actions_used ON actions (used) WHERE blob IS NOT NULL;
CREATE INDEX IF NOT EXISTS actions_noted ON actions (used, blob) WHERE blob IS NULL;
CREATE INDEX IF NOT EXISTS actions_node ON actions (class, node, used);
CREATE INDEX IF NOT EXISTS actions_blob ON actions (blob) WHERE blob IS NOT NULL;
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, stamp TEXT NOT NULL, digest TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS total (one INTEGER PRIMARY KEY CHECK (one = 1), bytes INTEGER NOT NULL);
INSERT OR IGNORE INTO total VALUES (1, 0);
CREATE TRIGGER IF NOT EXISTS grow AFTER INSERT ON actions
    BEGIN UPDATE total SET bytes = bytes + NEW.size; END;
CREATE TRIGGER IF NOT EXISTS change AFTER UPDATE OF size ON actions
    BEGIN UPDATE total SET bytes = bytes - OLD.size + NEW.size; END;
CREATE TRIGGER IF NOT EXISTS shrink AFTER DELETE ON actions
    BEGIN UPDATE total SET bytes = bytes - OLD.size; END;
"""
PATIENCE = 15.0
"""Seconds to wait for another process that holds the table."""
BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
UNUSABLE = {
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR, *BUSY,
}  # fmt: skip
"""Primary codes of errors that moving the file aside would not mend."""


class Table:
    """A connection that many threads share; errors cost the cache and never the job.

    Args:
        path: The SQLite file; a damaged one is moved aside for an empty one, now or when it is found out.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._complained = False
        self._closed = False
        self._db = self._open()

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """What a query gives; nothing where the table cannot be read."""
        with self._lock:
            try:
                return [] if self._closed else self._db.execute(sql, values).fetchall()
            except (sqlite3.Error, UnicodeError) as error:
                self._failed(error)
                return []

    def write(self, sql: str, *values: object) -> bool:
        """Run one statement; whether it was done."""
        return self.write_all([(sql, [values])])

    def write_all(self, statements: Iterable[tuple[str, list[tuple[object, ...]]]]) -> bool:
        """Run statements, each once for every row of values, all or none; whether it was done."""
        with self._lock:
            if self._closed:
                return False
            try:
                self._db.execute("BEGIN IMMEDIATE")
                for sql, rows in statements:
                    self._db.executemany(sql, rows)
                self._db.execute("COMMIT")
            except (sqlite3.Error, UnicodeError) as error:
                self._failed(error)
                return False
        return True

    def complain(self, error: Exception) -> None:
        """Say once that the cache cannot be used."""
        if not self._complained:
            self._complained = True
            log.warning("the cache in %s cannot be used (%s); going on without it", self._path.parent, error)

    def close(self) -> None:
        """Close the connection; asked again, nothing more happens."""
        with self._lock:
            self._closed = True
            self._db.close()

    def _failed(self, error: Exception) -> None:
        if self._db.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
        if not _is_damage(error):
            return self.complain(error)
        self._db.close()
        try:
            self._db = self._renewed(error)
        except (sqlite3.Error, OSError) as second:
            self._closed = True
            self.complain(second)

    def _open(self) -> sqlite3.Connection:
        try:
            return _connect(self._path)
        except sqlite3.Error as error:
            if not _is_damage(error):
                raise
            return self._renewed(error)

    def _renewed(self, error: Exception) -> sqlite3.Connection:
        aside = self._path.with_suffix(f".damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
        log.warning(
            "the cache's table is damaged (%s); moved to %s, starting an empty one", error, aside.name
        )
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{self._path}{suffix}", f"{aside}{suffix}")  # noqa: PTH104  (suffix after the name)
        return _connect(self._path)


def _is_damage(error: Exception) -> bool:
    """Whether the file itself is wrong; a lock, a full disk or a missing permission is not."""
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(error, sqlite3.ProgrammingError | UnicodeError):
        return False
    return code is None or code & 0xFF not in UNUSABLE


def _connect(path: Path) -> sqlite3.Connection:
    """An open table; waits where other processes are opening it at the same time."""
    give_up = time.monotonic() + PATIENCE
    while True:
        db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(
                "PRAGMA synchronous = NORMAL"
            )  # a lost row is a miss; blobs are synced before their row
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'shrink'").fetchone():
                db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
            return db
        except sqlite3.Error as error:
            db.close()
            busy = getattr(error, "sqlite_errorcode", 0) & 0xFF in BUSY
            if not busy or time.monotonic() > give_up:
                raise
            time.sleep(0.02)
