"""Comparing a run with the record of an earlier one: what stands in the way, and which node differs first."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from blake3 import blake3

from engine.cache.codec import digest
from engine.files import Files
from engine.graph import GraphNode
from engine.plan import Plan
from engine.ports import Env, OneOf
from engine.problems import NodeFailure, Problem
from engine.record import Record, Surroundings
from engine.recorded import Recorded
from engine.runner import Run

TOLERANCE = 8 / 255
"""In other surroundings no value of a picture (0..1) may be further off; there are no bits to compare."""

Status = Literal["same", "close", "differs", "error", "cancelled"]


@dataclass(frozen=True)
class SavedValues:
    """Reads the values back out of a file that an output node wrote; a pack provides it.

    Args:
        read: A tensor with numbers in 0..1 where they are pixels; None for a file that it does not know.
    """

    read: Callable[[bytes], Any]


@dataclass(frozen=True)
class Change:
    """Something that results may depend on and that is another now."""

    what: str
    recorded: str
    found: str


@dataclass(frozen=True)
class Verdict:
    """Whether a node gave what it gave before: digests of its results, or of the file that it wrote."""

    node_id: str
    class_type: str
    title: str
    same: bool
    recorded: str
    found: str | None


@dataclass(frozen=True)
class Replayed:
    """What came of a replay.

    Args:
        verdicts: Of each node with a recorded result, sources first; then of output nodes, by their files.
        changes: What the results may depend on beside the workflow; where there is any, results are compared
            within `TOLERANCE`.
        largest: How far the values of the written files are apart at most; None where none could be compared.
    """

    verdicts: tuple[Verdict, ...]
    changes: tuple[Change, ...]
    largest: float | None

    @property
    def first(self) -> Verdict | None:
        """The first node that gave something else."""
        return next((v for v in self.verdicts if not v.same), None)

    @property
    def status(self) -> Status:
        """Same to the bit; or close, which is enough in other surroundings; or not."""
        if self.first is None:
            return "same"
        near = self.largest is not None and self.largest <= TOLERANCE
        return "close" if self.changes and near else "differs"


@dataclass
class Hashes:
    """Content hashes of files, remembered in this process only: a replay reads every file again."""

    known: dict[tuple[str, str], str] = field(default_factory=dict)

    def recall(self, path: str, stamp: str) -> str | None:
        """The hash of a file that this process has read."""
        return self.known.get((path, stamp))

    def remember(self, path: str, stamp: str, digest: str) -> None:
        """Keep the hash of a file."""
        self.known[path, stamp] = digest


def hindrances(record: Record, files: Files, plan: Plan | None) -> list[Problem]:
    """Why a replay cannot be the same run: model files, inputs and nodes that are others now.

    Args:
        plan: Of the recorded workflow; None where that cannot be planned, which has its own problems.
    """
    problems = []
    changed: set[str] = set()
    for name, before in record.files.items():
        now = _digest(files, name)
        if now is not None and now != before:
            changed.add(name)
            message = f"the file {name} is another: recorded {before[:12]}…, found {now[:12]}…"
            users = [n for n in plan.graph.nodes.values() if name in _file_names(n)] if plan else []
            place = (users[0].id, users[0].node.name) if users else ("", "")
            hint = "put the recorded file back"
            problems.append(Problem("changed_file", message, *place, hint=hint, value=name))
    return problems if plan is None else problems + list(_changed_nodes(record, plan, changed))


def _digest(files: Files, name: str) -> str | None:
    role, _, rest = name.partition("/")
    try:
        return files.digest(role, rest)
    except (NodeFailure, OSError):  # a missing file is a problem of the plan, which says where it is named
        return None


def _changed_nodes(record: Record, plan: Plan, changed: set[str]) -> Iterator[Problem]:
    """Nodes whose key is another though nothing before them changed."""
    version = record.versions.get("latentgraph", "of unknown version")
    hint = f"latentgraph {version} made it; `latentgraph run` runs it as it is now"
    for id in record.keys.keys() - plan.keys.keys():
        yield Problem("changed_node", f"the record has a node {id}, the workflow has not", id, hint=hint)
    other: set[str] = set()
    for id in plan.graph.needed(plan.targets):
        node = plan.graph.nodes[id]
        explained = bool(changed & set(_file_names(node))) or any(
            link.node_id in other for link in node.links.values()
        )
        differs = id in record.keys and record.keys[id] != plan.keys[id]
        if differs and not explained:
            message = "the node is not as recorded: its inputs, its version or a file that it reads changed"
            yield Problem("changed_node", message, id, node.node.name, hint=hint)
        if differs or explained:
            other.add(id)


def _file_names(node: GraphNode) -> Iterator[str]:
    for value in node.node.inputs:
        one_of = value.fact(OneOf)
        if one_of and one_of.role:
            yield f"{one_of.role}/{node.literals.get(value.name)}"


def changes(record: Record, here: Surroundings) -> tuple[Change, ...]:
    """Versions and the device where they are others now, and results that were made elsewhere even then."""
    before = record.surroundings
    names = sorted(before.versions.keys() | here.versions.keys())
    pairs = [(name, before.versions.get(name, "none"), here.versions.get(name, "none")) for name in names]
    pairs.append(("device", before.device_name or before.device, here.device_name or here.device))
    pairs.append(("threads", str(before.threads), str(here.threads)))
    found = [Change(*pair) for pair in pairs if pair[1] != pair[2]]
    if record.elsewhere:
        nodes = ", ".join(record.elsewhere)
        found.append(Change("cache", f"nodes {nodes} from other versions or another device", "all made anew"))
    return tuple(found)


def adopt_threads(record: Record) -> None:
    """Split operations over as many host threads as the recorded run did: that decides the order of sums."""
    torch = sys.modules.get("torch")
    if torch is not None and record.threads:
        torch.set_num_threads(record.threads)


def compared(before: Recorded, plan: Plan, run: Run, found: tuple[Change, ...], env: Env) -> Replayed:
    """Compare a run with the recorded one, node by node, then what they wrote."""
    read = env[SavedValues].read if SavedValues in env else lambda _: None
    now = run.record().results
    digests, nodes = before.record.results, plan.graph.nodes
    order = [id for id in plan.graph.needed(plan.targets) if id in digests]
    verdicts = [_verdict(nodes[id], digests[id], now.get(id)) for id in order]
    distances: list[float | None] = []
    for id, content in before.files:
        written = [Path(o["path"]).read_bytes() for o in run.outputs if o["node"] == id]
        if id not in nodes or not written:
            continue
        apart, as_before, as_now = _nearest(content, written, read)
        verdicts.append(_verdict(nodes[id], as_before, as_now))
        distances.append(apart)
    known = [apart for apart in distances if apart is not None]
    largest = max(known) if known and len(known) == len(distances) else None
    return Replayed(tuple(verdicts), found, largest)


def _verdict(node: GraphNode, before: str, now: str | None) -> Verdict:
    return Verdict(node.id, node.node.name, node.title, before == now, before, now)


def _nearest(
    content: bytes, written: Iterable[bytes], read: Callable[[bytes], Any]
) -> tuple[float | None, str, str]:
    """How far a file's values are from those of the nearest written one, and digests of both."""
    before = read(content)
    found: list[tuple[float | None, str, str]] = []
    for other in written:
        now = None if before is None else read(other)
        if before is None or now is None:
            found.append((None, blake3(content).hexdigest(16), blake3(other).hexdigest(16)))
        else:
            alike = before.shape == now.shape
            apart = float((before.double() - now.double()).abs().max()) if alike else None
            found.append((apart, str(digest(before)), str(digest(now))))
    return min(found, key=lambda f: (f[1] != f[2], float("inf") if f[0] is None else f[0]))


def as_lines(replayed: Replayed, status: Status) -> Iterator[Mapping[str, Any]]:
    """The lines of `--json`: what changed around, each node, the end."""
    for change in replayed.changes:
        yield {"event": "changed", "what": change.what, "recorded": change.recorded, "found": change.found}
    for verdict in replayed.verdicts:
        yield {"event": "node", **vars(verdict)}
    yield {
        "event": "finished",
        "status": status,
        "bit_for_bit": not replayed.changes,
        "first_difference": vars(replayed.first) if replayed.first else None,
        "largest_difference": replayed.largest,
        "tolerance": TOLERANCE if replayed.changes else 0.0,
    }
