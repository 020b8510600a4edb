"""The shipped workflows, and an engine that runs them as `latentgraph run` does."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image

from engine.cache.disk import DiskTier
from engine.config import Settings, make_env, open_tiers
from engine.events import Event
from engine.registry import installed
from engine.runner import Engine, Run
from engine.workflow import Workflow, load
from nodes import PACK

assert PACK.workflows is not None
PATHS: Mapping[str, Path] = {path.stem: path for path in sorted(PACK.workflows.glob("*.json"))}


def titled(workflow: Workflow, title: str) -> str:
    """The id of the node with this title."""
    (id,) = [id for id, node in workflow.nodes.items() if node.title == title]
    return id


@dataclass(frozen=True)
class Finished:
    """A run with what it told on the way."""

    run: Run
    events: Sequence[Event]

    @property
    def files(self) -> list[Path]:
        """What it wrote or had written."""
        return [Path(output["path"]) for output in self.run.outputs]

    @property
    def picture(self) -> np.ndarray:
        """Its first picture, [H, W, 3] uint8."""
        return np.asarray(Image.open(self.files[0]).convert("RGB"))


class Studio:
    """An engine with its own base directory and disk cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        settings = Settings(base_directory=folder, cache=folder / "cache", device="cpu")
        registry = installed()
        self.tiers = open_tiers(settings)
        self.engine = Engine(registry, make_env(settings, registry, self.tiers), self.tiers)

    def __enter__(self) -> "Studio":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.engine.close()
        for tier in self.tiers.tiers:
            if isinstance(tier, DiskTier):
                tier.close()

    def run(self, workflow: str | Workflow, sets: Mapping[str, Any] | None = None) -> Finished:
        """Run one workflow, by shipped name or as it is."""
        return self.run_all([(workflow, sets or {})])[0]

    def run_all(self, wanted: Iterable[tuple[str | Workflow, Mapping[str, Any]]]) -> list[Finished]:
        """Run workflows with inputs set, 16 at a time, together: their model calls share batches."""
        pairs = list(wanted)
        return [f for i in range(0, len(pairs), 16) for f in asyncio.run(self._together(pairs[i : i + 16]))]

    async def _together(self, pairs: Sequence[tuple[str | Workflow, Mapping[str, Any]]]) -> list[Finished]:
        return list(await asyncio.gather(*(self._one(*pair) for pair in pairs)))

    async def _one(self, workflow: str | Workflow, sets: Mapping[str, Any]) -> Finished:
        told: list[Event] = []
        loaded = workflow if isinstance(workflow, Workflow) else load(PATHS[workflow])
        plan = self.engine.plan(loaded.with_inputs(sets))
        run = await self.engine.finish(self.engine.start(plan, told.append))
        assert run.status == "success", run.failures
        return Finished(run, told)

    def pictures(self, workflow: str | Workflow, settings: Iterable[Mapping[str, Any]]) -> np.ndarray:
        """The pictures [N, H, W, 3] in 0..1 that a workflow makes with each of the settings."""
        finished = self.run_all((workflow, sets) for sets in settings)
        return np.stack([f.picture for f in finished]).astype(np.float32) / 255

    def add_input(self, name: str, picture: Image.Image) -> str:
        """Put a picture into the input folder; its name."""
        path = self.folder / "input" / name
        path.parent.mkdir(exist_ok=True)
        picture.save(path)
        return name
