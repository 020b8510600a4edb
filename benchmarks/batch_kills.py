"""A batch killed again and again (`kill -9`): jobs lost, done twice, bytes that differ; prints a table."""

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from machine import described, table  # noqa: E402

from tests.server.batch.commands import (  # noqa: E402  (the tests' own processes and nodes are used)
    Tally,
    kill_often,
    meddle,
    points_of_no_return,
    workflow,
)

SWEEP = ("--vary", "Paint.color=1..8", "--vary", "Mix.seed=1,2,3")


def counted(name: str, tally: Tally, seconds: float) -> tuple[str, ...]:
    """A row of the table."""
    lost = sum("is lost" in text for text in tally.wrong)
    doubled = sum("ran again" in text or "two lines" in text for text in tally.wrong)
    differ = sum("differs" in text for text in tally.wrong)
    other = len(tally.wrong) - lost - doubled - differ
    kills = f"{tally.kills:,} ({tally.between:,} between the first and the last end)"
    return (name, kills, f"{tally.batches:,}", *map(str, (lost, doubled, differ, other)), f"{seconds:.0f} s")


def main() -> None:
    """Kill as often as was asked for, half with fresh caches, half with all that can be against it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument(
        "--no-points", action="store_true", help="leave out the ends at each change of the disk"
    )
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="batch-kills-"))
    rows, wrong = [], []
    for name, change in (
        ("fresh caches", {}),
        ("warm shared cache, torn lines, lost queues", {"cache": lambda _: "shared", "meddle": meddle}),
    ):
        home = folder / name.partition(" ")[0]
        home.mkdir()
        begun = time.monotonic()
        arguments = ["batch", str(workflow(home)), *SWEEP]
        tally = kill_often(home, arguments, asked.kills // 2, seed=asked.seed, **change)
        rows.append(counted(name, tally, time.monotonic() - begun))
        wrong += tally.wrong
    if not asked.no_points:
        begun = time.monotonic()
        arguments = ["batch", str(workflow(folder)), *SWEEP[:2]]
        count, found = points_of_no_return(folder / "points", arguments)
        tally = Tally(count, count, count, found)
        rows.append(counted("ended at each change of the disk", tally, time.monotonic() - begun))
        wrong += found
    print(f"{described()}; seed {asked.seed}; 24 jobs of three nodes, 48 files\n")
    print(table(("disturbed by", "kills", "batches", "lost", "twice", "differ", "other", "time"), rows))
    for text in wrong:
        print(text)
    if wrong:
        sys.exit(f"see {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    random.seed(0)
    main()
