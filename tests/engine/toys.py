"""Toy nodes for the engine's tests: numbers instead of pictures, no torch."""

import asyncio
import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from engine import events
from engine.cache import Tiers
from engine.cache.disk import DiskTier
from engine.cache.memory import MemoryTier
from engine.devices import Devices
from engine.files import Files
from engine.node import REQUIRED, node
from engine.plan import Plan
from engine.ports import Blocked, Env, Given, Hidden, Omittable, OneOf, Port, Range, Shown
from engine.problems import NodeFailure, Wrong
from engine.registry import Registry
from engine.runner import Engine, Run
from engine.steps import Lazy, Need, Progress, Steps, Subgraph, call
from engine.workflow import from_json

Number = Annotated[int, Port("NUMBER")]
Anything = Annotated[Any, Port("*")]


@dataclass
class Log:
    """What the toys did: which calls ran, in order."""

    ran: list[Any] = field(default_factory=list)
    stop: Any = None


@dataclass(frozen=True)
class Doubler:
    """A model that doubles; `rows` notes each batch, `weights` tells models apart."""

    weights: str = "a"
    rows: list[list[Any]] = field(default_factory=list, compare=False)
    fits: list[int] = field(default_factory=lambda: [10**9], compare=False)

    def batch_key(self, request: Any) -> Hashable:
        return type(request).__name__

    def answer(self, requests: Sequence[Any]) -> list[Any]:
        self.rows.append(list(requests))
        if len(requests) > self.fits[0]:
            raise MemoryError
        if "bad" in requests:
            raise ValueError("a bad row")
        return [2 * r for r in requests]


@node("Value", category="toys")
def value(*, value: Annotated[int, Range(-1000, 1000)] = 0, log: Annotated[Log, Given()]) -> Number:
    """A number."""
    log.ran.append(("Value", value))
    return value


@node("Add", category="toys")
def add(
    *, a: Number | None = None, b: Number | None = None, c: Number | None = None, plus: int = 0,
    log: Annotated[Log, Given()],
) -> Number:  # fmt: skip
    """A sum, on a host thread."""
    log.ran.append(("Add", plus))
    return (a or 0) + (b or 0) + (c or 0) + plus


@node("AddOnDevice", category="toys", lane="device")
def add_on_device(
    *, a: Number | None = None, b: Number | None = None, c: Number | None = None, plus: int = 0,
    log: Annotated[Log, Given()],
) -> Number:  # fmt: skip
    """A sum, alone on the device."""
    log.ran.append(("AddOnDevice", plus))
    return (a or 0) + (b or 0) + (c or 0) + plus


@node("AddInSteps", category="toys")
def add_in_steps(
    *, a: Number | None = None, b: Number | None = None, c: Number | None = None, plus: int = 0,
    log: Annotated[Log, Given()],
) -> Steps[Number]:  # fmt: skip
    """A sum, with a model call and a report."""
    log.ran.append(("AddInSteps", plus))
    yield Progress(1, 2)
    (doubled,) = yield from call(Doubler(), (a or 0) + (b or 0) + (c or 0))
    return doubled // 2 + plus


@node("AddAsync", category="toys")
async def add_async(
    *, a: Number | None = None, b: Number | None = None, c: Number | None = None, plus: int = 0,
    log: Annotated[Log, Given()],
) -> Number:  # fmt: skip
    """A sum that waits one turn of the loop."""
    await asyncio.sleep(0)
    log.ran.append(("AddAsync", plus))
    return (a or 0) + (b or 0) + (c or 0) + plus


@node("Range", category="toys")
def numbers(*, count: int = 3, start: int = 0) -> list[Number]:
    """A list of numbers."""
    return list(range(start, start + count))


@node("Total", category="toys")
def total(*, values: Sequence[Number]) -> Number:
    """The sum of a list."""
    return sum(values)


@node("Pair", category="toys", outputs=("low", "high"))
def pair(*, a: Number) -> tuple[Number, Number]:
    """Two numbers."""
    return a - 1, a + 1


@node("Show", category="toys", is_output=True)
def show(*, value: Anything, log: Annotated[Log, Given()]) -> Shown[None]:
    """An output."""
    log.ran.append(("Show", value))
    return Shown(None, {"text": [str(value)]})


@node("Show2", category="toys", is_output=True)
def show_many(*, values: Sequence[Anything]) -> Shown[None]:
    """An output that takes a list whole."""
    return Shown(None, {"text": [str(list(values))]})


@node("Save", category="toys", is_output=True)
def save(
    *, value: Number, prefix: str = "n", prompt: Annotated[Any, Hidden("PROMPT")] = None,
    files: Annotated[Files, Given()],
) -> Shown[None]:  # fmt: skip
    """Write a number to the output folder."""
    return Shown(None, {"texts": [files.write("output", prefix, ".txt", str(value).encode()).as_link()]})


@node("Fail", category="toys")
def fail(*, a: Number | None = None, log: Annotated[Log, Given()]) -> Number:
    """Raise."""
    log.ran.append(("Fail", a))
    raise ValueError("out of order")


@node("FailOn", category="toys")
def fail_on(*, a: Number, bad: int = 1) -> Number:
    """Raise for one value."""
    if a == bad:
        raise NodeFailure("this value is bad", "take another")
    return a


@node("Switch", category="toys")
def switch(*, yes: Lazy[Number], no: Lazy[Number], take: Number) -> Steps[Number]:
    """One of two inputs; the other is not computed."""
    return (yield from yes) if take else (yield from no)


@node("LazyTotal", category="toys")
def lazy_total(*, values: Lazy[Sequence[Number]]) -> Steps[Number]:
    """The sum of a lazy list."""
    return sum((yield from values)) + 1


@node("Block", category="toys")
def block(*, a: Number, bad: int = 1, message: str = "") -> Number:
    """Block one value."""
    return Blocked(message or None) if a == bad else a  # type: ignore[return-value]


@node("Volatile", category="toys", volatile=True)
def volatile(*, log: Annotated[Log, Given()]) -> Number:
    """Another number each time."""
    log.ran.append(("Volatile", len(log.ran)))
    return len(log.ran)


@node("Countdown", category="toys")
def countdown(*, n: Number, so_far: Number, me: Annotated[str, Hidden("UNIQUE_ID")] = "") -> Steps[Number]:
    """Sum n + (n - 1) + … by tail recursion."""
    if n == 0:
        return so_far
    nodes = {
        f"{me}.n": {"class_type": "Add", "inputs": {"a": {"__value__": n}, "plus": -1}},
        f"{me}.s": {"class_type": "Add", "inputs": {"a": {"__value__": so_far}, "plus": n}},
        f"{me}.r": {"class_type": "Countdown", "inputs": {"n": [f"{me}.n", 0], "so_far": [f"{me}.s", 0]}},
    }
    ((last,),) = yield Subgraph(nodes, ([f"{me}.r", 0],))
    return last


GROW: dict[str, Any] = {}
"""What `Grow` asks for, by its `what`."""


@node("Grow", category="toys")
def grow(*, what: str, a: Number | None = None) -> Steps[Anything]:
    """Ask for the nodes that a test put into `GROW`."""
    found = yield GROW[what]
    return found


@node("Odd", category="toys")
def odd(*, what: Literal["ask", "need", "exit", "key", "count", "list"] = "ask") -> Steps[list[Number]]:
    """Misbehave."""
    if what == "ask":
        yield "something else"  # type: ignore[misc]
    if what == "need":
        yield Need("nothing of this name")
    if what == "exit":
        raise SystemExit(3)
    if what == "key":
        yield from call(Unkeyed(), 1)
    if what == "count":
        yield from call(Short(), 1)
    return 7  # type: ignore[return-value]


class Unkeyed:
    def batch_key(self, request: Any) -> Hashable:
        raise KeyError(request)

    def answer(self, requests: Sequence[Any]) -> list[Any]:
        return list(requests)


class Short(Unkeyed):
    def batch_key(self, request: Any) -> Hashable:
        return 0

    def answer(self, requests: Sequence[Any]) -> list[Any]:
        return []


@node("Exit", category="toys")
def exits(*, a: Number | None = None) -> Number:
    """A node that calls sys.exit."""
    raise SystemExit(3)


@node("Endless", category="toys")
def endless(*, log: Annotated[Log, Given()]) -> Steps[Number]:
    """Go on until stopped; the third step calls `log.stop`."""
    try:
        for step in itertools.count(1):
            yield Progress(step, 10)
            yield from call(Doubler(), step)
            if step == 3:
                log.stop()
    finally:
        log.ran.append("closed")
    return 0


@node("EndlessAsync", category="toys")
async def endless_async(*, log: Annotated[Log, Given()]) -> Number:
    """Wait for ever; asks to be stopped first."""
    log.stop()
    await asyncio.Event().wait()
    return 0


@dataclass
class Meeting:
    """Two async nodes that can only end together."""

    barrier: Any = None


@node("Meet", category="toys")
async def meet(*, who: int = 0, meeting: Annotated[Meeting, Given()]) -> Number:
    """Wait for the other."""
    meeting.barrier = meeting.barrier or asyncio.Barrier(2)
    await meeting.barrier.wait()
    return who


def texts(env: Env) -> list[str]:
    return env[Files].names("input", (".txt",))


def text_missing(*, name: str, files: Files) -> Iterator[Wrong]:
    role, _, bare = ("output", "", name.removesuffix(" [output]")) if " [" in name else ("input", "", name)
    try:
        files.find(role, bare)
    except NodeFailure as failure:
        yield Wrong("name", failure.message, failure.hint)


def text_digest(*, name: str, files: Files) -> str:
    return files.digest("input", name)


@node("Read", category="toys", check=text_missing, fingerprint=text_digest)
def read(*, name: Annotated[str, OneOf(texts, role="input")], files: Annotated[Files, Given()]) -> Number:
    """A number from a file."""
    return int(files.find("input", name).read_text())


def checkpoints(env: Env) -> list[str]:
    return env[Files].names("checkpoints")


@node("Load", category="toys")
def load_model(*, name: Annotated[str, OneOf(checkpoints, role="checkpoints")]) -> Number:
    """A file of a folder that the node does not check itself."""
    return len(name)


def even_only(*, n: int) -> Iterator[str]:
    if n % 2:
        yield f"{n} is odd"


@node("Widgets", category="toys", check=even_only)
def widgets(
    *, n: Annotated[int, Range(0, 10)], x: Annotated[float, Range(0.0, 1.0)] = 0.5, text: str = "",
    flag: bool = False, choice: Literal["red", "green"] = "red", left: Annotated[int, Omittable()] = 3,
) -> Number:  # fmt: skip
    """All widgets."""
    return n


TOYS = [
    value, add, add_on_device, add_in_steps, add_async, numbers, total, pair, show, show_many, save,
    fail, fail_on, switch, lazy_total, block, volatile, countdown, grow, odd, exits, endless,
    endless_async, meet, read, load_model, widgets,
]  # fmt: skip
REGISTRY = Registry().with_nodes(*TOYS)  # type: ignore[arg-type]


def n(class_type: str, **inputs: Any) -> dict[str, Any]:
    """A node of API JSON, with the defaults of its widgets."""
    declared = REGISTRY.nodes[class_type].inputs if class_type in REGISTRY.nodes else ()
    widgets = {v.name: v.default for v in declared if v.is_widget and v.default is not REQUIRED}
    return {"class_type": class_type, "inputs": widgets | inputs}


class World:
    """An engine with toy nodes in a folder of its own, and what it did."""

    def __init__(
        self, base: Path, *, memory: bool = False, disk: bool = False, exact: bool = False, worth: float = 0.0
    ) -> None:
        self.base, self.log = base, Log()
        kept: list[Any] = [MemoryTier(2**20)] if memory else []
        if disk:
            kept.append(DiskTier(base / "cache", 2**26, worth=worth))
        self.tiers = Tiers(kept)
        memo = kept[-1] if disk else None
        self.files = Files.under(base, memo=memo)
        self.env = Env(self.files, self.log, Meeting(), Devices("cpu"))
        self.engine = Engine(REGISTRY, self.env, self.tiers, exact=exact)
        self.events: list[events.Event] = []

    def plan(self, graph: Mapping[str, Any], targets: Sequence[str] | None = None) -> Plan:
        return self.engine.plan(from_json(dict(graph)), targets)

    def run(
        self, graph: Mapping[str, Any], targets: Sequence[str] | None = None, *, stop_at_failure: bool = False
    ) -> Run:
        """Run a graph; `log` and `events` hold what happened in this run only."""
        self.log.ran.clear()
        self.events.clear()
        job = self.engine.start(
            self.plan(graph, targets), self.events.append, stop_at_failure=stop_at_failure
        )
        self.log.stop = job.cancel
        return asyncio.run(asyncio.wait_for(self.engine.finish(job), 60))

    def run_together(self, *graphs: Mapping[str, Any]) -> list[Run]:
        """Run several graphs at once."""

        async def all_of_them() -> list[Run]:
            jobs = [self.engine.start(self.plan(g), self.events.append) for g in graphs]
            return await asyncio.wait_for(asyncio.gather(*map(self.engine.finish, jobs)), 60)

        self.events.clear()
        return asyncio.run(all_of_them())

    def told(self, kind: type) -> list[Any]:
        return [e for e in self.events if isinstance(e, kind)]

    def texts(self) -> list[str]:
        """What was shown, in order."""
        shown = [e.ui for e in self.events if isinstance(e, events.NodeFinished | events.NodeCached)]
        return [t for ui in shown for t in ui.get("text", [])]

    def close(self) -> None:
        self.engine.close()
        for tier in self.tiers.tiers:
            if isinstance(tier, DiskTier):
                tier.close()
