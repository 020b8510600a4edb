"""The promises at length: kills, faults, wrong prompts, long queues, flipped bits; prints a table."""

import argparse
import asyncio
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import aiohttp  # noqa: E402  (the tests' own servers are used)
import psutil  # noqa: E402
from aiohttp.test_utils import TestClient, TestServer  # noqa: E402
from machine import described, table  # noqa: E402

from engine.cache import Tiers  # noqa: E402
from engine.cache.codec import digest  # noqa: E402
from engine.cache.disk import DiskTier  # noqa: E402
from engine.config import make_env, read_settings  # noqa: E402
from engine.registry import installed  # noqa: E402
from engine.runner import Engine  # noqa: E402
from engine.workflow import Workflow, load  # noqa: E402
from tests.server.asking import ask, outputs, post, rows, sound, until_empty  # noqa: E402
from tests.server.claiming import claimed  # noqa: E402
from tests.server.crashes import end_at_each_change, fail_at_each_call, kill_often  # noqa: E402
from tests.server.faulty import Process, prompt  # noqa: E402
from tests.server.fuzzing import fuzz, shipped  # noqa: E402

HELD = prompt(0, "held", "Slow", steps=1_000, seconds=1.0)
"""A job that keeps the worker busy, so that a queue stays as it is."""
Row = tuple[str, str, str, bool]


def kills(folder: Path, count: int) -> list[Row]:
    found = kill_often(folder, count)
    ended = ", ".join(f"{n} {status}" for status, n in found.ended.items())
    said = f"{len(found.accepted)} accepted; {ended}; {found.again} begun again; {len(found.wrong)} wrong"
    return [("R1", f"{count} kills: 0 lost, doubled, half-written", said, not found.wrong)]


def points(folder: Path) -> list[Row]:
    found = []
    for name, from_start in (("one prompt", False), ("a restart with a job left over", True)):
        count, wrong = end_at_each_change(folder / str(from_start), from_start)
        said = f"{count} points; {len(wrong)} wrong {wrong[:2]}"
        found.append(("R3", f"ended at the n-th change of the disk by {name}", said, not wrong))
    return found


def faults(folder: Path) -> list[Row]:
    found = []
    for code in ("ENOSPC", "EIO", "EROFS"):
        for lasting in (False, True):
            count, seen, wrong = fail_at_each_call(folder / f"{code}{lasting}", code, lasting)
            answers = ", ".join(f"{n} {what}" for what, n in sorted(seen.items()))
            said = f"{count} points: {answers}; {len(wrong)} wrong"
            name = f"{code} at the n-th call{' and all after it' if lasting else ''}"
            found.append(("R4", name, said + f" {wrong[:2]}" * bool(wrong), not wrong))
    return found


# ---------------------------------------------------------------- long queues


async def posted(address: str, first: int, count: int, clients: int) -> tuple[float, list[float]]:
    """Prompts a second from some clients, and the times of other requests meanwhile."""
    numbers = iter(range(first, first + count))
    others: list[float] = []
    async with aiohttp.ClientSession(address) as session:

        async def send() -> None:
            for n in numbers:
                async with session.post("/prompt", json={"prompt": prompt(n, f"p{n}")}) as response:
                    assert response.status == 200

        async def look() -> None:
            while True:
                started = time.perf_counter()
                async with session.get("/prompt") as response:
                    await response.read()
                others.append(time.perf_counter() - started)
                await asyncio.sleep(0.02)

        looking = asyncio.create_task(look())
        started = time.perf_counter()
        await asyncio.gather(*(send() for _ in range(clients)))
        seconds = time.perf_counter() - started
        looking.cancel()
    return count / seconds, others


def p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100)[98]


def took(fn: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    value = fn()
    return time.perf_counter() - started, value


def queues(folder: Path, count: int) -> list[Row]:
    process = Process(folder)
    empty = psutil.Process(process.pid).memory_info().rss
    assert post(process.address, HELD, "held", number=-1) == 200
    rate, others = asyncio.run(posted(process.address, 0, count, 16))
    times = [took(lambda: ask(process.address, "GET", "/queue"))[0] for _ in range(5)]
    _, queue = ask(process.address, "GET", "/queue")
    order = [item[1] for item in queue["queue_pending"]]
    process.kill()
    seconds, process = took(lambda: Process(folder))
    grown = (psutil.Process(process.pid).memory_info().rss - empty) / 2**20
    again = [item[1] for item in ask(process.address, "GET", "/queue")[1]["queue_pending"]]
    kept = [id for id in again if id != "held"] == order
    found = [
        ("R6", f"{count:,} prompts by 16 clients: >= 300/s", f"{rate:.0f}/s", rate >= 300),
        ("R6", "other requests meanwhile: p99 <= 250 ms", f"{p99(others) * 1e3:.0f} ms", p99(others) <= 0.25),
        ("R6", f"GET /queue of {count:,} <= 1 s", f"{max(times):.2f} s", max(times) <= 1),
        ("R5", f"ready after a kill with {count:,} waiting <= 5 s", f"{seconds:.2f} s", seconds <= 5),
        ("R5", "memory +<= 200 MB; order kept", f"{grown:+.0f} MB; {kept}", grown <= 200 and kept),
    ]
    process.kill()
    return found


def history(folder: Path, count: int) -> list[Row]:
    process = Process(folder, history_entries=count)
    asyncio.run(posted(process.address, 0, count + 500, 16))
    until_empty(process.address, 600)
    page = [took(lambda: ask(process.address, "GET", "/history?max_items=100"))[0] for _ in range(20)]
    whole, _ = took(lambda: ask(process.address, "GET", "/history"))
    kept = len(ask(process.address, "GET", "/history?max_items=1000000")[1])
    last = time.monotonic() + 60
    while kept != count and time.monotonic() < last:
        kept = len(rows(folder, "SELECT 1 FROM jobs"))
        time.sleep(1)
    done = sound(folder) and len(outputs(folder)) == count + 500
    process.kill()
    return [
        (
            "R8",
            f"history of {count:,}: max_items=100 <= 50 ms",
            f"{max(page) * 1e3:.0f} ms",
            max(page) <= 0.05,
        ),
        (
            "R8",
            "bounded while it runs",
            f"{kept:,} of {count + 500:,} kept; whole in {whole:.2f} s",
            kept == count,
        ),
        ("R1", "files of all these jobs", f"{len(outputs(folder)):,}", done),
    ]


# ---------------------------------------------------------------- the rest


@asynccontextmanager
async def admitting(folder: Path) -> AsyncIterator[TestClient[Any, Any]]:
    """A server of all nodes that begins nothing."""
    from engine.config import read_settings
    from server import serving
    from server.app import make_app
    from server.config import ServerSettings
    from server.worker import Worker

    async def nothing(_: Worker, _most: int, _above: int | None = None) -> bool:
        return False

    Worker._lease = nothing  # type: ignore[method-assign]
    settings = read_settings(base_directory=folder, cache=Path("off"), device="cpu")
    limits = ServerSettings(max_job_megapixels=1e9)
    async with (
        serving.started(settings, limits) as state,
        TestClient(TestServer(make_app(state))) as client,
    ):
        yield client


async def wrong_prompts(folder: Path, count: int) -> list[Row]:
    async with admitting(folder) as client:
        found = await fuzz(client, shipped(ROOT / "workflows"), count, seed=7)
        started = time.perf_counter()
        image = {"width": 16384, "height": 16384, "batch_size": 4096, "color": 0}
        big = {
            "1": {"class_type": "EmptyImage", "inputs": image},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "p"}},
        }
        before = psutil.Process().memory_info().rss
        refused = await client.post("/prompt", json={"prompt": big})
        seconds, grown = time.perf_counter() - started, (psutil.Process().memory_info().rss - before) / 2**20
    codes = ", ".join(f"{n} x {status}" for status, n in sorted(found.statuses.items()))
    node, port = found.share(found.at_node), found.share(found.at_input)
    return [
        ("R7", f"{count:,} wrong prompts: 0 x 5xx, 0 hangs", f"{codes}; slowest {found.slowest:.2f} s",
         not found.faults),
        ("R7", "refusals naming the node >= 99 %", f"{node:.2%} of {found.at_node.total():,}", node >= 0.99),
        ("R7", "node and input >= 98 %", f"{port:.2%} of {found.at_input.total():,}", port >= 0.98),
        ("R10", "more than the memory: refused <= 1 s, +<= 100 MB",
         f"{refused.status} in {seconds * 1e3:.0f} ms, {grown:+.0f} MB",
         refused.status == 400 and seconds <= 1 and grown <= 100),
    ]  # fmt: skip


def stops(folder: Path) -> list[Row]:
    found = []
    for name, through, inputs in (
        ("a short job", "Slow", {"steps": 10, "seconds": 0.1}),
        ("a long job", "Slow", {"steps": 1_000, "seconds": 0.1}),
        ("a node that cannot be stopped", "Stuck", {"seconds": 60.0}),
    ):
        base = folder / name.replace(" ", "_")
        process = Process(base)
        post(process.address, prompt(1, "a", through, **inputs), "a")
        while not ask(process.address, "GET", "/queue")[1]["queue_running"]:
            pass
        seconds, status = took(lambda p=process: p.terminate(70))  # type: ignore[misc]
        (job,) = rows(base)
        said = f"exit {status} in {seconds:.1f} s; {job['status']}, attempt {job['attempt']}"
        found.append(("R9", f"SIGTERM with {name}: exit 0 <= 10 s", said, status == 0 and seconds <= 10))
    return found


def claims(folder: Path, each: int) -> list[Row]:
    leased, had, counts = claimed(folder, 8, 8 * each)
    once = set(leased.values()) == {1} and len(leased) == 8 * each and counts == {"success": 8 * each}
    return [
        (
            "--",
            f"8 processes, {8 * each:,} jobs: each leased once",
            f"{once}; {min(had)} to {max(had)} each",
            once,
        )
    ]


# ---------------------------------------------------------------- the cache


def flips(folder: Path, count: int) -> list[Row]:
    """Flip one random bit of a cache's files, ask for every result again: each must be what it was."""
    registry, settings = installed(), read_settings(base_directory=folder, device="cpu")
    env = make_env(settings, registry, Tiers(()))
    workflow = load(ROOT / "workflows" / "text_to_image.json")
    workflow = workflow.with_inputs({"Sampler.steps": 2, "Size.width": 64, "Size.height": 64})
    stored = [id for id, node in workflow.nodes.items() if node.class_type in STORED_CLASSES]
    random_bits, seen = random.Random(0), Counter[str]()
    with Engine(registry, env) as engine:
        whole = folder / "whole"
        wanted = results(engine, workflow, stored, whole)
        files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
        for turn in range(count):
            name = files[turn % len(files)]
            shutil.copytree(whole, folder / "flipped")
            flip(folder / "flipped" / name, random_bits)
            again, ran = results(engine, workflow, stored, folder / "flipped")
            shutil.rmtree(folder / "flipped")
            seen["wrong"] += again != wanted[0]
            seen["flips of results"] += (blob := name.parts[0] == "blobs")
            seen["found"] += blob and ran > 0
    found, of = seen["found"], seen["flips of results"]
    said = f"{seen['wrong']} wrong; {found} of {of} flips in results found, the others in the table"
    return [("R15", f"{count:,} bits flipped: 0 wrong results", said, not seen["wrong"] and found == of)]


STORED_CLASSES = ("CLIPTextEncode", "EmptyLatentImage", "KSampler", "VAEDecode")


def results(engine: Engine, workflow: Workflow, ids: list[str], cache: Path) -> tuple[list[str | None], int]:
    """Digests of what nodes give with a cache on disk alone, and how many of them had to run."""
    disk = DiskTier(cache, worth=0.0)
    try:
        tiers = Tiers([disk])
        plan = engine.plan(workflow, ids, tiers=tiers)
        run = asyncio.run(engine.finish(engine.start(plan, tiers=tiers)))
    finally:
        disk.close()
    return [digest(list(run.results[id].outputs)) for id in ids], len(set(run.executed) & {*ids})


def flip(path: Path, random_bits: random.Random) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    if data:
        data[random_bits.randrange(len(data))] ^= 1 << random_bits.randrange(8)
        path.write_bytes(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--mutations", type=int, default=5_000)
    parser.add_argument("--queue", type=int, default=10_000)
    parser.add_argument("--claims", type=int, default=2_000, help="jobs for each of 8 processes")
    parser.add_argument("--flips", type=int, default=1_000)
    parser.add_argument("--only", default="", help="comma list of: " + ", ".join(PARTS))
    chosen = parser.parse_args()
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, part in PARTS.items():
            if not chosen.only or name in chosen.only.split(","):
                base = Path(folder) / name
                base.mkdir()
                seconds, lines = took(lambda p=part, b=base: p(b, chosen))  # type: ignore[misc]
                found += lines
                for line in lines:
                    print(json.dumps([*line, round(seconds, 1)]), file=sys.stderr, flush=True)
    print(described("aiohttp", "sqlalchemy"))
    print(table(("#", "goal", "found", "holds"), [(*row[:3], "yes" if row[3] else "NO") for row in found]))
    sys.exit(not all(row[3] for row in found))


PARTS: dict[str, Callable[[Path, argparse.Namespace], list[Row]]] = {
    "kills": lambda base, chosen: kills(base, chosen.kills),
    "points": lambda base, _: points(base),
    "faults": lambda base, _: faults(base),
    "queues": lambda base, chosen: queues(base, chosen.queue),
    "fuzz": lambda base, chosen: asyncio.run(wrong_prompts(base, chosen.mutations)),
    "history": lambda base, chosen: history(base, chosen.queue),
    "stops": lambda base, _: stops(base),
    "claims": lambda base, chosen: claims(base, chosen.claims),
    "flips": lambda base, chosen: flips(base, chosen.flips),
}

if __name__ == "__main__":
    main()
