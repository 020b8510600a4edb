"""What a worker process tells comes in order and together, and what matters comes at once."""

import asyncio
import multiprocessing
import threading
from typing import Any

from server.processes import _Outbox

PATIENCE_S = 20


async def test_what_may_wait_comes_together_and_the_rest_at_once() -> None:
    ours, theirs = multiprocessing.Pipe()
    outbox = _Outbox(theirs)
    for n in range(5):
        outbox.send(("message", n))
    assert not ours.poll(0)
    assert await asyncio.to_thread(ours.poll, PATIENCE_S)
    assert ours.recv() == [("message", n) for n in range(5)]
    outbox.send(("event", 5))
    outbox.send(("ended", 6))
    outbox.send(("taken", 7))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert ours.poll(0), "within a turn of the loop"
    assert ours.recv() == [("event", 5), ("ended", 6), ("taken", 7)]
    await asyncio.sleep(0.02)
    assert not ours.poll(0), "nothing twice"
    await asyncio.to_thread(outbox.send, ("freed", 8))
    assert ours.recv() == [("freed", 8)]


async def test_threads_and_the_loop_lose_nothing_and_keep_their_own_order() -> None:
    ours, theirs = multiprocessing.Pipe()
    outbox, told = _Outbox(theirs), list[Any]()

    def read() -> None:
        while (told_now := ours.recv()) != [("over",)]:
            told.extend(told_now)

    def send(who: int) -> None:
        for n in range(300):
            outbox.send(("message" if n % 7 else "taken", who, n))

    reader = threading.Thread(target=read)
    reader.start()
    threads = [asyncio.to_thread(send, who) for who in (1, 2)]
    await asyncio.gather(*threads)
    send(0)
    await asyncio.sleep(0.02)
    outbox.flush()
    theirs.send([("over",)])
    await asyncio.to_thread(reader.join, PATIENCE_S)
    for who in range(3):
        assert [n for _, found, n in told if found == who] == list(range(300))
