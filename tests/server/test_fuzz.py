"""Wrong prompts are refused with their place named; nothing that is sent is answered with a 5xx or never."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from engine.config import read_settings
from engine.registry import Registry
from server import serving
from server.app import make_app
from server.config import ServerSettings
from server.worker import Worker
from tests.server.faulty import TINY, prompt
from tests.server.fuzzing import Answers, fuzz, shipped

WORKFLOWS = Path(__file__).parents[2] / "workflows"


@pytest.fixture
async def admitting(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch, aiohttp_client: Any
) -> AsyncIterator[Any]:
    """A server of all nodes that takes prompts and does not begin them: that would take hours."""

    async def nothing(_: Worker, _most: int, _above: int | None = None) -> bool:
        return False

    monkeypatch.setattr(Worker, "_lease", nothing)
    settings = read_settings(base_directory=tmp_path, cache=Path("off"), device="cpu")
    async with serving.started(settings, ServerSettings(max_job_megapixels=50), registry) as state:
        yield await aiohttp_client(make_app(state))


@pytest.fixture
async def working(tmp_path: Path, aiohttp_client: Any) -> AsyncIterator[Any]:
    """A server of tiny nodes that runs what it takes."""
    settings = read_settings(base_directory=tmp_path, cache=Path("off"), device="cpu")
    async with serving.started(settings, ServerSettings(stop_seconds=1), TINY) as state:
        yield await aiohttp_client(make_app(state))


def judged(answers: Answers) -> None:
    assert answers.faults == []
    assert answers.share(answers.at_node) >= 0.99, answers.unnamed
    assert answers.share(answers.at_input) >= 0.98, answers.unnamed
    assert answers.statuses[400] > answers.sent / 4, "most mutants are no faults; the test shows little"


@pytest.mark.slow
async def test_faults_in_shipped_workflows_are_refused_where_they_are(admitting: Any) -> None:
    judged(await fuzz(admitting, shipped(WORKFLOWS), 400, seed=1))


async def test_faults_in_small_prompts_never_stop_the_worker(working: Any) -> None:
    prompts = [prompt(1, "a"), prompt(2, "b", "Slow", steps=1, seconds=0.0), prompt(3, "c/d", "Raise")]
    judged(await fuzz(working, prompts, 400, seed=2))
    sent = await working.post(
        "/prompt", json={"prompt": prompt(7, "last"), "prompt_id": "last", "number": -9e9}
    )
    assert sent.status == 200
    async with asyncio.timeout(30):
        while not (entry := await (await working.get("/history/last")).json()):
            pass
    assert entry["last"]["status"]["status_str"] == "success"
