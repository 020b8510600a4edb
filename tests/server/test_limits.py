"""A prompt that asks for more than is allowed, or than fits the memory, is refused at once and takes none."""

import io
import json
import resource
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.config import read_settings
from engine.registry import Registry
from server import serving
from server.app import make_app
from server.config import ServerSettings


@pytest.fixture
async def client(tmp_path: Path, registry: Registry, aiohttp_client: Any) -> AsyncIterator[Any]:
    settings = read_settings(base_directory=tmp_path, cache=Path("off"), device="cpu")
    server = ServerSettings(max_job_megapixels=1e9, max_nodes=1_000, max_prompt_mb=1)
    async with serving.started(settings, server, registry) as state:
        yield await aiohttp_client(make_app(state))


def image(**inputs: Any) -> dict[str, Any]:
    return {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0} | inputs,
        },
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "p"}},
    }


async def test_more_than_the_free_memory_is_refused_within_a_second_and_takes_none(client: Any) -> None:
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    response = await client.post(
        "/prompt", json={"prompt": image(width=16384, height=16384, batch_size=4096)}
    )
    assert time.monotonic() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024
    assert response.status == 400
    body = await response.json()
    (error,) = body["node_errors"]["1"]["errors"]
    assert error["type"] == "too_large"
    assert error["extra_info"]["input_name"] in ("width", "height", "batch_size")
    free = float(error["message"].partition("; ")[2].removesuffix(" GB are free"))
    assert free == pytest.approx(psutil.virtual_memory().available / 2**30, rel=0.3)


async def test_a_size_within_the_limits_is_taken(client: Any) -> None:
    response = await client.post("/prompt", json={"prompt": image(width=64, height=64)})
    assert response.status == 200


async def test_more_pixels_than_configured_are_refused_with_the_limit(
    tmp_path: Path, registry: Registry, aiohttp_client: Any
) -> None:
    settings = read_settings(base_directory=tmp_path / "b", cache=Path("off"), device="cpu")
    async with serving.started(settings, ServerSettings(max_job_megapixels=10), registry) as state:
        client = await aiohttp_client(make_app(state))
        response = await client.post("/prompt", json={"prompt": image(width=4096, height=4096)})
        assert response.status == 400
        assert "at most 10 are allowed" in (await response.text())


@pytest.mark.parametrize("value", [10**400, -(10**400), float("inf"), float("nan"), "9" * 400, [1], {}, True])
async def test_numbers_beyond_all_bounds_are_refused_or_passed_over(client: Any, value: Any) -> None:
    wrong = await client.post("/prompt", json={"prompt": image(width=value)})
    assert wrong.status == 400 or value is True
    unused = {"7": {"class_type": "EmptyImage", "inputs": {"width": value, "height": 10**300}}}
    assert (await client.post("/prompt", json={"prompt": image() | unused})).status == 200


async def test_more_nodes_than_allowed_are_refused_with_the_limit(client: Any) -> None:
    many = {str(i): {"class_type": "EmptyImage", "inputs": {}} for i in range(1_001)}
    response = await client.post("/prompt", json={"prompt": many})
    assert response.status == 400
    assert "1001 nodes; at most 1000" in (await response.text())


async def test_a_larger_prompt_than_allowed_is_refused_with_the_limit(client: Any) -> None:
    body = json.dumps({"prompt": image(filename_prefix="x" * 2**20)}).encode()
    response = await client.post("/prompt", data=io.BytesIO(body))
    assert response.status == 413
    assert "1 MB" in (await response.text())
