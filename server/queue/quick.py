"""The statements of every job, past SQLAlchemy's execution on SQLite: it took half the time of a commit."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Executable
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ClauseElement


class Quick:
    """A statement whose values are texts, numbers and booleans, and whose text is the same for all of them.

    On other databases than SQLite it is executed as any other.

    Args:
        columns: Of an insert: those that are given.
    """

    def __init__(self, statement: Executable, columns: Sequence[str] | None = None) -> None:
        self._statement, self._columns = statement, columns
        self._made: tuple[str, tuple[tuple[str, Any], ...]] | None = None

    def change(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """Execute it; how many rows it changed."""
        if connection.dialect.name != "sqlite":
            return connection.execute(self._statement, values).rowcount
        return self._run(connection, values).rowcount

    def change_all(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute it for each of some rows; in one round trip where the database is far."""
        if connection.dialect.name == "sqlite":
            for values in rows:
                self._run(connection, values)
        elif rows:
            connection.execute(self._statement, rows)

    def insert(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """Execute an insert of one row into a table with a number as its key; that number."""
        if connection.dialect.name != "sqlite":
            made = connection.execute(self._statement, values).inserted_primary_key
            return 0 if made is None else int(made[0])
        return self._run(connection, values).lastrowid or 0

    def rows(self, connection: Connection, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Execute it; what it gives, by column."""
        if connection.dialect.name != "sqlite":
            return [dict(row) for row in connection.execute(self._statement, values).mappings()]
        cursor = self._run(connection, values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def _run(self, connection: Connection, values: Mapping[str, Any]) -> sqlite3.Cursor:
        text, places = self._made or self._make(connection.dialect)
        given = [values.get(name, constant) for name, constant in places]
        cursor: sqlite3.Cursor = connection.connection.cursor()  # type: ignore[assignment]
        try:
            return cursor.execute(text, given)
        except sqlite3.Error as error:
            raise DBAPIError.instance(
                text, given, error, sqlite3.Error, dialect=connection.dialect
            ) from error

    def _make(self, dialect: Dialect) -> tuple[str, tuple[tuple[str, Any], ...]]:
        assert isinstance(self._statement, ClauseElement)
        compiled = self._statement.compile(dialect=dialect, column_keys=self._columns)
        assert isinstance(compiled, SQLCompiler)
        places = tuple((name, compiled.params[name]) for name in compiled.positiontup or ())
        self._made = str(compiled), places
        return self._made
