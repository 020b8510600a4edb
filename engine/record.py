"""What made an output: results, files, seeds, versions, device; written into it beside the workflow.

It is the same whenever the same is run in the same surroundings, from the cache or not, so that files keep
their bytes (docs/decisions/0004-results-are-digested.md).
"""

import contextlib
import json
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

from blake3 import blake3
from pydantic import BaseModel, ConfigDict, Field, field_validator

from engine.cache import PASSING
from engine.devices import Devices, Precision
from engine.files import Files
from engine.graph import GraphNode
from engine.groups import LADDER
from engine.node import REQUIRED
from engine.plan import Plan
from engine.ports import Env, Hint
from engine.problems import NodeFailure
from engine.trail import Note, Rungs

PACKAGES = ("latentgraph", "torch", "diffusers", "transformers", "spandrel", "numpy", "pillow")
CHUNK = "latentgraph"
"""The name under which a file carries its record."""


@dataclass(frozen=True)
class Surroundings:
    """What results may depend on to the last bit, beside the workflow and its files.

    Args:
        device: As torch spells it.
        device_name: The processor, and what instructions torch uses on it; or the GPU.
        threads: Host threads that an operation is split over, which changes the order of sums.
        precision: The type that networks were told to compute in.
    """

    versions: Mapping[str, str]
    device: str = "cpu"
    device_name: str = ""
    threads: int = 0
    precision: Precision = "auto"

    @cached_property
    def digest(self) -> str:
        """Tells surroundings apart: 16 hex digits."""
        return blake3(json.dumps(self._all, sort_keys=True).encode()).hexdigest(8)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """As a record has them: without what is as usual."""
        usual = Surroundings({})
        return {k: v for k, v in self._all.items() if k == "device" or v != getattr(usual, k)}

    @property
    def _all(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


class Record(BaseModel):
    """The record of a run, or of one file that it wrote.

    Args:
        targets: The output nodes: of a file the one that wrote it.
        keys: By node id, of what the targets are made of; without output nodes, whose keys hold the output
            folder, and without what is another each time.
        results: Digests of the nodes' results; those whose values have no codec (models) are left out.
        rungs: How the rows of the nodes' model calls were batched.
        dtypes: What their models computed in.
        elsewhere: Nodes whose result came from a cache that was filled in other surroundings.
        files: Content hashes of the files that the nodes name, by "role/name".
        filled: Inputs that the workflow leaves out, and the defaults that stood in.
        seeds: By node id and input.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    targets: tuple[str, ...] = ()
    keys: dict[str, str] = {}
    results: dict[str, str] = {}
    rungs: dict[str, Rungs] = {}
    dtypes: dict[str, str] = {}
    elsewhere: tuple[str, ...] = ()
    files: dict[str, str] = {}
    filled: dict[str, dict[str, Any]] = {}
    seeds: dict[str, dict[str, Any]] = {}
    versions: dict[str, str] = {}
    device: str = "cpu"
    device_name: str = ""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    precision: Precision = "auto"

    @field_validator("rungs")
    @classmethod
    def _on_the_ladder(cls, rungs: dict[str, Rungs]) -> dict[str, Rungs]:
        for found in rungs.values():
            runs = [[found, 1]] if isinstance(found, int) else [run for call in found for run in call]
            if any(len(run) != 2 or run[0] not in LADDER or run[1] < 0 for run in runs):
                raise ValueError(f"batch rungs are {LADDER}")
        return rungs

    @property
    def surroundings(self) -> Surroundings:
        """The versions and the device."""
        return Surroundings(self.versions, self.device, self.device_name, self.threads, self.precision)

    def as_json(self) -> dict[str, Any]:
        """As JSON, without what is empty."""
        return self.model_dump(mode="json", exclude_defaults=True) | {"device": self.device}


class Recorder:
    """Makes the records of one run."""

    def __init__(self, plan: Plan, env: Env) -> None:
        self._plan, self._env = plan, env
        self._digests: dict[tuple[str, str], str | None] = {}

    @cached_property
    def surroundings(self) -> Surroundings:
        """Where this process computes; found out when the first node has run."""
        return surroundings(self._env[Devices] if Devices in self._env else Devices("cpu"))

    def facts(self, targets: Iterable[str], notes: Mapping[str, Note]) -> dict[str, Any]:
        """The record of what some output nodes show, as `Record.as_json`: every output of a run takes one.

        Args:
            notes: Of what they are made of, by key.
        """
        keys, ids, here = self._plan.keys, tuple(targets), self.surroundings
        nodes = [self._plan.graph.nodes[id] for id in self._plan.graph.upstream(ids)]
        made_of = {n.id: keys[n.id] for n in nodes if not n.node.is_output}
        lasting = {id: key for id, key in made_of.items() if not key.startswith(PASSING)}
        known = {id: notes[key] for id, key in lasting.items() if key in notes}
        made = here.digest
        facts: dict[str, Any] = {
            "targets": list(ids),
            "keys": lasting,
            "results": {id: n.digest for id, n in known.items() if n.digest},
            "rungs": {id: n.rungs for id, n in known.items() if n.rungs is not None},
            "dtypes": {id: n.dtype for id, n in known.items() if n.dtype},
            "elsewhere": [id for id, n in known.items() if n.made != made],
            "files": dict(self._files(n.id for n in nodes)),
            "filled": {n.id: found for n in nodes if (found := filled(n))},
            "seeds": {n.id: found for n in nodes if (found := _seeds(n))},
        }
        return {k: v for k, v in facts.items() if v} | here.facts

    def _files(self, ids: Iterable[str]) -> Iterator[tuple[str, str]]:
        if Files not in self._env:
            return
        for role, name in self._plan.files(ids):
            if (role, name) not in self._digests:
                found = None
                with contextlib.suppress(NodeFailure, OSError):  # a choice that is no file, a built-in name
                    found = self._env[Files].digest(role, name)
                self._digests[role, name] = found
            if (digest := self._digests[role, name]) is not None:
                yield f"{role}/{name}", digest


def filled(node: GraphNode) -> dict[str, Any]:
    """The inputs that a workflow leaves out, and the defaults that stand in for them."""
    return {
        value.name: value.default
        for value in node.node.inputs
        if value.name not in node.literals
        and value.name not in node.links
        and value.default is not REQUIRED
        and isinstance(value.default, bool | int | float | str)
        and not value.hidden
    }


def _seeds(node: GraphNode) -> dict[str, Any]:
    ports = (v.name for v in node.node.inputs if Hint("control_after_generate") in v.facts)
    return {name: node.literals[name] for name in ports if isinstance(node.literals.get(name), int)}


def surroundings(devices: Devices) -> Surroundings:
    """What results depend on in this process, where these devices compute."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None
    return _surroundings(devices.device, devices.precision, threads, PACKAGES)


@cache
def _surroundings(
    device: str, precision: Precision, threads: int | None, packages: tuple[str, ...]
) -> Surroundings:
    """The same; threads are None where torch is not loaded."""
    versions = {name: found for name in packages if (found := _version(name))}
    if threads is None:
        return Surroundings(versions, device, _processor(), precision=precision)
    torch = sys.modules["torch"]
    if device.startswith("cuda"):
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{_processor()} {torch.backends.cpu.get_cpu_capability()}"
    return Surroundings(versions, device, name, threads, precision)


@cache
def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
