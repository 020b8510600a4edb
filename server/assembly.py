"""What runs jobs, put together from the settings: nodes (those of custom packs too), files, cache, engine."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.cache.disk import DiskTier
from engine.cache.memory import MemoryTier
from engine.config import Settings, make_env, open_tiers
from engine.devices import Devices
from engine.files import Files
from engine.registry import Registry, installed
from engine.runner import Engine
from server.compat.host import host_of
from server.compat.packs import Packs, load_packs
from server.config import ServerSettings


@dataclass(frozen=True)
class Assembly:
    """An engine and the custom packs that it knows."""

    engine: Engine
    packs: Packs


@contextmanager
def assembled(
    settings: Settings, server: ServerSettings, registry: Registry | None = None
) -> Iterator[Assembly]:
    """An engine, until the block ends.

    Args:
        registry: The nodes; None for those of the installed packs.
    """
    registry = registry or installed()
    tiers = open_tiers(settings)
    with contextlib.ExitStack() as stack:
        for tier in tiers.tiers:
            if isinstance(tier, DiskTier):
                stack.callback(tier.close)
        env = make_env(settings, registry, tiers)
        folders = custom_folders(env[Files], server)
        packs = Packs(registry)
        if folders:
            host = host_of(env, settings.base_directory)
            packs = load_packs(folders, registry, host)
        engine = Engine(packs.registry, env, tiers)
        stack.callback(engine.close, wait=False)  # its jobs have ended or were put back
        yield Assembly(engine, packs)


def custom_folders(files: Files, server: ServerSettings) -> list[Path]:
    """The folders of custom packs that the user named: in the settings, or in the model paths' file."""
    return [*server.custom_nodes, *files.folders.get("custom_nodes", ())]


def freed(engine: Engine, results: bool) -> dict[str, int]:
    """Unload models, and drop results that are kept in memory if asked to; gives the bytes freed."""
    found = {"models": engine.env[Devices].free(), "results": 0}
    for tier in engine.tiers.tiers if results else ():
        if isinstance(tier, MemoryTier):
            found["results"] += tier.used
            tier.clear()
    return found
