"""What is particular to PostgreSQL: how a queue is reached there, and what is said where that fails."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event, text
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

T = TypeVar("T")
log = logging.getLogger(__name__)
PATIENCE_S = 15
"""Seconds for which a connection, or a row that another holds, is waited for."""
SILENCE_S = 30
"""Seconds without an answer after which a connection is given up; machines vanish without a word."""
AWAY_S = 1.0
"""Seconds between tries of what cannot do without a server that is away."""
OLDEST = 12
_LOCK = 0x1A7E27


class UnusableError(SQLAlchemyError):
    """A database that cannot be used; says which, why and what to do, and never shows a password."""


def engine_for(url: URL) -> Engine:
    """Connections to a PostgreSQL database; none is made yet.

    Raises:
        UnusableError: The driver is not installed.
    """
    try:
        from psycopg.types.string import StrDumperUnknown
    except ImportError as error:
        driver = "PostgreSQL needs its driver: pip install 'latentgraph[postgres]'"
        raise UnusableError(f"{driver} ({error})") from error

    class WithoutNul(StrDumperUnknown):
        """PostgreSQL takes no NUL in texts; written and asked for alike, it is U+FFFD there."""

        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", "\ufffd") if "\0" in obj else obj)

    def set_up(connection: Any, _record: Any) -> None:
        connection.adapters.register_dumper(str, WithoutNul)
        connection.autocommit = True
        connection.execute(f"SET lock_timeout = '{PATIENCE_S}s'")
        connection.execute(f"SET idle_in_transaction_session_timeout = '{2 * SILENCE_S}s'")
        connection.autocommit = False

    found = create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=8,
        max_overflow=24,
        pool_pre_ping=True,
        connect_args={**_reaching(), **{k: v for k, v in url.query.items() if isinstance(v, str)}},
        use_native_hstore=False,
    )
    event.listen(found, "connect", set_up)
    event.listen(found, "handle_error", _note_end)
    return found


def _note_end(context: ExceptionContext) -> None:
    """A server that is shut down says so before it closes the connection."""
    if getattr(context.original_exception, "sqlstate", None) in ("57P01", "57P02", "57P03"):
        context.is_disconnect = True


def _reaching() -> Mapping[str, Any]:
    return {
        "connect_timeout": PATIENCE_S,
        "keepalives_idle": SILENCE_S // 3,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": SILENCE_S * 1000,
        "application_name": "latentgraph",
    }


def prepare(connection: Connection) -> None:
    """Look whether the server will do, and keep others from migrating until the transaction ends.

    Raises:
        UnusableError: It is too old.
    """
    version = connection.dialect.server_version_info or (0,)
    if int(version[0]) < OLDEST:
        found = ".".join(map(str, version))
        raise UnusableError(f"PostgreSQL {found} is too old: {OLDEST} or later is needed")
    for setting in ("fsync", "synchronous_commit"):
        if connection.scalar(text(f"SHOW {setting}")) == "off":
            log.warning("PostgreSQL runs with %s off: a power cut loses jobs that were accepted", setting)
    connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})


def unusable(url: URL, error: DBAPIError) -> UnusableError:
    """The error that says why a database cannot be opened."""
    reason = brief(error)
    if url.password:
        reason = reason.replace(str(url.password), "***")
    where = f"{url.host or url.query.get('host', 'the local socket')}{f':{url.port}' if url.port else ''}"
    who = f" as {url.username}" if url.username else ""
    hint = next((hint for words, hint in HINTS.items() if words in reason), "")
    return UnusableError(f"PostgreSQL at {where}, database {url.database}{who}: {reason}{hint}")


HINTS = {
    "does not exist": "; make it first: `createdb NAME`, `createuser NAME`",
    "authentication failed": "; check user and password: postgresql://USER:PASSWORD@HOST/NAME",
    "no password supplied": "; give it: postgresql://USER:PASSWORD@HOST/NAME, or PGPASSWORD, or ~/.pgpass",
    "no pg_hba.conf entry": "; the server's pg_hba.conf must let this machine in",
    "Connection refused": "; is it running, and does listen_addresses let this machine in?",
    "permission denied": "; the user must own the database, to make its tables",
}
"""What to do about errors that hold these words."""


def brief(error: Exception) -> str:
    """What a database says of an error, without the statement."""
    return " ".join(str(getattr(error, "orig", None) or error).split())


def patiently(engine: Engine, change: Callable[[], T]) -> T:
    """What a change gives, however long a server elsewhere is away; a full disk here is an error at once."""
    while True:
        try:
            return change()
        except OperationalError:
            if engine.dialect.name != "postgresql":
                raise
        time.sleep(AWAY_S)


def now_of(connection: Connection) -> float:
    """The database's time, in seconds since 1970."""
    return float(connection.scalar(text("SELECT extract(epoch FROM clock_timestamp())")) or 0.0)
