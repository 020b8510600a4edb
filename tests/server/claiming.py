"""Many processes that lease from one queue."""

import collections
import multiprocessing
from pathlib import Path

from server.queue.jobs import Ending, NewJob
from server.queue.opening import open_database
from server.queue.store import Queue

PROMPT = {"1": {"class_type": "X", "inputs": {}}}


def claim(url: str, out: Path, most: int) -> None:
    """Lease and end jobs until there are none; note which."""
    queue = Queue(open_database(url))
    mine: list[str] = []
    while leased := queue.lease(out.name, most).result():
        for job in leased:
            mine.append(job.id)
            assert queue.finish(job, Ending("success")).result()
    queue.close()
    out.write_text("\n".join(mine))


def claimed(
    folder: Path, processes: int, jobs: int, url: str | None = None
) -> tuple[collections.Counter[str], list[int], dict[str, int]]:
    """How often each job was leased, how many each process had, and the counts by status at the end."""
    url = url or f"sqlite:///{folder / 'q.sqlite'}"
    queue = Queue(open_database(url))
    futures = [queue.accept(NewJob(f"j{i}", PROMPT, {}, ()), i, True) for i in range(jobs)]
    assert futures[-1].result()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["pytest", "tests.server.faulty", "server.app", "asyncio", "alembic.command"]
    )
    workers = [
        context.Process(target=claim, args=(url, folder / f"w{i}", 1 + i % 3)) for i in range(processes)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
        assert worker.exitcode == 0
    counts = queue.counts()
    queue.close()
    found = [(folder / f"w{i}").read_text().split() for i in range(processes)]
    return collections.Counter(id for ids in found for id in ids), list(map(len, found)), counts
