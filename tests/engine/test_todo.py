"""Things to do on a loop's thread: in order, from any thread, without keeping the loop from others."""

import asyncio
import threading
import time

from engine import todo
from engine.todo import Todo


def test_things_are_done_in_order_from_any_thread() -> None:
    done: list[int] = []

    async def play() -> None:
        things = Todo()
        things.later(lambda: done.append(-1))  # nobody does anything yet
        things.begin()
        things.later(lambda: done.append(0))
        (await things.next())()
        assert not things
        teller = threading.Thread(
            target=lambda: [things.later(lambda i=i: done.append(i)) for i in (1, 2, 3)]
        )
        teller.start()
        for _ in range(3):
            (await asyncio.wait_for(things.next(), 10))()
        teller.join()

    asyncio.run(play())
    assert done == [0, 1, 2, 3]


def test_who_always_has_something_to_do_lets_others_have_the_loop() -> None:
    async def play() -> int:
        things, turns, over = Todo(), 0, False
        things.begin()

        async def other() -> None:
            nonlocal turns
            while not over:
                turns += 1
                await asyncio.sleep(0)

        others = asyncio.create_task(other())
        until = time.monotonic() + 20 * todo.BREATH_S
        while time.monotonic() < until:
            things.later(lambda: None)
            (await things.next())()
        over = True
        await others
        return turns

    assert 5 < asyncio.run(play()) < 25


def test_nothing_is_done_once_the_loop_is_closed() -> None:
    things = Todo()

    async def play() -> None:
        things.begin()

    asyncio.run(play())
    threading.Thread(target=lambda: things.later(lambda: None)).start()
    assert not things
