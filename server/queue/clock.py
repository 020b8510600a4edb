"""The time that leases are judged by: one for all machines that share a database."""

import time

from sqlalchemy import Connection, Engine

from server.queue.postgres import now_of


class Clock:
    """Seconds since 1970 as the queue's database has them.

    A lease is written by one machine and judged by another, so both go by one clock: the database's. It is
    looked at with every heartbeat; in between this machine's counts on. An SQLite file is on one machine.
    """

    def __init__(self, engine: Engine) -> None:
        self._ahead = 0.0
        if engine.dialect.name == "postgresql":
            with engine.connect() as connection:
                self.look(connection)

    def __call__(self) -> float:
        """The time now."""
        return time.time() + self._ahead

    def look(self, connection: Connection) -> None:
        """Set it by the database's."""
        if connection.dialect.name == "postgresql":
            self._ahead = now_of(connection) - time.time()
