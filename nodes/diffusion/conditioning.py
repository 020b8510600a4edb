"""Conditionings made ready for a latent: where each entry acts, how strongly, and from which σ to which."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.problems import NodeFailure
from nodes.diffusion.added import Scene
from nodes.diffusion.control import PIXELS, ControlNet, ControlRow, ControlUse, Hint
from nodes.diffusion.model import Model, Query
from nodes.diffusion.resize import repeated_to, resized_mask
from nodes.ports import Cond, Conditioning

FEATHER = 8  # cells over which an area fades in at its edges, at most a quarter of its side


@dataclass(frozen=True)
class Area:
    """A rectangle of a latent, in cells."""

    height: int
    width: int
    top: int
    left: int

    def of(self, x: Tensor) -> Tensor:
        """What lies inside it: [..., h, w] to [..., height, width]."""
        return x[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def encloses(self, other: "Area") -> bool:
        """Whether all of `other` lies inside it."""
        return (
            self.top <= other.top
            and self.left <= other.left
            and self.top + self.height >= other.top + other.height
            and self.left + self.width >= other.left + other.width
        )


@dataclass(frozen=True, eq=False)
class _Steering:
    net: ControlNet
    hints: tuple[Hint, ...]
    strength: float
    start: float
    end: float


@dataclass(frozen=True, eq=False)
class Part:
    """One entry of a conditioning, ready for a latent [B, C, h, w].

    Args:
        context: [n, T, D]; item i of the batch takes row i mod n.
        area: Where in the latent it acts.
        weight: [B or 1, 1, area.height, area.width], its share in the average of the entries.
        start: The σ at and below which it acts.
        end: The σ at and above which it acts.
        vector: [n, A], likewise, where the model takes one.
        concat: [B, C', area.height, area.width], where the model takes further channels.
    """

    context: Tensor
    area: Area
    weight: Tensor
    start: float
    end: float
    vector: Tensor | None = None
    concat: Tensor | None = None
    steering: tuple[_Steering, ...] = ()

    def acts_at(self, sigma: float) -> bool:
        """Whether it has a say at this noise level."""
        return self.end <= sigma <= self.start

    def query(self, x: Tensor, item: int, sigma: Tensor) -> Query:
        """What to ask the model for an item of the batch x [B, C, h, w] at σ []."""

        def row(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[item % len(values)][None]

        context = self.context[item % len(self.context)][None]
        control = self.control(item, float(sigma))
        return Query(
            self.area.of(x[item : item + 1]), sigma, context, control, row(self.vector), row(self.concat)
        )

    def control(self, item: int, sigma: float) -> tuple[ControlRow, ...]:
        """The ControlNets at work on an item of the batch at this noise level."""
        return tuple(
            ControlRow(s.net, s.hints[item % len(s.hints)], s.strength)
            for s in self.steering
            if s.end <= sigma <= s.start
        )


@dataclass(frozen=True, eq=False)
class _Placed:
    """An entry and the area that it was given; None is everywhere."""

    cond: Cond
    area: Area | None


def prepared(sides: Sequence[Conditioning], model: Model, scene: Scene) -> tuple[tuple[Part, ...], ...]:
    """The entries of each side (positive, …, negative), ready for a run of a model.

    An entry with an area gets a partner with the same area on every other side: without one, the smallest
    entry there that encloses the area is used within it, so that guidance compares like with like.
    """
    placed = [[_Placed(c, _area(c, scene.latent)) for c in side.entries] for side in sides]
    _share_control(placed)
    for side in placed:
        for entry in list(side):
            for other in placed:
                if other is not side and entry.area is not None:
                    other.extend(_partner(entry, entry.area, other))
    last = len(placed) - 1
    return tuple(
        tuple(p for e in side for p in _parts(e, model, scene, negative=0 < i == last))
        for i, side in enumerate(placed)
    )


def _area(cond: Cond, like: Tensor) -> Area | None:
    height, width = like.shape[-2:]
    area = cond.get("area")
    if area is not None and area[0] == "percentage":
        h, w, y, x = area[1:]
        return Area(max(1, round(h * height)), max(1, round(w * width)), round(y * height), round(x * width))
    if cond.get("mask") is not None and cond.get("set_area_to_bounds", False):
        return _bounds(resized_mask(cond.get("mask"), width, height))
    return Area(*area) if area is not None else None


def _bounds(mask: Tensor) -> Area:
    """The bounding box of what a mask [n, 1, h, w] marks, at least 8 by 8 cells."""
    marked = mask.abs().amax(dim=(0, 1)) != 0
    rows, columns = marked.any(dim=1).nonzero(), marked.any(dim=0).nonzero()
    if len(rows) == 0:
        return Area(8, 8, 0, 0)
    top, left = int(rows[0]), int(columns[0])
    return Area(max(8, int(rows[-1]) - top + 1), max(8, int(columns[-1]) - left + 1), top, left)


def _partner(entry: _Placed, area: Area, others: Sequence[_Placed]) -> list[_Placed]:
    enclosing = [o for o in others if o.area is not None and o.area.encloses(area)]
    found = min(enclosing, key=lambda o: o.area.height * o.area.width if o.area else 0, default=None)
    found = found or next((o for o in others if o.area is None), None)
    if found is None or found.area == area:
        return []
    return [_Placed(Cond(found.cond.embedding, found.cond.pooled, entry.cond.options), area)]


def _share_control(sides: list[list[_Placed]]) -> None:
    """Give the ControlNets of the first side's entries to the other sides, where the entries ask for it."""
    shared = [
        e.cond.get("control")
        for e in sides[0]
        if e.area is None and e.cond.get("control") and e.cond.get("control_apply_to_uncond", False)
    ]
    for side in sides[1:]:
        without = [i for i, e in enumerate(side) if e.area is None and not e.cond.get("control")]
        if len(without) < sum(e.area is None for e in side):
            continue
        for k, control in enumerate(shared if without else ()):
            i = without[k % len(without)]
            steered = _Placed(side[i].cond.with_options(control=control), None)
            if k < len(without):
                side[i] = steered
            else:
                side.append(steered)


def _parts(entry: _Placed, model: Model, scene: Scene, *, negative: bool) -> list[Part]:
    """The entry as a part; none where its area lies outside the latent."""
    cond, like, sampling = entry.cond, scene.latent, model.sampling
    batch, _, height, width = like.shape
    area = entry.area or Area(height, width, 0, 0)
    area = Area(min(area.height, height - area.top), min(area.width, width - area.left), area.top, area.left)
    if area.height <= 0 or area.width <= 0:
        return []
    mask = cond.get("mask")
    if mask is not None:
        whole = repeated_to(resized_mask(mask.to(like), width, height), batch)
        weight = area.of(whole) * cond.get("mask_strength", 1.0)
    else:
        weight = _feathered(area, height, width).to(like)
    uses = [use for use in cond.get("control", ()) if use.strength != 0]
    vector = model.added.vector_of(cond, scene, negative=negative)
    concat = model.added.concat_of(cond, scene, model.latent.scaled)
    return [
        Part(
            cond.embedding.to(like.device),
            area,
            weight * cond.get("strength", 1.0),
            sampling.percent_to_sigma(cond.get("start_percent", 0.0)),
            sampling.percent_to_sigma(cond.get("end_percent", 1.0)),
            vector,
            None if concat is None else area.of(concat),
            tuple(_steering(use, cond, model, area) for use in uses),
        )
    ]


def _steering(use: ControlUse, cond: Cond, model: Model, area: Area) -> _Steering:
    net, sampling = use.net, model.sampling
    reads = net.context not in (None, cond.embedding.shape[-1])
    if reads or (net.adapter and (net.cell > PIXELS) != (model.added.vector is not None)):
        raise NodeFailure(
            "the ControlNet is of another line than the model",
            "Stable Diffusion 1.x, 2.x and SDXL each need ControlNets of their own",
        )
    pictures = net.fitted(use.hint.movedim(-1, 1), area.height, area.width)
    return _Steering(
        net,
        tuple(Hint(picture[None]) for picture in pictures),
        use.strength,
        sampling.percent_to_sigma(use.start_percent),
        sampling.percent_to_sigma(use.end_percent),
    )


def _feathered(area: Area, height: int, width: int) -> Tensor:
    """[1, 1, area.height, area.width]: 1, falling linearly at the edges that lie inside the latent."""
    rows = _ramp(area.height, fade_in=area.top > 0, fade_out=area.top + area.height < height)
    columns = _ramp(area.width, fade_in=area.left > 0, fade_out=area.left + area.width < width)
    return (rows[:, None] * columns)[None, None]


def _ramp(length: int, fade_in: bool, fade_out: bool) -> Tensor:
    ramp = torch.ones(length)
    cells = min(FEATHER, length // 4)
    fade = torch.arange(1, cells + 1) / cells if cells else torch.ones(0)
    if fade_in:
        ramp[:cells] *= fade
    if fade_out:
        ramp[length - cells :] *= fade.flip(0)
    return ramp
