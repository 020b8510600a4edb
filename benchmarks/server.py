"""The server under load: prompts a second, long queues and histories, sockets, long graphs; beside a peer."""

import argparse
import asyncio
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from machine import described, table

Json = dict[str, Any]
SOON_S = 60.0


def tiny(color: int) -> Json:
    """Two cheap nodes."""
    image = {"width": 8, "height": 8, "batch_size": 1, "color": color}
    return {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }


def chain(nodes: int, color: int) -> Json:
    """A chain of cheap nodes."""
    made = {
        "0": {
            "class_type": "EmptyImage",
            "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": color},
        }
    }
    for i in range(1, nodes - 1):
        made[str(i)] = {"class_type": "ImageInvert", "inputs": {"image": [str(i - 1), 0]}}
    made["end"] = {"class_type": "PreviewImage", "inputs": {"images": [str(nodes - 2), 0]}}
    return made


def blocker(color: int) -> Json:
    """Runs for minutes, in steps of about a second, so that what is sent after it waits."""
    image = {"width": 2048, "height": 2048, "batch_size": 1, "color": color}
    made = {"0": {"class_type": "EmptyImage", "inputs": image}}
    for i in range(1, 300):
        size = {"width": 4096 - i % 2, "height": 4096, "upscale_method": "lanczos", "crop": "disabled"}
        made[str(i)] = {"class_type": "ImageScale", "inputs": {"image": ["0", 0], **size, "width": 3000 + i}}
        made[f"p{i}"] = {"class_type": "PreviewImage", "inputs": {"images": [str(i), 0]}}
    return made


@dataclass
class Server:
    """One server under test."""

    name: str
    url: str
    process: psutil.Process | None
    http: aiohttp.ClientSession

    async def get(self, path: str) -> Any:
        async with self.http.get(self.url + path) as answer:
            return await answer.json()

    async def submit(self, prompt: Json, **more: Any) -> float:
        """Seconds until it is accepted."""
        started = time.perf_counter()
        async with self.http.post(f"{self.url}/prompt", json={"prompt": prompt, **more}) as answer:
            if answer.status != 200:
                raise RuntimeError(f"{self.name}: {answer.status} {(await answer.text())[:200]}")
        return time.perf_counter() - started

    async def idle(self) -> None:
        while (await self.get("/prompt"))["exec_info"]["queue_remaining"]:
            await asyncio.sleep(0.005)

    def memory_mb(self) -> float:
        return self.process.memory_info().rss / 2**20 if self.process else math.nan


@asynccontextmanager
async def ours(port: int, workers: int = 0) -> AsyncIterator[Server]:
    """Our server in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "LATENTGRAPH_CACHE": f"{folder}/cache",
            "LATENTGRAPH_SERVER_MAX_QUEUE": "100000",
        }
        command = ["latentgraph", "serve", "--port", str(port), "--base-directory", folder, "--device", "cpu"]
        command += ["--workers", str(workers)]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
                server = Server("latentgraph", f"http://127.0.0.1:{port}", psutil.Process(process.pid), http)
                for _ in range(600):
                    try:
                        await server.get("/prompt")
                        break
                    except aiohttp.ClientError:
                        await asyncio.sleep(0.1)
                yield server
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


@asynccontextmanager
async def peer(url: str, pid: int | None) -> AsyncIterator[Server]:
    """A server that runs already."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        yield Server("peer", url.rstrip("/"), psutil.Process(pid) if pid else None, http)


async def together(clients: int, count: int, work: Callable[[int], Awaitable[float]]) -> list[float]:
    """What some clients measure who share a number of tasks."""
    left = iter(range(count))

    async def one() -> list[float]:
        return [await work(i) for i in left]

    return sorted(t for times in await asyncio.gather(*(one() for _ in range(clients))) for t in times)


async def throughput(server: Server, clients: int, count: int, cached: bool) -> list[str]:
    await server.submit(tiny(7))
    await server.idle()
    started = time.perf_counter()
    times = await together(
        clients,
        count,
        lambda _: server.submit(tiny(7 if cached else random.randrange(2**24)), client_id="bench"),
    )
    accepted = time.perf_counter() - started
    await server.idle()
    whole = time.perf_counter() - started
    kind = "cached" if cached else "new"
    figures = [
        count / accepted,
        count / whole,
        whole / count * 1e3,
        times[count // 2] * 1e3,
        times[int(count * 0.99)] * 1e3,
    ]
    return [server.name, f"{clients}", kind, *(f"{f:.1f}" for f in figures)]


async def long_queue(server: Server, count: int) -> list[str]:
    """Latencies with many jobs waiting behind one that runs."""
    await server.submit(blocker(random.randrange(2**24)))
    started = time.perf_counter()
    await together(8, count, lambda _: server.submit(tiny(random.randrange(2**24))))
    rate = count / (time.perf_counter() - started)
    times = await together(1, 200, lambda _: server.submit(tiny(random.randrange(2**24))))
    asked = time.perf_counter()
    listed = len((await server.get("/queue"))["queue_pending"])
    asked = time.perf_counter() - asked
    async with server.http.post(f"{server.url}/queue", json={"clear": True}):
        pass
    async with server.http.post(f"{server.url}/interrupt"):
        pass
    await server.idle()
    return [
        server.name,
        f"{listed}",
        f"{rate:.0f}",
        f"{times[100] * 1e3:.1f}",
        f"{times[198] * 1e3:.1f}",
        f"{asked:.2f}",
    ]


async def long_history(server: Server, count: int) -> list[str]:
    before = server.memory_mb()
    await together(8, count, lambda _: server.submit(tiny(7)))
    await server.idle()
    seconds = []
    for path in ("/history", "/history?max_items=10"):
        started = time.perf_counter()
        found = len(await server.get(path))
        seconds.append(time.perf_counter() - started)
    grown = server.memory_mb() - before
    return [
        server.name,
        f"{count}",
        f"{grown:.0f}",
        f"{seconds[0]:.2f}",
        f"{seconds[1] * 1e3:.1f}",
        f"{found}",
    ]


async def fan_out(server: Server, clients: int, count: int) -> list[str]:
    """How long until all sockets have heard of a prompt."""
    sockets = [await server.http.ws_connect(f"{server.url}/ws?clientId=bench{i}") for i in range(clients)]
    for socket in sockets:
        await socket.receive()
    heard = [0] * clients

    async def listen(i: int) -> None:
        async for message in sockets[i]:
            if message.type is aiohttp.WSMsgType.TEXT and json.loads(message.data)["type"] == "status":
                heard[i] += 1

    listeners = [asyncio.create_task(listen(i)) for i in range(clients)]
    started, delays = time.perf_counter(), []
    for _ in range(count):
        before, sent = list(heard), time.perf_counter()
        await server.submit(tiny(7))
        while any(now <= then for now, then in zip(heard, before, strict=True)):
            await asyncio.sleep(0)
        delays.append(time.perf_counter() - sent)
    await server.idle()
    whole = time.perf_counter() - started
    for socket in sockets:
        await socket.close()
    await asyncio.gather(*listeners)
    delays.sort()
    return [
        server.name,
        f"{clients}",
        f"{delays[count // 2] * 1e3:.1f}",
        f"{delays[-1] * 1e3:.1f}",
        f"{sum(heard) / whole:.0f}",
    ]


async def long_chain(server: Server, nodes: int) -> float:
    """Seconds for a chain; NaN where the server cannot."""
    started = time.perf_counter()
    try:
        await server.submit(chain(nodes, random.randrange(2**24)))
    except RuntimeError:
        return math.nan
    await server.idle()
    return time.perf_counter() - started


async def chains(servers: Sequence[Server], sizes: Sequence[int]) -> list[list[str]]:
    rows = []
    for n in sizes:
        times = [min([await long_chain(s, n) for _ in range(2)]) for s in servers]
        ratio = f"{times[1] / times[0]:.0f}" if len(times) > 1 else ""
        rows.append([f"{n}", *(f"{t:.2f}" for t in times), ratio][: len(servers) + 2])
    return rows


def say(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print(f"\n{title}\n{table(head, rows)}", flush=True)


async def measure(servers: Sequence[Server], chosen: argparse.Namespace) -> None:
    wanted = set(chosen.only or ("throughput", "chains", "fan", "queue", "history"))
    if "throughput" in wanted:
        rows = [
            await throughput(s, clients, chosen.prompts, cached)
            for cached in (False, True)
            for clients in (1, 8)
            for s in servers
        ]
        head = ("server", "clients", "kind", "accepted/s", "done/s", "ms a prompt", "p50 ms", "p99 ms")
        say("Tiny prompts", head, rows)
    if "chains" in wanted:
        rows = await chains(servers, chosen.chains)
        say("Chains", ("nodes", *(f"{s.name} s" for s in servers), "peer / ours"), rows)
    if "fan" in wanted:
        head = ("server", "sockets", "all heard, p50 ms", "worst ms", "messages/s")
        say("Fan-out", head, [await fan_out(s, 200, 50) for s in servers])
    if "queue" in wanted:
        head = ("server", "waiting", "accepted/s", "p50 ms", "p99 ms", "GET /queue s")
        say("A long queue", head, [await long_queue(s, chosen.queued) for s in servers])
    if "history" in wanted:
        head = ("server", "jobs", "memory MB", "GET /history s", "10 items ms", "items")
        say("A long history", head, [await long_history(s, chosen.queued) for s in servers])


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", metavar="URL", help="a server to measure beside ours, e.g. a ComfyUI's")
    parser.add_argument("--peer-pid", type=int, help="its process, for its memory")
    parser.add_argument("--port", type=int, default=8391)
    parser.add_argument("--workers", type=int, default=0, help="worker processes of ours")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--queued", type=int, default=10_000)
    parser.add_argument("--chains", type=int, nargs="*", default=[100, 500, 2_000, 10_000])
    parser.add_argument("--only", nargs="*", choices=["throughput", "chains", "fan", "queue", "history"])
    chosen = parser.parse_args()
    print(described("aiohttp", "sqlalchemy", "torch"))
    async with ours(chosen.port, chosen.workers) as server:
        if chosen.peer:
            async with peer(chosen.peer, chosen.peer_pid) as other:
                await measure([server, other], chosen)
        else:
            await measure([server], chosen)
    print(f"load at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    asyncio.run(main())
