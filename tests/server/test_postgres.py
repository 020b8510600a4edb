"""The queue on a real PostgreSQL: the same laws as on SQLite, and what a server elsewhere brings with it."""

import inspect
import multiprocessing
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy import inspect as inspected
from sqlalchemy.exc import OperationalError

from server.queue import postgres as particular
from server.queue.jobs import Ending, NewJob
from server.queue.listing import Wanted, newest, position, sorted_page
from server.queue.opening import MIGRATIONS, open_database
from server.queue.postgres import UnusableError
from server.queue.progress import finished
from server.queue.store import LEASE_S, FullError, Queue, TakenError
from server.queue.tables import METADATA, assets, blobs
from server.queue.writer import Writer
from tests.server import test_store
from tests.server.claiming import claimed
from tests.server.database_server import PASSWORD, Database
from tests.server.test_store import PROMPT, Clock, clock, ids, put, take
from tests.server.test_writer import held

__all__ = ["clock"]
LAWS: dict[str, Any] = {
    name: law
    for name, law in vars(test_store).items()
    if name.startswith("test_") and "queue" in inspect.signature(law).parameters
}
globals().update(LAWS)  # each law of the queue once more, on the queue below


@pytest.fixture(scope="module")
def url(postgres: Database) -> str:
    return postgres.new()


@pytest.fixture(scope="module")
def engine(url: str) -> Iterator[Engine]:
    engine = open_database(url)
    yield engine
    engine.dispose()


@pytest.fixture
def emptied(engine: Engine) -> Engine:
    with engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(METADATA.tables)} RESTART IDENTITY CASCADE"))
    return engine


@pytest.fixture
def queue(url: str, emptied: Engine, clock: Clock) -> Iterator[Queue]:
    queue = Queue(open_database(url), clock=clock)
    yield queue
    queue.close()


def test_the_laws_of_the_queue_are_tried_here_too() -> None:
    assert len(LAWS) > 10


# ---------------------------------------------------------------- tables and values


def configured(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def revisions() -> list[str]:
    return sorted(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("0*.py"))


def plain(url: str) -> Engine:
    return create_engine(url.replace("postgresql:", "postgresql+psycopg:"))


@pytest.mark.parametrize("revision", revisions())
def test_a_database_of_each_earlier_form_is_brought_to_the_present_one_with_its_rows(
    postgres: Database, revision: str
) -> None:
    url = postgres.new()
    engine = plain(url)
    with engine.begin() as connection:
        command.upgrade(configured(connection), revision)
        connection.execute(text("INSERT INTO blobs VALUES ('blake3:1', 5, 'a.png', 1.5)"))
    engine.dispose()
    engine = open_database(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
        assert connection.execute(text("SELECT size FROM blobs")).scalar() == 5
    engine.dispose()


def test_the_migrations_can_be_taken_back(postgres: Database) -> None:
    url = postgres.new()
    open_database(url).dispose()
    engine = plain(url)
    with engine.begin() as connection:
        command.downgrade(configured(connection), "base")
        assert inspected(connection).get_table_names() == ["alembic_version"]
    engine.dispose()


def opened(url: str) -> None:
    open_database(url).dispose()


def test_many_processes_may_open_an_empty_database_at_once(postgres: Database) -> None:
    url = postgres.new()
    context = multiprocessing.get_context("forkserver")
    processes = [context.Process(target=opened, args=(url,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 3


def test_any_text_and_any_size_is_kept(queue: Queue) -> None:
    prompt = {"1": {"class_type": "X", "inputs": {"text": "nul \0, ü, 🎨, " + "x" * 5_000_000}}}
    extra = {"client_id": "c\0" + "y" * 10_000}
    queue.accept(NewJob("a\0b", prompt, extra, ("1",)), 1e300, False).result()
    job = queue.job("a\0b")
    assert job is not None
    assert (job.prompt, job.extra_data, job.number) == (prompt, extra, 1e300)
    with pytest.raises(TakenError):
        put(queue, "a\0b")

    def record(connection: Connection) -> None:
        connection.execute(blobs.insert().values(hash="h", size=3 * 2**31, path="p", created=1.0))
        row = {"size": 2**40, "content_type": "", "file_path": "f", "tags": "[]", "created": 1.0}
        connection.execute(assets.insert().values(id="i", **row))

    queue.writer.submit(record).result()
    assert queue.read(lambda c: c.execute(text("SELECT size FROM assets")).scalar()) == 2**40


def test_lists_are_asked_for_as_on_sqlite(queue: Queue, clock: Clock) -> None:
    for i in range(5):
        options = {"metadata": {"who": f"50%_{i}"}} if i < 2 else {}
        put(queue, f"j{i}", options=options, extra_data={"x": {"id": "w"}} if i == 4 else {})
    assert ids(newest(queue, Wanted(metadata=(("who", "50%_1"),)), 9)) == ["j1"]
    assert [position(queue, job) for job in queue.waiting()] == [0, 1, 2, 3, 4]
    for i, job in enumerate(take(queue, most=2)):
        clock.now += 10 - 5 * i
        queue.finish(job, Ending("success")).result()
    page, total = sorted_page(queue, ("success", "pending"), None, "execution_duration", True, 3, 0)
    assert (ids(page), total) == (["j1", "j0", "j4"], 5)
    page, total = sorted_page(queue, ("pending",), "w", "created", True, 9, 0)
    assert (ids(page), total) == (["j4"], 1)


# ---------------------------------------------------------------- many processes


@pytest.mark.slow
def test_each_of_two_thousand_jobs_is_leased_by_one_of_eight_processes(
    tmp_path: Path, postgres: Database
) -> None:
    leased, each, counts = claimed(tmp_path, processes=8, jobs=2_000, url=postgres.new())
    assert len(leased) == 2_000
    assert set(leased.values()) == {1}
    assert counts == {"success": 2_000}
    assert sum(n > 0 for n in each) > 1, "one process had them all; the test shows nothing"


def test_no_more_is_leased_than_was_asked_for_whatever_the_planner_does(queue: Queue) -> None:
    for i in range(40):
        put(queue, f"j{i}")

    def eager(connection: Connection) -> None:
        for way in ("hashjoin", "hashagg", "mergejoin", "material", "sort"):
            connection.execute(text(f"SET enable_{way} = off"))

    queue.writer.submit(eager).result()
    assert ids(take(queue, most=3)) == ["j0", "j1", "j2"]


def test_one_that_holds_a_row_holds_up_nobody_who_leases(queue: Queue, emptied: Engine) -> None:
    put(queue, "a")
    put(queue, "b")
    with emptied.connect() as other:
        other.execute(text("SELECT 1 FROM jobs WHERE id = 'a' FOR UPDATE"))
        assert ids(take(queue, most=2)) == ["b"]


def test_of_two_queues_that_accept_one_id_at_once_one_has_it(queue: Queue, url: str) -> None:
    other, both = Queue(open_database(url)), threading.Barrier(2)

    def meet(connection: Connection, _job: Any) -> None:
        """Both have looked whether the id is free; the second insert waits for the first's commit."""

    def before(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO jobs"):
            both.wait(30)

    for one in (queue, other):
        event.listen(one.engine, "before_cursor_execute", before)
    new = NewJob("a", PROMPT, {}, ())
    futures = [one.accept(new, 0, True, meet) for one in (queue, other)]
    errors = [future.exception(30) for future in futures]
    other.close()
    assert sorted(type(e) for e in errors if e) == [TakenError]
    assert len(queue.waiting()) == 1


def test_a_lease_is_judged_by_the_databases_clock(
    url: str, emptied: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast, right = Queue(open_database(url)), Queue(open_database(url))
    put(right, "a")
    take(right, "right")
    real = time.time
    monkeypatch.setattr("server.queue.clock.time.time", lambda: real() + 10 * LEASE_S)
    assert fast.recover().result() == []
    assert right.job("a").status == "running"  # type: ignore[union-attr]
    fast.close()
    right.close()


def test_only_leases_that_a_worker_knows_of_are_renewed(queue: Queue, clock: Clock) -> None:
    put(queue, "a")
    put(queue, "lost")  # with the connection, after its commit
    take(queue, most=2)
    clock.now += LEASE_S - 1
    queue.beat("me", ["a"]).result()
    clock.now += 2
    queue.recover().result()
    assert ids(queue.running()) == ["a"]


def test_an_end_whose_commit_nobody_heard_of_is_recorded_once_and_heard_of_again(queue: Queue) -> None:
    put(queue, "a")
    (job,) = take(queue)
    assert queue.finish(job, Ending("success")).result()
    assert queue.writer.submit(lambda c: finished(c, job, Ending("success"), 5.0)).result()
    assert not queue.writer.submit(lambda c: finished(c, job, Ending("error"), 5.0)).result()


# ---------------------------------------------------------------- connections


def pids(connection: Connection) -> int:
    return int(connection.execute(text("SELECT pg_backend_pid()")).scalar() or 0)


def end_all_others(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )


def test_a_connection_that_was_ended_is_replaced_before_anything_fails(queue: Queue, emptied: Engine) -> None:
    put(queue, "a")
    before = queue.writer.submit(pids).result()
    end_all_others(emptied)
    put(queue, "b")
    assert queue.writer.submit(pids).result() != before
    assert ids(queue.waiting()) == ["a", "b"]


def test_only_what_was_promised_waits_for_the_disk(emptied: Engine) -> None:
    writer = Writer(emptied)

    def level(connection: Connection) -> str:
        return str(connection.execute(text("SHOW synchronous_commit")).scalar())

    assert writer.submit(level, durable=False).result() == "off"
    assert writer.submit(level).result() == "on"
    writer.close()


def test_what_waits_together_takes_one_commit(queue: Queue) -> None:
    commits: list[int] = []
    event.listen(queue.engine, "commit", lambda _: commits.append(1))
    go = held(queue.writer)
    futures = [queue.accept(NewJob(f"j{i}", PROMPT, {}, ()), i, True) for i in range(100)]
    go.set()
    assert [f.result().id for f in futures] == [f"j{i}" for i in range(100)]
    assert len(commits) == 2


def test_one_that_fails_among_many_fails_alone(url: str, emptied: Engine) -> None:
    queue = Queue(open_database(url), most=3)
    go = held(queue.writer)
    futures = [queue.accept(NewJob(id, PROMPT, {}, ()), 0, True) for id in ("a", "a", "b", "c", "d")]
    go.set()
    errors = [type(f.exception()) for f in futures]
    assert errors == [type(None), TakenError, type(None), type(None), FullError]
    queue.close()


# ---------------------------------------------------------------- what cannot be opened


WRONG: dict[str, tuple[Callable[[Database], str], str]] = {
    "password": (lambda d: d.url("postgres", "sesame"), "password authentication failed.*check user"),
    "user": (lambda d: d.url("postgres", user="nobody"), "authentication failed.*check user"),
    "database": (lambda d: d.url("none"), 'database "none" does not exist; make it first'),
    "port": (lambda d: d.url("x").replace(str(d.port), "1"), "127.0.0.1:1,.*refused.*is it running"),
    "host": (
        lambda d: "postgresql://u:sesame@no-such-host.invalid/x",
        "no-such-host.invalid, database x as u",
    ),
    "kind": (lambda d: "mysql://u:sesame@h/x", "'mysql' is no kind of database"),
    "no url": (lambda d: "u:sesame@h/x", "no URL of a database"),
    "bad port": (lambda d: "postgresql://u:sesame@h:port/x", "no URL of a database"),
    "option": (lambda d: d.url("x") + "?colour=red", "colour"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_database_that_cannot_be_opened_is_named_with_the_reason_and_without_the_password(
    postgres: Database, case: str
) -> None:
    make, message = WRONG[case]
    with pytest.raises(UnusableError, match=message) as caught:
        open_database(make(postgres))
    for secret in ("sesame", PASSWORD, "p%40ss"):
        assert secret not in str(caught.value)


def test_a_user_who_may_make_no_tables_is_told_so(postgres: Database) -> None:
    url = postgres.new()
    name = url.rpartition("/")[2]
    postgres.ask("CREATE ROLE guest LOGIN PASSWORD 'guest'", name)
    with pytest.raises(UnusableError, match=r"permission denied.*must own the database"):
        open_database(postgres.url(name, "guest", "guest"))


def test_too_old_a_server_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(particular, "OLDEST", 99)
    with pytest.raises(UnusableError, match="is too old: 99 or later"):
        open_database(url)


def test_a_database_of_a_later_version_is_left_alone(postgres: Database) -> None:
    url = postgres.new()
    open_database(url).dispose()
    postgres.ask("UPDATE alembic_version SET version_num = '9999'", url.rpartition("/")[2])
    with pytest.raises(UnusableError, match=r"later latentgraph.*9999"):
        open_database(url)


def test_a_missing_driver_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg.types.string", None)
    with pytest.raises(UnusableError, match=r"pip install 'latentgraph\[postgres\]'"):
        open_database("postgresql://u:sesame@h/x")


def test_a_server_that_does_not_sync_is_warned_of(
    postgres: Database, caplog: pytest.LogCaptureFixture
) -> None:
    url = postgres.new()
    postgres.ask(f"ALTER DATABASE {url.rpartition('/')[2]} SET synchronous_commit = off", "postgres")
    open_database(url).dispose()
    assert "synchronous_commit off" in caplog.text


def test_errors_are_told_without_the_statement() -> None:
    error = OperationalError("SELECT secret", {}, Exception("gone\n\tfor good"))
    assert particular.brief(error) == "gone for good"
    assert particular.brief(ValueError("x")) == "x"
