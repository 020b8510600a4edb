"""A damaged database is a message, not a wreck: moved aside with a time stamp, its readable rows kept."""

import logging
import os
import re
import sqlite3
import time
from pathlib import Path

import pytest
from sqlalchemy.exc import SQLAlchemyError

from server.queue.jobs import NewJob
from server.queue.opening import open_database
from server.queue.store import Queue


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def ids(path: Path) -> list[str]:
    engine = open_database(url(path))
    queue = Queue(engine)
    try:
        return [job.id for job in queue.jobs()]
    finally:
        queue.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with 300 jobs in it, over many pages."""
    path = tmp_path / "user" / "q.sqlite"
    queue = Queue(open_database(url(path)))
    prompt = {"1": {"class_type": "X", "inputs": {"text": "words " * 100}}}
    futures = [queue.accept(NewJob(f"j{i}", prompt, {}, ("1",)), i, True) for i in range(300)]
    assert [f.result().id for f in futures] == [f"j{i}" for i in range(300)]
    queue.close()
    return path


def damage(path: Path, at: float, count: int = 8_192) -> None:
    with path.open("r+b") as file:
        file.seek(int(path.stat().st_size * at) // 4096 * 4096)
        file.write(os.urandom(count))


def aside(path: Path) -> list[str]:
    return [p.name for p in path.parent.iterdir() if re.search(r"\.damaged-\d{8}-\d{6}(-\d+)?$", p.name)]


def test_a_sound_database_opens_again_with_everything_in_it(path: Path) -> None:
    assert len(ids(path)) == 300
    assert aside(path) == []


def test_a_database_with_bad_pages_is_moved_aside_and_its_other_rows_are_kept(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damage(path, 0.5)
    with caplog.at_level(logging.ERROR):
        kept = ids(path)
    assert 250 < len(kept) < 300
    assert kept == sorted(kept, key=lambda id: int(id[1:]))
    (moved,) = aside(path)
    assert moved in caplog.text
    assert f"{len(kept)} rows were carried over" in caplog.text
    assert not [p for p in path.parent.iterdir() if "salvaged" in p.name]
    assert ids(path) == kept, "the second start finds nothing wrong"


def test_a_file_that_is_no_database_is_moved_aside_at_once(path: Path) -> None:
    path.write_bytes(b"not a database at all " * 5_000)
    started = time.monotonic()
    assert ids(path) == []
    assert time.monotonic() - started < 5
    assert len(aside(path)) == 1


def test_each_damage_keeps_its_own_file(path: Path) -> None:
    for n in (1, 2, 3):
        path.write_bytes(b"no database" * 1_000)
        ids(path)
        assert len(aside(path)) == n


def test_a_header_that_is_gone_costs_the_rows_but_not_the_file(path: Path) -> None:
    before = path.read_bytes()
    damage(path, 0.0, 100)
    assert ids(path) == []
    (moved,) = aside(path)
    assert (path.parent / moved).read_bytes()[4096:] == before[4096:]


def test_a_damaged_index_costs_no_row(path: Path) -> None:
    connection = sqlite3.connect(path)
    (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'jobs_next'").fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(os.urandom(4096))
    assert len(ids(path)) == 300
    assert len(aside(path)) == 1


def test_a_folder_in_the_place_of_the_database_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "q.sqlite").mkdir()
    with pytest.raises(SQLAlchemyError, match="unable to open"):
        open_database(url(tmp_path / "q.sqlite"))


def test_a_job_whose_text_was_damaged_can_still_end(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute(
        "UPDATE jobs SET prompt = '{\"1\": {\"cl', options = '[', targets = '7' WHERE id = 'j0'"
    )
    connection.commit()
    connection.close()
    queue = Queue(open_database(url(path)))
    (job,) = queue.lease("me").result()
    assert (job.id, job.prompt, job.targets, job.options) == ("j0", {}, (), {})
    assert len(queue.waiting()) == 299
    queue.close()
