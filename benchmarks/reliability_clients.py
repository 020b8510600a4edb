"""How long ordinary requests take while others send and read slowly (R13)."""

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time

import aiohttp
from machine import described, table

SLOW = 300
KEY = "MDAwMDAwMDAwMDAwMDAwMA=="


async def drip(host: str, port: int) -> None:
    """Send a head that never ends, again whenever it is cut off."""
    while True:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /prompt HTTP/1.1\r\nHost: localhost\r\n")
        try:
            while not reader.at_eof():
                writer.write(b"X-More: 1\r\n")
                await writer.drain()
                await asyncio.sleep(1)
        except ConnectionError:
            pass
        finally:
            writer.close()


async def deaf(host: str, port: int) -> asyncio.StreamWriter:
    """A socket that nobody reads."""
    _, writer = await asyncio.open_connection(host, port)
    head = "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    writer.write(f"{head}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n".encode())
    return writer


async def timed(address: str, seconds: float) -> list[float]:
    """Milliseconds of each of many submissions and questions."""
    found: list[float] = []
    empty = {"width": 8, "height": 8, "batch_size": 1}
    async with aiohttp.ClientSession() as session:
        last, n = time.monotonic() + seconds, 0
        while time.monotonic() < last:
            n += 1
            one = {"class_type": "EmptyImage", "inputs": {**empty, "color": n}}
            two = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
            begun = time.perf_counter()
            if n % 5:
                async with session.get(f"{address}/prompt") as answer:
                    await answer.read()
            else:
                async with session.post(f"{address}/prompt", json={"prompt": {"1": one, "2": two}}) as answer:
                    await answer.read()
            assert answer.status == 200, answer.status
            found.append(1000 * (time.perf_counter() - begun))
            await asyncio.sleep(0.01)
    return sorted(found)


async def measured(address: str, seconds: float) -> None:
    """Print the figures alone and beside the slow ones."""
    host, port = address.removeprefix("http://").split(":")
    alone = await timed(address, seconds)
    slow = [asyncio.create_task(drip(host, int(port))) for _ in range(SLOW)]
    sockets = [await deaf(host, int(port))]
    beside = await timed(address, seconds)
    for task in slow:
        task.cancel()
    for writer in sockets:
        writer.close()
    rows = [[name, str(len(t)), *(f"{t[int(p * (len(t) - 1))]:.1f}" for p in (0.5, 0.99, 1.0))] for name, t in
            (("alone", alone), (f"beside {SLOW} that drip and 1 unread socket", beside))]  # fmt: skip
    print(table(["requests", "number", "median ms", "p99 ms", "longest ms"], rows))


def main() -> None:
    """Start a server and measure it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=40.0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        command = [
            sys.executable,
            "-c",
            "from engine.cli import main; main()",
            "serve",
            "--port",
            "0",
            "--cpu",
        ]
        command += ["--base-directory", base]
        with subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"}
        ) as server:
            assert server.stderr
            try:
                found = re.search(r"http://[\d.]+:\d+", server.stderr.readline())
                assert found, "the server did not start"
                print(described())
                asyncio.run(measured(found[0], chosen.seconds))
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
