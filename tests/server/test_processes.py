"""Worker processes: they run the server's jobs, their deaths cost nothing, and they end with their parent."""

import asyncio
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from engine.config import read_settings
from server.attended import _pass
from server.config import read_server_settings
from server.previews import Picture
from server.queue.jobs import Job, NewJob
from server.serving import started
from server.state import State
from server.telling import Message

PATIENCE_S = 60.0


def prompt(color: int, size: int = 8) -> dict[str, Any]:
    image = {"width": size, "height": size, "batch_size": 1, "color": color}
    return {
        "1": {"class_type": "EmptyImage", "inputs": image},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": f"c{color}"}},
    }


def children() -> list[psutil.Process]:
    """The worker processes; Python's own resource tracker is not one."""
    found = psutil.Process().children()
    return [p for p in found if any("spawn_main" in part for part in p.cmdline())]


async def sent(state: State, color: int) -> Job:
    new = NewJob(f"job-{color}", prompt(color), {}, ("2",))
    job = await asyncio.wrap_future(state.queue.accept(new, color, True))
    state.workers.accepted(job)
    return job


async def ended(state: State, count: int) -> None:
    """Wait until so many jobs have ended in all."""
    more = asyncio.Event()
    state.workers.listeners.append(lambda _job, _ending: more.set())
    async with asyncio.timeout(PATIENCE_S):
        while len(state.queue.history()) < count:
            await more.wait()
            more.clear()


@pytest.mark.slow
async def test_a_process_that_is_killed_loses_no_job_and_is_started_again(tmp_path: Path) -> None:
    settings = read_settings(base_directory=tmp_path, cache=tmp_path / "cache", device="cpu")
    async with started(settings, read_server_settings(workers=2, port=0)) as state:
        for color in range(20):
            await sent(state, color)
        await ended(state, 20)
        first = {p.pid for p in children()}
        assert len(first) == 2
        for color in range(20, 60):
            await sent(state, color)
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        await ended(state, 60)
        assert {p.pid for p in children()}.isdisjoint(first)
        jobs = state.queue.jobs()
    assert [j.status for j in jobs] == ["success"] * 60
    assert len(list((tmp_path / "output").glob("*.png"))) == 60
    assert children() == []


async def test_an_end_that_a_worker_committed_and_could_not_tell_is_told(tmp_path: Path) -> None:
    settings = read_settings(base_directory=tmp_path, cache=tmp_path / "cache", device="cpu")
    async with started(settings, read_server_settings(port=0)) as state:
        await sent(state, 3)
        await ended(state, 1)
        (job,) = state.queue.jobs()
        told: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        state.workers.listeners.append(lambda job, ending: told.put_nowait((job.id, ending.status)))
        as_it_ran = replace(job, status="running", owner="gone", finished=None, ending=None)
        await asyncio.to_thread(state.workers._lost, [as_it_ran])
        assert await asyncio.wait_for(told.get(), PATIENCE_S) == ("job-3", "success")
        assert state.queue.remaining == 0


class Guess:
    """What a sampler thinks for now."""

    def picture(self) -> np.ndarray:
        return np.zeros((8, 8, 3), np.uint8)


def test_an_estimate_is_still_known_as_one_when_it_has_come_through_the_pipe() -> None:
    said: list[Any] = []
    message = Message("a", None, "preview", {}, Guess(), estimate=True)
    _pass(message, read_server_settings(), said.append)
    ((kind, passed),) = said
    assert kind == "message"
    assert isinstance(passed.picture, Picture)
    assert passed.estimate


async def test_only_the_end_of_a_job_waits_for_an_estimate_that_is_being_encoded(tmp_path: Path) -> None:
    settings = read_settings(base_directory=tmp_path, cache=tmp_path / "cache", device="cpu")
    async with started(settings, read_server_settings(port=0)) as state:
        workers, busy = state.workers, threading.Event()
        stream = workers.streams.begin("a", 1)
        workers._encoders.submit(busy.wait, PATIENCE_S)
        workers._message(Message("a", None, "preview", {"node_id": "1"}, Guess(), estimate=True))
        workers._message(Message("a", None, "job", {"kind": "log"}))
        workers._in_turn("a", lambda: stream.add("status", {"status": "success"}), last=True)
        first = await stream.wait(0, PATIENCE_S)
        await asyncio.sleep(0.05)
        assert [entry.type for entry in stream.after(0)] == [entry.type for entry in first] == ["log"]
        busy.set()
        while len(stream.after(0)) < 3:
            await stream.wait(stream.last, PATIENCE_S)
        assert [entry.type for entry in stream.after(0)] == ["log", "preview", "status"]
