"""Statements past SQLAlchemy's execution do what SQLAlchemy's does, and fail as it does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, bindparam, create_engine, delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError

from server.queue.quick import Quick
from server.queue.tables import METADATA, names
from server.queue.tables import jobs as table

ROW: dict[str, Any] = {
    "id": "a",
    "status": "pending",
    "priority": -3,
    "number": 1.5,
    "counted": True,
    "client_id": None,
    "prompt": '{"ü": "\'; DROP TABLE jobs; --"}',
    "extra_data": "{}",
    "targets": "[]",
    "options": "{}",
    "created": 1e9 + 0.25,
    "attempt": 0,
    "cancelling": False,
}
ACCEPT = Quick(insert(table), list(ROW))


@pytest.fixture(params=["sqlite", "postgres"])
def connection(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connection]:
    url = f"sqlite:///{tmp_path / 'q'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres").new().replace("postgresql:", "postgresql+psycopg:")
    engine = create_engine(url)
    METADATA.create_all(engine)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def rows(connection: Connection) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(select(*table.c).order_by(table.c.seq)).mappings()]


def test_what_is_inserted_is_as_sqlalchemy_inserts_it(connection: Connection) -> None:
    seq = ACCEPT.insert(connection, ROW)
    made = connection.execute(insert(table), {**ROW, "id": "b"}).inserted_primary_key
    assert made is not None
    quick, usual = rows(connection)
    assert (quick["seq"], usual["seq"]) == (seq, made[0])
    assert {**quick, "seq": 0} == {**usual, "seq": 0, "id": "a"}


def test_what_a_change_gives_is_as_sqlalchemy_gives_it(connection: Connection) -> None:
    for id in "abc":
        ACCEPT.insert(connection, {**ROW, "id": id})
    change = (
        update(table)
        .where(table.c.status == "pending", table.c.id != bindparam("which"))
        .values(status="running", attempt=table.c.attempt + 1, owner=bindparam("who"))
        .returning(*table.c)
    )
    found = Quick(change).rows(connection, {"which": "b", "who": "mé"})
    assert sorted(row["id"] for row in found) == ["a", "c"]
    assert {(row["status"], row["attempt"], row["owner"]) for row in found} == {("running", 1, "mé")}
    assert sorted(found, key=lambda row: row["seq"]) == [r for r in rows(connection) if r["id"] != "b"]
    remove = Quick(delete(table).where(table.c.id == bindparam("which")))
    assert [remove.change(connection, {"which": which}) for which in ("a", "a", "z")] == [1, 0, 0]


def test_rows_are_inserted_together_as_one_by_one(connection: Connection) -> None:
    ACCEPT.change_all(connection, [])
    ACCEPT.change_all(connection, [{**ROW, "id": id} for id in "abc"])
    assert [(row["id"], row["prompt"]) for row in rows(connection)] == [(id, ROW["prompt"]) for id in "abc"]


def test_what_cannot_be_done_fails_as_sqlalchemy_fails(connection: Connection) -> None:
    ACCEPT.insert(connection, ROW)
    connection.commit()
    with pytest.raises(IntegrityError):
        ACCEPT.insert(connection, ROW)
    connection.rollback()
    assert len(rows(connection)) == 1
    if connection.dialect.name == "sqlite":
        connection.execute(text("DROP TABLE names"))
        with pytest.raises(OperationalError, match="no such table"):
            Quick(delete(names)).change(connection, {})
