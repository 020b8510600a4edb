"""A small picture workflow of toy nodes, with all kinds of inputs that a batch varies."""

from pathlib import Path
from typing import Annotated, Any, Literal

from toys import REGISTRY as TOYS
from toys import Doubler, Log, Number

from engine.cache import Tier, Tiers
from engine.cache.memory import MemoryTier
from engine.devices import Devices
from engine.files import Files
from engine.node import node
from engine.ports import Env, Given, Hint, Range, Shown
from engine.runner import Engine
from engine.steps import Lazy, Steps, call
from engine.workflow import Workflow, from_json

Seed = Annotated[int, Range(0, 2**64 - 1), Hint("control_after_generate")]


@node("Loader", category="toys")
def loader(*, name: Literal["small", "large"] = "small", log: Annotated[Log, Given()]) -> Number:
    """A model."""
    log.ran.append(("Loader", name))
    return len(name)


@node("Encode", category="toys")
def encode(*, text: str, model: Number, log: Annotated[Log, Given()]) -> Steps[Number]:
    """A text as a number."""
    log.ran.append(("Encode", text))
    (doubled,) = yield from call(Doubler("text"), len(text) + model)
    return doubled


@node("Sample", category="toys")
def sample(
    *,
    seed: Seed = 0,
    steps: Annotated[int, Range(1, 100)] = 2,
    cfg: Annotated[float, Range(0.0, 100.0)] = 4.0,
    prompt: Number,
    negative: Number,
    log: Annotated[Log, Given()],
) -> Steps[Number]:
    """A sample."""
    log.ran.append(("Sample", seed, steps, cfg))
    total = 0
    for step in range(steps):
        (doubled,) = yield from call(Doubler("sample"), seed + step + prompt - negative)
        total += doubled
    return total


@node("Decode", category="toys")
def decode(*, samples: Number, log: Annotated[Log, Given()]) -> Steps[Number]:
    """A picture."""
    log.ran.append(("Decode", samples))
    (doubled,) = yield from call(Doubler("decode"), samples)
    return doubled


@node("Either", category="toys")
def either(*, first: Lazy[Number], second: Lazy[Number], take: bool = True) -> Steps[Number]:
    """One of two; the other is not made."""
    return (yield from first) if take else (yield from second)


@node("Keep", category="toys", is_output=True)
def keep(*, filename_prefix: str = "kept", picture: Number, files: Annotated[Files, Given()]) -> Shown[None]:
    """Write a number."""
    return Shown(
        None, {"texts": [files.write("output", filename_prefix, ".txt", str(picture).encode()).as_link()]}
    )


REGISTRY = TOYS.with_nodes(loader, encode, sample, decode, either, keep)


def titled(title: str, class_type: str, **inputs: Any) -> dict[str, Any]:
    """A node of API JSON with a title."""
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": title}}


GRAPH = {
    "1": titled("Checkpoint", "Loader", name="small"),
    "2": titled("Prompt", "Encode", text="a house", model=["1", 0]),
    "3": titled("Negative prompt", "Encode", text="", model=["1", 0]),
    "5": titled("Sampler", "Sample", seed=1, steps=2, cfg=4.5, prompt=["2", 0], negative=["3", 0]),
    "6": titled("Decode", "Decode", samples=["5", 0]),
    "7": titled("Save", "Keep", filename_prefix="pictures/toy", picture=["6", 0]),
}


def workflow(**more: dict[str, Any]) -> Workflow:
    """The workflow, with more nodes or others in place of its own ("n7" for node 7)."""
    return from_json(GRAPH | {id.removeprefix("n"): saved for id, saved in more.items()})


class Bench:
    """An engine with these nodes in a folder of its own."""

    def __init__(self, base: Path, *tiers: Tier) -> None:
        self.base, self.log = base, Log()
        kept = tiers or (MemoryTier(2**24),)
        self.engine = Engine(REGISTRY, Env(Files.under(base), self.log, Devices("cpu")), Tiers(kept))

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.close()
