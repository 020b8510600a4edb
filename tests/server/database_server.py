"""A real PostgreSQL for tests: Debian's, in a folder of its own, on a port of its own, synced to disk."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

PASSWORD = "p@ss/wörd"
PLACES = ("/usr/lib/postgresql", "/usr/local/pgsql", "/opt/homebrew/opt/postgresql")


def programs() -> Path | None:
    """The folder of PostgreSQL's programs, the newest; Debian has them beside the PATH."""
    if found := shutil.which("pg_ctl"):
        return Path(found).resolve().parent
    each = [path.parent for place in PLACES for path in Path(place).glob("**/bin/pg_ctl")]
    return max(each, key=lambda path: [int(p) for p in path.parts if p.isdigit()], default=None)


class Database:
    """A server that listens at 127.0.0.1, with as many empty databases as are asked for."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._root = Path(tempfile.mkdtemp(prefix="latentgraph-pg-"))
        self._user = _somebody()
        self._data, self._numbers = self._root / "data", count(1)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        secret = self._root / "secret"
        secret.write_text(PASSWORD, encoding="utf-8")
        for path in (self._root, secret):
            if self._user is not None:
                os.chown(path, self._user, -1)
        how = ("--encoding=UTF8", "--locale=C.UTF-8", "--auth-local=trust", "--auth-host=scram-sha-256")
        self._run("initdb", "-D", self._data, "-U", "owner", f"--pwfile={secret}", "--no-sync", *how)
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(
                f"port={self.port}\nlisten_addresses='127.0.0.1'\nunix_socket_directories='{self._root}'\n"
            )
            file.write("shared_buffers=32MB\nmax_connections=60\n")
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._run("pg_ctl", "-D", self._data, "-l", self._root / "log", "-w", "-t", "60", "start")

    def stop(self, how: str = "immediate") -> None:
        """End it; immediately is as good as a power cut."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", how, "stop")

    def restart(self) -> None:
        """End it at once, and start it again: it recovers from its log."""
        self.stop()
        self.start()

    def new(self) -> str:
        """The URL of a new, empty database."""
        name = f"q{next(self._numbers)}"
        self.ask(f"CREATE DATABASE {name}", "postgres")
        return self.url(name)

    def url(self, name: str, password: str = "p%40ss%2Fw%C3%B6rd", user: str = "owner") -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{name}"

    def ask(self, statement: str, name: str) -> str:
        """What psql says, as the owner of all."""
        where = ("-h", self._root, "-p", self.port, "-U", "owner")
        return self._run("psql", "-XAtq", *where, "-c", statement, name)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._root)

    def _run(self, program: str, *args: object) -> str:
        with tempfile.TemporaryFile() as said:  # a pipe would stay open for as long as the server runs
            command = [str(self._programs / program), *map(str, args)]
            code = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                user=self._user,
                cwd="/",
                timeout=90,
            ).returncode
            said.seek(0)
            text = said.read().decode(errors="replace").strip()
        assert code == 0, f"{program}: {text}"
        return text


@contextmanager
def running() -> Iterator[Database]:
    """A server until the block ends; the test is skipped, saying so, where none can be had."""
    pytest.importorskip("psycopg", reason="pip install 'latentgraph[postgres]'")
    found = programs()
    if found is None:
        pytest.skip("PostgreSQL is not installed")
    database = Database(found)
    yield database
    database.close()


def _somebody() -> int | None:
    """Whom it runs as: it refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    return None
