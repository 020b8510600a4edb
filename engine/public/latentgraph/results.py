"""How a run ended: its pictures, latents and files, what each node gave, what went wrong."""

import base64
import functools
import html
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import PIL.Image
from PIL.ImageSequence import Iterator as Frames
from torch import Tensor

from engine import events
from engine.cache import Result as Kept
from engine.graph import Graph as BoundGraph
from engine.plan import Plan
from engine.runner import Run
from latentgraph.graph import Output, node_id
from nodes.image_files import pictures
from nodes.ports import Latent

T = TypeVar("T")
SHOWN = 64
"""The most pictures that a notebook shows of one result or list."""
THUMBNAIL = 256
"""The longest side, in pixels, of a picture as a notebook shows it."""


class NodeFailed(Exception):
    """Nodes of a run failed: which, with what inputs, why, and what to do.

    Args:
        failures: Each failed node.
        result: What the run gave nevertheless; None where it was asked for a single node's result.
    """

    def __init__(self, failures: Iterable[events.NodeFailed], result: "Result | None" = None) -> None:
        self.failures, self.result = tuple(failures), result
        super().__init__("\n".join(map(_failure, self.failures)))


def _failure(failure: events.NodeFailed) -> str:
    title = f' "{failure.title}"' if failure.title else ""
    text = f"node {failure.node_id} ({failure.class_type}){title} failed: {failure.message}"
    return text + (f"; {failure.hint}" if failure.hint else "")


class Images(list[PIL.Image.Image]):
    """Pictures, which a notebook shows side by side."""

    def _repr_html_(self) -> str:
        return _grid(self)


@dataclass(frozen=True, eq=False)
class NodeResult:
    """What one node gave.

    Args:
        outputs: For each output the list of its values: one, unless the node or one before it makes a list.
        shown: The pictures among the files that it shows.
    """

    outputs: tuple[list[Any], ...]
    shown: Images = field(default_factory=Images, repr=False)

    @property
    def value(self) -> Any:
        """The value of the first output as the engine has it, not to be changed; a list where it is one."""
        return self.slot(0)

    def slot(self, number: int) -> Any:
        """Likewise of the output with this number, from 0."""
        if not self.outputs:
            raise LookupError("the node has no outputs")
        values = self.outputs[number]
        return values[0] if len(values) == 1 else values

    @functools.cached_property
    def images(self) -> Images:
        """Its pictures and masks, and the pictures among the files that it shows."""
        return Images([p for values in self.outputs for p in _pictures(values)] + self.shown)

    @property
    def image(self) -> PIL.Image.Image:
        """The first of its pictures.

        Raises:
            LookupError: It has none.
        """
        return _first(self.images, "picture")

    @property
    def latent(self) -> Tensor:
        """The first of its latents, [B, C, H/8, W/8], a copy on the CPU.

        Raises:
            LookupError: It has none.
        """
        return _first([t for values in self.outputs for t in _latents(values)], "latent")

    def _repr_html_(self) -> str | None:
        return _grid(self.images) if self.images else None


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """How a run ended.

    `result["Decode"]` is what a node gave, by its title, id, class name or output; where that is not at hand
    any more, the node is run again.

    Args:
        status: "success", "error" or "cancelled".
        inputs: What was set for this run, by NODE.INPUT.
        seconds: From the start to the end.
        error: `NodeFailed`, or `concurrent.futures.CancelledError`; None where all went well.
    """

    status: events.Status
    inputs: Mapping[str, Any]
    seconds: float
    error: Exception | None
    _run: Run
    _plan: Plan
    _targets: tuple[tuple[str, int | None], ...]
    _made: Callable[[str], Kept]

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the output nodes wrote, in the order of the workflow."""
        return tuple(Path(o["path"]) for o in self._run.outputs)

    @property
    def executed(self) -> tuple[str, ...]:
        """Ids of the nodes that ran, in the order they ended."""
        return self._run.executed

    @property
    def cached(self) -> tuple[str, ...]:
        """Ids of the nodes whose result was at hand."""
        return self._run.cached

    @functools.cached_property
    def images(self) -> Images:
        """The pictures that the output nodes, or the nodes asked for, gave."""
        return Images(p for id, slot in self._targets for p in self._images(id, slot))

    @property
    def image(self) -> PIL.Image.Image:
        """The first of its pictures.

        Raises:
            LookupError: It has none.
        """
        return _first(self.images, "picture")

    @functools.cached_property
    def latents(self) -> list[Tensor]:
        """The latents asked for, or those nearest before the outputs: [B, C, H/8, W/8], copies on the CPU."""
        found = dict.fromkeys(x for target in self._targets for x in _nearest(self._plan.graph, *target))
        return [t for id, slot in found for t in _latents(self[id].outputs[slot])]

    @property
    def value(self) -> Any:
        """What the first node asked for gave, as the engine has it; not to be changed."""
        id, slot = self._targets[0]
        return self[id].slot(slot or 0)

    def __getitem__(self, node: str | Output) -> NodeResult:
        id = node.node_id if isinstance(node, Output) else node_id(self._plan.graph.workflow, node)
        kept = self._run.results.get(id) or self._made(id)
        return NodeResult(kept.outputs, Images(self._shown(id)))

    def _images(self, id: str, slot: int | None) -> Iterable[PIL.Image.Image]:
        kept = self._run.results.get(id)
        if slot is not None and kept:
            return _pictures(kept.outputs[slot])
        outputs = kept.outputs if kept else ()
        return [p for values in outputs for p in _pictures(values)] + self._shown(id)

    def _shown(self, id: str) -> list[PIL.Image.Image]:
        return [p for o in self._run.outputs if o["node"] == id for p in _opened(Path(o["path"]))]

    def __repr__(self) -> str:
        return f"<Result: {self._words()}>"

    def _words(self) -> str:
        ran = f"{len(self.executed)} ran, {len(self.cached)} from the cache"
        images = f"{len(self.images)} image{'' if len(self.images) == 1 else 's'}"
        return f"{self.status}, {images}, {ran}, {self.seconds:.1f} s"

    def _repr_html_(self) -> str:
        error = f"<pre>{html.escape(str(self.error))}</pre>" if self.error else ""
        return (_grid(self.images) if self.images else html.escape(repr(self))) + error


def _nearest(graph: BoundGraph, id: str, slot: int | None) -> Iterator[tuple[str, int]]:
    """The latents that an output is, or is made of: the first ones upstream."""
    outputs = graph.nodes[id].node.outputs
    slots = range(len(outputs)) if slot is None else (slot,)
    if own := [(id, s) for s in slots if outputs[s].kind == "LATENT"]:
        yield from own
        return
    for link in graph.nodes[id].links.values():
        yield from _nearest(graph, link.node_id, link.slot)


def _pictures(values: Iterable[Any]) -> list[PIL.Image.Image]:
    """Images [B, H, W, C] and masks [B, H, W] as pictures."""
    tensors = [v for v in values if isinstance(v, Tensor)]
    batches = [t[..., None] if t.ndim == 3 else t for t in tensors if t.ndim in (3, 4)]
    return [p for batch in batches if batch.shape[-1] in (1, 3, 4) for p in pictures(batch)]


def _latents(values: Iterable[Any]) -> list[Tensor]:
    return [v.samples.cpu().clone() for v in values if isinstance(v, Latent)]


def _opened(path: Path) -> list[PIL.Image.Image]:
    try:
        with PIL.Image.open(path) as picture:
            return [frame.copy() for frame in Frames(picture)]
    except PIL.UnidentifiedImageError:
        return []


def _first(found: list[T], kind: str) -> T:
    if not found:
        raise LookupError(f"there is no {kind} in the result")
    return found[0]


def _grid(images: list[PIL.Image.Image]) -> str:
    """Pictures side by side as HTML that needs nothing from outside."""
    style = "display: flex; flex-wrap: wrap; gap: 6px; align-items: flex-start"
    tags = "".join(map(_tag, images[:SHOWN]))
    more = f"<div>and {len(images) - SHOWN} more</div>" if len(images) > SHOWN else ""
    return f'<div style="{style}">{tags}</div>{more}'


def _tag(image: PIL.Image.Image) -> str:
    size = f"{image.width}×{image.height}"
    kind = "png" if "A" in image.getbands() else "jpeg"
    small = image.convert("RGBA" if kind == "png" else "RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    small.save(file, kind, quality=92, subsampling=0)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img title="{size}" alt="{size}" src="data:image/{kind};base64,{data}">'
