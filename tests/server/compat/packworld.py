"""An engine with two packs of our own, for the tests of packs, and what the packs did."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engine import events
from engine.cache import Tiers
from engine.cache.memory import MemoryTier
from engine.ports import Env
from engine.problems import WorkflowError
from engine.runner import Engine, Run
from engine.running import RunInfo
from engine.workflow import from_json
from server.compat.packs import Packs

PACKS = Path(__file__).parent / "packs"


class World:
    """An engine with packs in a folder of its own."""

    def __init__(self, base: Path, packs: Packs, env: Env) -> None:
        self.base, self.packs, self.env = base, packs, env
        self.engine = Engine(packs.registry, env, Tiers([MemoryTier(2**26)]))
        self.events: list[events.Event] = []
        self.log: list[Any] = sys.modules[f"{module_name('first')}.values"].LOG
        self.info = RunInfo("the prompt", {"AUTH_TOKEN_COMFY_ORG": "token"})
        self.on_event: Any = lambda job, event: None

    def run(self, graph: Mapping[str, Any], targets: list[str] | None = None) -> Run:
        """Run a graph; `log` and `events` hold what happened in this run only."""
        self.events.clear()
        self.log.clear()
        plan = self.engine.plan(from_json(dict(graph)), targets)

        def listen(event: events.Event) -> None:
            self.events.append(event)
            self.on_event(self.job, event)

        self.job = self.engine.start(plan, listen, stop_at_failure=True, env=self.env.with_(self.info))
        return asyncio.run(asyncio.wait_for(self.engine.finish(self.job), 60))

    def problems(self, graph: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        with pytest.raises(WorkflowError) as caught:
            self.engine.plan(from_json(dict(graph)))
        return [(p.code, p.input, p.message) for p in caught.value.problems]

    def texts(self) -> list[str]:
        """What was shown, in order."""
        shown = [e.ui for e in self.events if isinstance(e, events.NodeFinished | events.NodeCached)]
        return [t for ui in shown for t in ui.get("text", [])]

    def told(self, kind: type) -> list[Any]:
        return [e for e in self.events if isinstance(e, kind)]

    def started(self) -> list[str]:
        return [e.node_id for e in self.told(events.NodeStarted)]


def module_name(pack: str) -> str:
    return str(PACKS / pack).replace(".", "_x_")


def n(class_type: str, **inputs: Any) -> dict[str, Any]:
    """A node of API JSON."""
    return {"class_type": class_type, "inputs": inputs}
