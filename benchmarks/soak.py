"""A long life: many prompts of clients that listen; what grows, what stays open, what is missed?"""

import argparse
import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import aiohttp
from machine import described, table

from server import Server, ours, tiny

TOLD = ("execution_start", "execution_success")
"""What a client must hear of each of its prompts, once."""
PATIENCE_S = 60.0


@dataclass
class Client:
    """One program: a socket, and some prompts under way."""

    server: Server
    name: str
    left: Iterator[int]
    heard: Counter[tuple[str, str]] = field(default_factory=Counter)
    sent: list[str] = field(default_factory=list)
    over: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(4))
    """Prompts that it has under way at once."""

    async def live(self) -> None:
        """Send prompts until there are none left, then wait for the last of them."""
        async with self.server.http.ws_connect(f"{self.server.url}/ws?clientId={self.name}") as socket:
            listening = asyncio.create_task(self._listen(socket))
            for _ in self.left:
                await self.over.acquire()
                await self._send()
            until = time.monotonic() + PATIENCE_S
            while time.monotonic() < until and self._open():
                await asyncio.sleep(0.05)
            listening.cancel()

    def _open(self) -> bool:
        return any(self.heard[TOLD[-1], id] == 0 for id in self.sent[-8:])

    async def _send(self) -> None:
        color = random.randrange(2**24) if random.random() < 0.7 else 7
        body = {"prompt": tiny(color), "client_id": self.name}
        async with self.server.http.post(f"{self.server.url}/prompt", json=body) as answer:
            self.sent.append((await answer.json())["prompt_id"])
        if random.random() < 0.01:
            await self.server.get(f"/history/{self.sent[-1]}")

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            told = message.json()
            if told["type"] in TOLD:
                self.heard[told["type"], told["data"]["prompt_id"]] += 1
                if told["type"] == TOLD[-1]:
                    self.over.release()

    def wrong(self) -> int:
        """Events that it did not hear, or heard twice."""
        return sum(self.heard[type, id] != 1 for type in TOLD for id in self.sent)


async def soak(server: Server, prompts: int, clients: int, samples: int) -> None:
    """Send the prompts, look at the server now and then, print what was seen."""
    done = 0
    rows: list[list[str]] = []
    started = time.perf_counter()

    def left() -> Iterator[int]:
        nonlocal done
        while done < prompts:
            done += 1
            yield done

    numbers = left()
    programs = [Client(server, f"soak-{k}", numbers) for k in range(clients)]
    living = asyncio.gather(*(program.live() for program in programs))
    process = server.process
    assert process is not None
    step, at = prompts // samples, 0
    while not living.done():
        await asyncio.sleep(0.2)
        if done >= at:
            seconds = time.perf_counter() - started
            figures = [f"{server.memory_mb():.1f}", str(process.num_fds()), str(process.num_threads())]
            rows.append([f"{done:,}", f"{seconds:.0f}", *figures])
            print("  ", *rows[-1], flush=True)
            at += step
    await living
    print(table(("prompts", "s", "memory MB", "files", "threads"), rows))
    warm, last = rows[len(rows) // 5], rows[-1]
    wrong = sum(program.wrong() for program in programs)
    print(f"memory since {warm[0]} prompts: {float(last[2]) - float(warm[2]):+.1f} MB (promise: at most 50)")
    print(f"files open: {warm[3]} then, {last[3]} at the end; events missed or doubled: {wrong} (promise: 0)")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--port", type=int, default=8392)
    parser.add_argument("--workers", type=int, default=0, help="worker processes of the server")
    chosen = parser.parse_args()
    print(described("aiohttp", "sqlalchemy", "torch"))
    async with ours(chosen.port, chosen.workers) as server:
        await soak(server, chosen.prompts, chosen.clients, chosen.samples)
    print(f"load at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    asyncio.run(main())
