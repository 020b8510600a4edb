"""A job's own stream: numbered, replayable, waited for, bounded."""

import asyncio
from collections.abc import Awaitable

import pytest

from server.live import KEPT_EVENTS, KEPT_JOBS, STRIDE, Entry, Stream, Streams


def numbers(found: list[Entry]) -> list[int]:
    return [entry.n for entry in found]


def test_events_are_numbered_from_one_and_replayed_after_any_number() -> None:
    stream = Stream(0)
    for i in range(5):
        stream.add("progress", {"i": i})
    assert numbers(stream.after(0)) == [1, 2, 3, 4, 5]
    assert [e.data["i"] for e in stream.after(3)] == [3, 4]
    assert stream.after(5) == []
    assert stream.after(99) == []
    assert stream.progress == {"i": 4}


def test_of_a_long_run_the_oldest_events_are_forgotten() -> None:
    stream = Stream(0)
    for _ in range(KEPT_EVENTS + 10):
        stream.add("log", {})
    assert numbers(stream.after(0)) == list(range(11, KEPT_EVENTS + 11))


async def test_who_waits_hears_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(0)
    waiting = [asyncio.ensure_future(stream.wait(0, 30)) for _ in range(3)]
    await asyncio.sleep(0)
    stream.add("status", {"status": "running"})
    assert [numbers(found) for found in await asyncio.gather(*waiting)] == [[1]] * 3
    assert stream._waiting == set()


async def test_waiting_ends_after_its_time_with_nothing() -> None:
    stream = Stream(0)
    assert await stream.wait(0, 0.01) == []
    assert stream._waiting == set()


async def test_what_is_there_is_given_without_waiting() -> None:
    stream = Stream(0)
    stream.add("log", {})
    assert numbers(await at_once(stream.wait(0, 30))) == [1]


async def test_nobody_waits_for_what_has_ended() -> None:
    stream = Stream(0)
    waiting = asyncio.ensure_future(stream.wait(0, 30))
    await asyncio.sleep(0)
    stream.end()
    assert await at_once(waiting) == []
    assert await at_once(stream.wait(0, 30)) == []
    stream.add("late", {})
    assert stream.after(0) == []


async def at_once(found: Awaitable[list[Entry]]) -> list[Entry]:
    return await asyncio.wait_for(found, 1)


def test_an_attempt_that_follows_a_restart_gives_no_number_twice() -> None:
    before, after = Streams(), Streams()
    first = before.begin("a", 1)
    for _ in range(1_000):
        first.add("log", {})
    again = after.begin("a", 2)
    again.add("log", {})
    assert numbers(again.after(0)) == [2 * STRIDE + 1]
    assert numbers(again.after(first.after(0)[-1].n)) == [2 * STRIDE + 1]


def test_a_job_that_is_begun_goes_on_with_its_stream() -> None:
    streams = Streams()
    stream = streams.begin("a", 0)
    stream.add("status", {"status": "queued"})
    assert streams.begin("a", 1) is stream


def test_a_retried_job_goes_on_counting() -> None:
    streams = Streams()
    first = streams.begin("a", 0)
    for _ in range(3):
        first.add("log", {})
    streams.end("a")
    again = streams.begin("a", 0)
    again.add("log", {})
    assert not again.ended
    assert numbers(again.after(3)) == [4]


def test_ended_streams_stay_for_a_while_and_the_oldest_go_first() -> None:
    streams = Streams()
    for i in range(KEPT_JOBS + 5):
        streams.begin(f"j{i}", 0).add("status", {})
        streams.end(f"j{i}")
    assert streams.of("j4") is None
    kept = streams.of("j5")
    assert kept is not None
    assert kept.ended
    streams.end("unknown")
    assert streams.of("unknown") is None


def test_of_the_pictures_of_an_ended_job_only_the_last_is_kept() -> None:
    stream = Stream(0)
    for i in range(3):
        stream.add("preview", {"step": i})
        stream.add("progress", {"step": i})
    stream.end()
    assert [(e.type, e.data["step"]) for e in stream.after(0)] == [
        ("progress", 0),
        ("progress", 1),
        ("preview", 2),
        ("progress", 2),
    ]
