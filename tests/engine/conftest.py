"""Fixtures of the engine's tests: an engine with toy nodes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from toys import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An engine without a cache."""
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[World]:
    """An engine with both cache tiers."""
    world = World(tmp_path, memory=True, disk=True)
    yield world
    world.close()
