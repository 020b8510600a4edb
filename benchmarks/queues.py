"""Empty jobs a second through a queue on SQLite and on a PostgreSQL of this machine, in turn."""

import argparse
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from engine.config import make_env, open_tiers, read_settings
from engine.runner import Engine
from server.queue.jobs import NewJob
from server.queue.opening import open_database
from server.queue.store import Queue
from server.worker import Told, Worker
from tests.server.database_server import Database, programs
from tests.server.faulty import TINY, prompt


def rate(base: Path, url: str, jobs: int, at_once: int) -> tuple[float, float]:
    """Jobs accepted and jobs run a second, each with a file of 8 × 8 pixels."""
    settings = read_settings(base_directory=base, cache=Path("off"), memory_gb=0.1, device="cpu")
    tiers = open_tiers(settings)
    queue, done = Queue(open_database(url)), threading.Semaphore(0)
    with Engine(TINY, make_env(settings, TINY, tiers), tiers) as engine:
        begun = time.perf_counter()
        news = [NewJob(f"j{i}", prompt(i, "p"), {}, ("9",)) for i in range(jobs)]
        for future in [queue.accept(new, i, True) for i, new in enumerate(news)]:
            future.result()
        accepted = jobs / (time.perf_counter() - begun)
        nothing: Any = lambda *_: None  # noqa: E731
        worker = Worker(engine, queue, Told(nothing, nothing, lambda *_: done.release(), nothing), at_once)
        begun = time.perf_counter()
        worker.start()
        for _ in range(jobs):
            done.acquire()
        run = jobs / (time.perf_counter() - begun)
        worker.stop(1)
    queue.close()
    return accepted, run


def main() -> None:
    """Print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    found = programs()
    assert found, "PostgreSQL is not installed"
    database = Database(found)
    rates: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for _ in range(asked.rounds):
        for at_once in (1, 4):
            for kind in ("SQLite", "PostgreSQL"):
                with tempfile.TemporaryDirectory() as folder:
                    url = f"sqlite:///{folder}/q.sqlite" if kind == "SQLite" else database.new()
                    each = rate(Path(folder), url, asked.jobs, at_once)
                    rates.setdefault((kind, at_once), []).append(each)
    database.close()
    for (kind, at_once), each in rates.items():
        accepted, run = (statistics.median(column) for column in zip(*each, strict=True))
        print(f"{kind:10}  {at_once} at once  {accepted:6.0f} accepted/s  {run:5.0f} run/s")


if __name__ == "__main__":
    main()
