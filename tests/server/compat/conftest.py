"""Fixtures of the tests of packs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from packworld import PACKS, World

from engine.devices import Devices
from engine.files import Files
from engine.ports import Env
from engine.registry import Registry
from server.compat.host import host_of
from server.compat.packs import Packs, load_packs


@pytest.fixture(scope="session")
def packs(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> tuple[Packs, Env, Path]:
    base = tmp_path_factory.mktemp("packs")
    env = Env(Files.under(base), Devices("cpu"))
    return load_packs([PACKS], registry, host_of(env, base)), env, base


@pytest.fixture
def world(packs: tuple[Packs, Env, Path]) -> Iterator[World]:
    loaded, env, base = packs
    world = World(base, loaded, env)
    yield world
    world.engine.close()
