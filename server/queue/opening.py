"""Open the queue's database: connection settings, migrations, and what to do with a damaged file."""

import contextlib
import logging
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError

from server.queue import postgres
from server.queue.postgres import UnusableError
from server.queue.tables import METADATA

log = logging.getLogger(__name__)
MIGRATIONS = Path(__file__).parent / "migrations"
BEGIN = "BEGIN IMMEDIATE"
PATIENCE_S = 15
LOOK_S, RARELY_S = 0.0001, 0.005
"""Seconds after which a database that another process writes is tried again, at first and after a while: a
transaction takes a few times the first, and SQLite's own waiting looks every 1 to 100 ms."""
MOST_ROWS = 200_000
"""Row numbers that are tried in a damaged table whose last one cannot be read."""


def open_database(url: str) -> Engine:
    """The database at a URL, in the present form, with everything that was there.

    A damaged SQLite file is moved aside (never deleted); the rows that can still be read are carried over.

    Args:
        url: `sqlite:///path`, or `postgresql://user:password@host/name`.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: It cannot be opened or brought to the present form.
    """
    parsed = _parsed(url)
    path = _sqlite_path(parsed)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and (complaint := _complaint(path)):
            return _salvaged(parsed, path, complaint)
    return _opened(parsed)


def _parsed(url: str) -> URL:
    """A URL of a kind that is known; messages do not repeat it, there may be a password in it."""
    hint = "a queue is at sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise UnusableError(f"this is no URL of a database; {hint}") from error
    if parsed.drivername.partition("+")[0] not in ("sqlite", "postgresql", "postgres"):
        raise UnusableError(f"{parsed.drivername!r} is no kind of database that is known; {hint}")
    return parsed


def _opened(url: URL) -> Engine:
    if url.drivername.startswith("sqlite"):
        engine = create_engine(url, pool_size=8, max_overflow=24)
        event.listen(engine, "connect", _set_up)
        event.listen(engine, "begin", _begin)
    else:
        engine = postgres.engine_for(url)
    try:
        _migrate(engine)
    except SQLAlchemyError as error:
        engine.dispose()
        if isinstance(error, DBAPIError) and engine.dialect.name == "postgresql":
            raise postgres.unusable(url, error) from error
        raise
    return engine


def _migrate(engine: Engine) -> None:
    """Bring the tables to the present form."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            postgres.prepare(connection)
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            newer = "the database was made by a later latentgraph, or by another program"
            raise UnusableError(f"{newer} ({error}); upgrade, or name another database") from error
        connection.commit()


def _begin(connection: Connection) -> None:
    """Take the write lock at once, so that two writers wait for each other; reading takes none."""
    if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
        return
    asked = time.monotonic()
    while True:
        try:  # past SQLAlchemy: every job begins two transactions
            connection.connection.cursor().execute(BEGIN)
        except sqlite3.Error as error:
            waited = time.monotonic() - asked
            if not _is_busy(error) or waited >= PATIENCE_S:
                raise OperationalError(BEGIN, None, error) from error
            time.sleep(min(max(LOOK_S, waited / 10), RARELY_S))
        else:
            return


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY  # its kinds are above that


def _set_up(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's `begin` says when, see above
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute(f"PRAGMA busy_timeout={PATIENCE_S * 1000}")
    cursor.close()


def _sqlite_path(url: URL) -> Path | None:
    if not url.drivername.startswith("sqlite") or not url.database or url.database == ":memory:":
        return None
    return Path(url.database)


def _complaint(path: Path) -> str | None:
    """What is wrong with an SQLite file, or None; one that is only busy or forbidden is not damaged."""
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=PATIENCE_S)) as connection:
            found = connection.execute("PRAGMA quick_check(3)").fetchall()
    except sqlite3.OperationalError:  # opening it for good tells why
        return None
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if found == [("ok",)] else "; ".join(str(row[0]) for row in found)


def _salvaged(url: URL, path: Path, complaint: str) -> Engine:
    """Fill a new database beside the damaged one, then give both their names: a crash loses neither."""
    new = path.with_name(f"{path.name}.salvaged")
    _remove(new)
    engine = _opened(url.set(database=str(new)))
    saved = _carry_over(path, engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")  # of the BEGIN that each connection is given
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    aside = _free_name(path)
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    new.rename(path)
    _remove(new)
    message = "the queue's database was damaged (%s); it was moved to %s, and %s rows were carried over"
    log.error(message, complaint, aside.name, saved)
    return _opened(url)


def _free_name(path: Path) -> Path:
    """A name with the time that no file has."""
    stem = f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}"
    names = (path.with_name(stem + more) for more in ("", *(f"-{i}" for i in range(2, 1_000))))
    return next(name for name in names if not name.exists())


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _carry_over(damaged: Path, engine: Engine) -> int:
    """Copy every row that can still be read; each by itself, as one bad page must not cost the others."""
    saved = 0
    old = sqlite3.connect(damaged)
    old.row_factory = sqlite3.Row
    old.text_factory = lambda data: data.decode("utf-8", "replace")
    try:
        for table in METADATA.sorted_tables:
            known = {c.name for c in table.columns}
            with engine.begin() as connection:
                for row in _rows(old, table.name):
                    values = {k: row[k] for k in row.keys() if k in known}  # noqa: SIM118  (a Row is no dict)
                    try:
                        with connection.begin_nested():
                            connection.execute(table.insert().values(values))
                    except (SQLAlchemyError, ValueError, TypeError):
                        continue
                    saved += 1
    finally:
        old.close()
    return saved


def _rows(old: sqlite3.Connection, table: str) -> Iterator[sqlite3.Row]:
    """The rows of a table that can be read; no index is asked, it may be what is damaged."""
    try:
        (last,) = old.execute(f"SELECT max(rowid) FROM {table} NOT INDEXED").fetchone()
    except sqlite3.DatabaseError:
        last = MOST_ROWS if _readable(old) else 0
    row = f"SELECT * FROM {table} NOT INDEXED WHERE rowid = ?"
    for rowid in range(1, int(last or 0) + 1):
        with contextlib.suppress(sqlite3.DatabaseError):
            if (found := old.execute(row, (rowid,)).fetchone()) is not None:
                yield found


def _readable(old: sqlite3.Connection) -> bool:
    """Whether the file is an SQLite database at all."""
    try:
        old.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.DatabaseError:
        return False
    return True
