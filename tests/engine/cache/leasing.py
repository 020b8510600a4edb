"""A process that runs toy nodes on a cache that it shares; standard input says when they begin or may end.

Usage: leasing.py CACHE FILE one|many SEED. Each run of a node appends its number to FILE.
"""

import asyncio
import os
import random
import sys
from pathlib import Path
from typing import Any

from toys import REGISTRY, Doubler, Number, World, n

from engine.cache import Tiers, leases
from engine.cache.disk import DiskTier
from engine.node import node
from engine.runner import Engine
from engine.steps import Steps, call
from engine.workflow import from_json


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _note(number: int) -> None:
    fd = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{number}\n".encode())
    os.close(fd)


@node("Slow", category="tests")
def slow(*, number: int) -> Steps[Number]:
    """Twice a number, when the test says so."""
    _note(number)
    _say("begun")
    sys.stdin.readline()
    return (yield from call(Doubler(), number))[0]


@node("Short", category="tests")
def short(*, number: int, a: Number | None = None) -> Steps[Number]:
    """Twice a number, and another."""
    _note(number)
    return (yield from call(Doubler(), number))[0] + (a or 0)


def _graph(kind: str, seed: int) -> dict[str, Any]:
    if kind == "one":
        return {
            "1": n("Slow", number=4),
            "2": n("Show", value=["1", 0]),
            "3": n("Value"),
            "4": n("Show2", values=["3", 0]),
        }
    numbers = list(range(200))
    random.Random(seed).shuffle(numbers)
    made = {f"n{i}": n("Short", number=i, **({"a": [f"n{i - 1}", 0]} if i % 4 else {})) for i in range(200)}
    return made | {f"s{i}": n("Show", value=[f"n{i}", 0]) for i in numbers}


async def _run(engine: Engine, kind: str) -> None:
    job = engine.start(engine.plan(from_json(_graph(kind, int(sys.argv[4])))))
    task = asyncio.create_task(engine.finish(job))
    while kind == "one" and not task.done():
        if job._elsewhere._leasing and "4" in job.frontier.made:
            _say("waiting")
            break
        await asyncio.sleep(0.01)
    run = await task
    assert run.status == "success", run.failures
    shown = {id: result.ui["text"] for id, result in run.results.items()}
    if kind == "one":
        assert shown["2"] == ["8"]
    else:
        assert all(shown[f"s{i}"] == [str(2 * sum(range(i - i % 4, i + 1)))] for i in range(200))
    _say(f"made {sum(id.startswith(('1', 'n')) for id in run.executed)}")


def main() -> None:
    if sys.argv[3] == "many":
        leases.SLOW_S = 0.0
    world = World(Path(sys.argv[2]).parent / str(os.getpid()))
    tier = DiskTier(Path(sys.argv[1]), worth=0.0)
    if sys.argv[3] == "many":
        _say("ready")
        sys.stdin.readline()
    with Engine(REGISTRY.with_nodes(slow, short), world.env, Tiers([tier])) as engine:  # type: ignore[arg-type]
        asyncio.run(asyncio.wait_for(_run(engine, sys.argv[3]), 100))
    tier.close()
    world.close()


if __name__ == "__main__":
    main()
