"""Guidance steps that choose, limit or correct the scale with which estimates are combined."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.linalg import vector_norm

from engine.steps import Steps
from nodes.diffusion.guiding import GuidanceStep, Moment
from nodes.ports import Conditioning


@dataclass(frozen=True)
class Rescaled(GuidanceStep):
    """The guided estimate with the contrast of the positive one, which high scales exceed.

    Both are compared as v predictions, each picture by its standard deviation (Lin et al. 2023, equations 15
    and 16).

    Args:
        phi: φ, 0 changes nothing, 1 rescales fully.
    """

    place: ClassVar[Literal["combine"]] = "combine"
    phi: float

    def _taken(self, moment: Moment) -> Moment:
        if moment.base is None:
            return replace(moment, denoised=moment.positive)
        guided = moment.base + (moment.positive - moment.base) * moment.scale
        origin = moment.x / (moment.sigma**2 + 1)
        v, v_positive = origin - guided, origin - moment.positive
        every = tuple(range(1, v.ndim))
        ratio = v_positive.std(dim=every, keepdim=True) / v.std(dim=every, keepdim=True)
        return replace(moment, denoised=origin - v * (self.phi * ratio + (1 - self.phi)))


@dataclass(frozen=True)
class Renormed(GuidanceStep):
    """Guidance above a noise level not, below it with the norm bounded (Lumina-Image 2.0, Qin et al. 2025).

    Args:
        cut: Only at levels σ below it is there guidance.
        norm: How many times as long as the positive estimate a picture's guided one may be; 0 is no bound.
    """

    place: ClassVar[Literal["combine"]] = "combine"
    cut: float
    norm: float

    def _taken(self, moment: Moment) -> Moment:
        if float(moment.sigma) >= self.cut:
            return replace(moment, denoised=moment.positive)
        guided = moment.against + (moment.positive - moment.against) * moment.scale
        if self.norm > 0:
            longest = _length(moment.positive) * self.norm
            guided = guided * (longest / _length(guided)).clamp(max=1.0)
        return replace(moment, denoised=guided)


@dataclass(frozen=True)
class OverFrames(GuidanceStep):
    """A scale for each picture of the batch, as the frames of a video want it (Blattmann et al. 2023).

    Args:
        least: The scale of the first picture; it rises to the guider's scale.
        returns: Whether that is reached in the middle, and falls back to `least` at the end.
    """

    place: ClassVar[Literal["combine"]] = "combine"
    needs_base: ClassVar[bool] = True
    least: float
    returns: bool = False

    def _taken(self, moment: Moment) -> Moment:
        share = torch.linspace(0, 1, len(moment.x), device=moment.x.device)
        if self.returns:
            share = 1 - (2 * share - 1).abs()
        scale = (self.least + share * (moment.scale - self.least)).reshape(-1, 1, 1, 1)
        return replace(moment, denoised=moment.against + (moment.positive - moment.against) * scale)


@dataclass(frozen=True)
class AwayFrom(GuidanceStep):
    """Perpendicular negative guidance with a conditioning of its own to start from; see `away_from`."""

    place: ClassVar[Literal["combine"]] = "combine"
    empty: Conditioning
    negative_scale: float

    def _taken(self, moment: Moment) -> Steps[Moment]:
        empty = yield from moment.ask(self.empty, moment.x, ())
        guided = away_from(moment.positive, moment.against, empty, moment.scale, self.negative_scale)
        return replace(moment, denoised=guided)


@dataclass(frozen=True)
class ZeroStar(GuidanceStep):
    """Guidance with the base scaled to fit the positive best (Fan et al. 2025, "CFG-Zero*", equation 8)."""

    def _taken(self, moment: Moment) -> Moment:
        positive, base = moment.x - moment.positive, moment.x - moment.against
        fit = _dot(positive, base) / (_dot(base, base) + 1e-8)
        shift = moment.against * (fit - 1) * (1 - moment.scale)
        return replace(moment, denoised=moment.denoised + shift)


@dataclass(frozen=True)
class Normed(GuidanceStep):
    """The guided estimate no longer, at each place, than the positive one.

    Args:
        strength: Factor on the result.
    """

    strength: float

    def _taken(self, moment: Moment) -> Moment:
        length = vector_norm(moment.positive, dim=1, keepdim=True)
        ratio = length / (vector_norm(moment.denoised, dim=1, keepdim=True) + 1e-8)
        return replace(moment, denoised=moment.denoised * ratio.clamp(0.0, 1.0) * self.strength)


@dataclass(frozen=True)
class Mahiro(GuidanceStep):
    """The guided estimate drawn to the scaled positive one, the more the less it agrees with that.

    A rule of the ecosystem without a paper: agreement is the cosine between the signed square roots of s D_c
    and of its mean with D.
    """

    def _taken(self, moment: Moment) -> Moment:
        leap, guided = moment.positive * moment.scale, moment.denoised
        first, second = (
            t.abs().sqrt() * t.sign() for t in (moment.against * moment.scale, (leap + guided) / 2)
        )
        agreement = 2 * (F.cosine_similarity(first, second, dim=1).mean() + 1)
        return replace(moment, denoised=(agreement * guided + (4 - agreement) * leap) / 4)


@dataclass(frozen=True)
class EpsilonScaled(GuidanceStep):
    """The noise estimate divided by a number a little above 1 (Ning et al. 2023, equation 10).

    Args:
        factor: λ.
    """

    factor: float

    def _taken(self, moment: Moment) -> Moment:
        return replace(moment, denoised=moment.x - (moment.x - moment.denoised) / self.factor)


def away_from(positive: Tensor, negative: Tensor, empty: Tensor, cfg: float, scale: float) -> Tensor:
    """Guidance away from that part of the negative which is perpendicular to the positive.

    All as they differ from the estimate without a text (Armandpour et al. 2023, "Perp-Neg", equation 7); the
    product is over the whole batch of one node, as the ecosystem takes it.

    Args:
        cfg: Factor on the difference.
        scale: Factor on the negative's part.
    """
    toward, away = positive - empty, negative - empty
    perpendicular: Tensor = away - toward * ((away * toward).sum() / vector_norm(toward) ** 2)
    return empty + (toward - perpendicular * scale) * cfg


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=tuple(range(1, a.ndim)), keepdim=True)


def _length(x: Tensor) -> Tensor:
    return _dot(x, x).sqrt()
