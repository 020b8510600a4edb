"""Workers that serve nobody: they empty a queue, stop when told to, and free the jobs of lost ones."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.config import read_settings
from server.config import read_server_settings
from server.foreman import News, work_until_stopped
from server.queue.jobs import ATTEMPTS, Ending, Job, NewJob
from server.queue.opening import open_database
from server.queue.store import LEASE_S, Queue
from tests.server.served import pair


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'q.sqlite'}"
    found: str = request.getfixturevalue("postgres").new()
    return found


@pytest.fixture
def queue(url: str) -> Iterator[Queue]:
    queue = Queue(open_database(url))
    yield queue
    queue.close()


def put(queue: Queue, id: str, color: int = 0) -> None:
    queue.accept(NewJob(id, pair(color, prefix=id), {}, ("2",)), queue.next_number(), True).result()


def work(base: Path, url: str, stop_at: str = "", **server: object) -> list[News]:
    """Work until the queue is empty, or told to stop at an event."""
    settings = read_settings(base_directory=base, cache=base / "cache", device="cpu")
    told: list[News] = []

    def tell(news: News) -> None:
        told.append(news)
        if news.event == stop_at:
            signal.raise_signal(signal.SIGTERM)

    work_until_stopped(settings, read_server_settings(database=url, **server), tell, until_empty=True)
    return told


def of(told: list[News], id: str) -> list[str]:
    return [news.event for news in told if news.job is not None and news.job.id == id]


def test_a_queue_is_emptied_and_each_end_is_told(tmp_path: Path, url: str, queue: Queue) -> None:
    for n in range(3):
        put(queue, f"j{n}", n)
    bad = pair()
    bad["1"]["inputs"]["width"] = -5
    queue.accept(NewJob("bad", bad, {}, ("2",)), 9, True).result()
    told = work(tmp_path, url, jobs_at_once=2)
    assert (told[0].event, told[-1].event) == ("ready", "empty")
    assert [of(told, f"j{n}") for n in range(3)] == [["begun", "success"]] * 3
    assert of(told, "bad") == ["begun", "error"]
    assert queue.counts() == {"success": 3, "error": 1}
    assert sorted(path.name for path in (tmp_path / "output").iterdir()) == [
        f"j{n}_00001_.png" for n in range(3)
    ]
    found = next(news for news in told if news.event == "success").as_json()
    assert (found["outputs"], found["attempt"]) == ([f"{found['job']}_00001_.png"], 1)
    assert "-5 is below 1" in next(news for news in told if news.event == "error").as_json()["message"]


def test_told_to_stop_it_ends_or_puts_back_what_runs_and_leaves_the_rest(
    tmp_path: Path, url: str, queue: Queue
) -> None:
    for n in range(20):
        put(queue, f"j{n}", n)
    before = signal.getsignal(signal.SIGTERM)
    told = work(tmp_path, url, stop_at="begun")
    assert "stopping" in [news.event for news in told]
    counts = queue.counts()
    assert counts.get("running", 0) == 0
    assert counts["pending"] > 0
    assert sum(counts.values()) == 20
    assert signal.getsignal(signal.SIGTERM) is before


def test_jobs_whose_worker_is_gone_are_run_again_and_worn_out_ones_end(
    tmp_path: Path, url: str, queue: Queue
) -> None:
    long_ago = Queue(open_database(url), clock=lambda: LEASE_S)
    put(queue, "lost")
    for _ in range(ATTEMPTS - 1):
        assert long_ago.lease("gone").result()
        queue.recover().result()
    put(queue, "young")
    assert len(long_ago.lease("gone", 2).result()) == 2
    long_ago.close()
    told = work(tmp_path, url)
    assert of(told, "young") == ["begun", "success"]
    job = queue.job("lost")
    assert job is not None
    assert (job.status, job.attempt) == ("error", ATTEMPTS)


@pytest.mark.slow
@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_processes_work_too(tmp_path: Path, url: str, queue: Queue) -> None:
    for n in range(4):
        put(queue, f"j{n}", n)
    told = work(tmp_path, url, workers=2)
    assert [of(told, f"j{n}") for n in range(4)] == [["begun", "success"]] * 4
    assert queue.counts() == {"success": 4}


def test_news_of_a_job_are_json() -> None:
    job: Job = Job(1, "a", "running", 0, 0, True, None, {}, {}, (), {}, 0, None, None, 2, None, False, None)
    files = ({"subfolder": "x", "filename": "y.png"},)
    assert News("begun", job).as_json() == {"event": "begun", "job": "a", "attempt": 2}
    assert News("success", job, Ending("success", files=files), seconds=1.23456).as_json() == {
        "event": "success", "job": "a", "attempt": 2, "seconds": 1.235, "outputs": ["x/y.png"],
    }  # fmt: skip
