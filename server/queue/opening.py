"""Open the queue's database: connection settings, migrations, and what to do with a damaged file."""

import logging
import sqlite3
import time
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import DatabaseError, OperationalError

from server.queue.tables import METADATA

log = logging.getLogger(__name__)
MIGRATIONS = Path(__file__).parent / "migrations"
PATIENCE_S = 15


def open_database(url: str) -> Engine:
    """The database at a URL, in the present form, with everything that was there.

    A damaged SQLite file is moved aside (never deleted); the rows that can still be read are carried over.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: It cannot be opened or brought to the present form.
    """
    path = _sqlite_path(url)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and (complaint := _complaint(path)):
            return _salvaged(url, path, complaint)
    return _opened(url)


def _opened(url: str) -> Engine:
    engine = create_engine(url, pool_size=8, max_overflow=24)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
    return engine


def _set_up(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's `begin` says when, see above
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute(f"PRAGMA busy_timeout={PATIENCE_S * 1000}")
    cursor.close()


def _sqlite_path(url: str) -> Path | None:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        return None
    return Path(parsed.database)


def _complaint(path: Path) -> str | None:
    """What is wrong with an SQLite file, or None."""
    try:
        with sqlite3.connect(path, timeout=PATIENCE_S) as connection:
            found = connection.execute("PRAGMA quick_check(3)").fetchall()
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        return str(error)
    finally:
        if "connection" in locals():
            connection.close()
    return None if found == [("ok",)] else "; ".join(str(row[0]) for row in found)


def _salvaged(url: str, path: Path, complaint: str) -> Engine:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    engine = _opened(url)
    saved = _carry_over(aside, engine)
    log.error(
        "the queue's database was damaged (%s); it was moved to %s, and %s rows were carried over",
        complaint,
        aside.name,
        saved,
    )
    return engine


def _carry_over(damaged: Path, engine: Engine) -> int:
    """Copy every row that can still be read; each by itself, as one bad page must not cost the others."""
    saved = 0
    old = sqlite3.connect(damaged)
    old.row_factory = sqlite3.Row
    try:
        for table in METADATA.sorted_tables:
            known = {c.name for c in table.columns}
            for rowid in _rowids(old, table.name):
                try:
                    row = old.execute(f"SELECT * FROM {table.name} WHERE rowid = ?", (rowid,)).fetchone()
                    values = {k: row[k] for k in row.keys() if k in known}  # noqa: SIM118  (a Row is no dict)
                    with engine.begin() as connection:
                        connection.execute(table.insert().values(values))
                    saved += 1
                except (sqlite3.DatabaseError, DatabaseError, OperationalError, TypeError):
                    continue
    finally:
        old.close()
    return saved


def _rowids(old: sqlite3.Connection, table: str) -> list[int]:
    try:
        (last,) = old.execute(f"SELECT max(rowid) FROM {table}").fetchone()
        found = old.execute(f"SELECT rowid FROM {table}").fetchall()
        return [r[0] for r in found]
    except sqlite3.DatabaseError:
        try:
            return list(range(1, int(last or 0) + 1))
        except (UnboundLocalError, ValueError):
            return list(range(1, 100_001))
