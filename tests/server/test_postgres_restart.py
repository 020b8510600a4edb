"""PostgreSQL ends in the middle of things: nothing that was promised is lost, nothing is done twice."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from server.queue.opening import open_database
from server.queue.store import Queue
from tests.server.crew import Crew
from tests.server.database_server import Database, running
from tests.server.faulty import expected, prompt
from tests.server.test_postgres import end_all_others, plain
from tests.server.test_store import ids, put, take

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    """A server for these tests alone: with few files it is soon back."""
    with running() as database:
        yield database


class Heard(logging.Handler):
    """Counts what a worker logs of its queue, and lets a test wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.trying, self.back = threading.Event(), threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        if "trying on" in record.getMessage():
            self.trying.set()
        if "answers again" in record.getMessage():
            self.back.set()


@pytest.fixture
def heard() -> Iterator[Heard]:
    heard, log = Heard(), logging.getLogger("server.worker")
    log.addHandler(heard)
    yield heard
    log.removeHandler(heard)


def test_what_was_under_way_when_the_server_died_fails_and_what_was_promised_is_there(
    database: Database,
) -> None:
    queue = Queue(open_database(database.new()))
    put(queue, "a")
    begun = threading.Event()

    def long(connection: Connection) -> None:
        connection.execute(text("UPDATE jobs SET status = 'paused'"))
        begun.set()
        connection.execute(text("SELECT pg_sleep(60)"))

    failing = queue.writer.submit(long)
    assert begun.wait(30)
    database.stop()
    with pytest.raises(OperationalError):
        failing.result(30)
    with pytest.raises(OperationalError):
        put(queue, "b")
    database.start()
    put(queue, "c")
    assert ids(take(queue, most=9)) == ["a", "c"], "what was not committed is undone"
    queue.close()


def test_a_worker_complains_once_and_goes_on_when_the_server_is_back(
    tmp_path: Path, database: Database, heard: Heard
) -> None:
    crew = Crew(tmp_path, at_once=2, url=database.new())
    crew.worker.start()
    crew.put("a", prompt(1, "a", "Gate"))
    assert crew.gates.come.acquire(timeout=30)
    database.stop()
    assert heard.trying.wait(30), "it looks for a second job"
    database.start()
    assert heard.back.wait(30)
    crew.put("b", prompt(2, "b"))
    crew.ended("b")
    crew.gates.open.set()
    crew.ended("a")
    jobs = crew.queue.history()
    assert [(job.id, job.status, job.attempt) for job in jobs] == [("b", "success", 1), ("a", "success", 1)]
    written = {path.name: path.read_bytes() for path in (tmp_path / "output").iterdir()}
    assert written == {"a_00001_.png": expected(1), "b_00001_.png": expected(2)}
    assert sum("trying on" in line for line in heard.lines) == 1
    crew.close()


def test_an_end_that_comes_while_the_server_is_down_is_recorded_when_it_is_back(
    tmp_path: Path, database: Database, heard: Heard
) -> None:
    crew = Crew(tmp_path, url=database.new())
    crew.worker.start()
    crew.put("a", prompt(1, "a", "Gate"))
    assert crew.gates.come.acquire(timeout=30)
    database.stop()
    crew.gates.open.set()
    assert heard.trying.wait(30)
    database.start()
    job, ending = crew.ended("a")
    assert (job.attempt, ending.status) == (1, "success")
    assert [path.name for path in (tmp_path / "output").iterdir()] == ["a_00001_.png"]
    assert [(job.status, job.attempt) for job in crew.queue.history()] == [("success", 1)]
    crew.close()


def test_ended_connections_cost_a_worker_nothing(tmp_path: Path, database: Database) -> None:
    url = database.new()
    crew = Crew(tmp_path, url=url)
    crew.worker.start()
    engine = plain(url)
    for n in range(5):
        crew.put(f"j{n}", prompt(n, f"p{n}"))
        end_all_others(engine)
        crew.ended(f"j{n}")
    engine.dispose()
    assert {job.status for job in crew.queue.history()} == {"success"}
    assert len(list((tmp_path / "output").iterdir())) == 5
    crew.close()
