"""Guidance: estimates of x0 under several conditionings, asked for in one call and combined into one."""

import math
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from engine.ports import Port
from engine.steps import Steps
from nodes.diffusion.added import Scene
from nodes.diffusion.attention_guidance import Attending
from nodes.diffusion.conditioning import prepared
from nodes.diffusion.evaluation import Evaluation, estimated
from nodes.diffusion.guiding import Moment
from nodes.diffusion.guiding_scale import away_from
from nodes.diffusion.model import Model
from nodes.diffusion.samplers.sampler import Denoise, DenoiseBoth
from nodes.ports import Conditioning


class Rule(Protocol):
    """How the estimates of a guider's sides become one."""

    def asks(self, *, everything: bool) -> tuple[bool, ...]:
        """Whether each side is needed.

        Args:
            everything: Ask for those without weight too.
        """
        ...

    def combined(self, guide: Evaluation) -> Steps[tuple[Tensor, Tensor]]:
        """The guided estimate, and that of the side which it was compared with."""
        ...


@Port("GUIDER")
@dataclass(frozen=True)
class Guider:
    """A model, and how its estimates under several conditionings are combined.

    Args:
        sides: The conditionings; the last is what the others are compared with.
    """

    model: Model
    sides: tuple[Conditioning, ...]
    rule: Rule


def plain(model: Model, conditioning: Conditioning) -> Guider:
    """One conditioning, no guidance."""
    return Guider(model, (conditioning,), _Plain())


def classifier_free(model: Model, positive: Conditioning, negative: Conditioning, cfg: float) -> Guider:
    """D = D_u + s (D_c - D_u) (Ho & Salimans 2022, equation 6, with 1 + w = s)."""
    return Guider(model, (positive, negative), _ClassifierFree(cfg))


def dual(
    model: Model,
    first: Conditioning,
    second: Conditioning,
    negative: Conditioning,
    cfg: float,
    cfg_negative: float,
    *,
    nested: bool = False,
) -> Guider:
    """One conditioning guided by a second, and that away from the negative (Brooks et al. 2023, equation 3).

    As in the ecosystem, steps of guidance before combination are not taken, and the others see one pair: the
    second and the negative, or where they are nested the first and the second.

    Args:
        cfg: Scale of the first against the second.
        cfg_negative: Scale of the second against the negative.
        nested: Scale the guided pair against the negative, not the second alone.
    """
    rule = _Nested(cfg, cfg_negative) if nested else _Dual(cfg, cfg_negative)
    return Guider(model, (first, second, negative), rule)


def perpendicular(
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    empty: Conditioning,
    cfg: float,
    negative_scale: float,
) -> Guider:
    """Guidance away from that part of the negative which the positive has not; see `away_from`."""
    return Guider(model, (positive, empty, negative), _Perpendicular(cfg, negative_scale))


@dataclass(frozen=True)
class _Plain:
    def asks(self, *, everything: bool) -> tuple[bool, ...]:  # noqa: ARG002
        return (True,)

    def combined(self, guide: Evaluation) -> Steps[tuple[Tensor, Tensor]]:
        return (yield from guide.pair(0, None, 1.0))


@dataclass(frozen=True)
class _ClassifierFree:
    cfg: float

    def asks(self, *, everything: bool) -> tuple[bool, ...]:
        return True, everything or not _is_one(self.cfg)

    def combined(self, guide: Evaluation) -> Steps[tuple[Tensor, Tensor]]:
        return (yield from guide.pair(0, 1, self.cfg))


@dataclass(frozen=True)
class _Dual:
    cfg: float
    cfg_negative: float

    def asks(self, *, everything: bool) -> tuple[bool, ...]:
        negative = everything or not _is_one(self.cfg_negative)
        return True, negative or not _is_one(self.cfg), negative

    def combined(self, guide: Evaluation) -> Steps[tuple[Tensor, Tensor]]:
        first, second, _ = guide.estimates
        if second is None:
            return (yield from guide.pair(0, None, 1.0, before=False))
        denoised, base = yield from guide.pair(1, 2, self.cfg_negative, before=False)
        assert first is not None
        return denoised + (first - second) * self.cfg, base


@dataclass(frozen=True)
class _Nested:
    cfg: float
    cfg_negative: float

    def asks(self, *, everything: bool) -> tuple[bool, ...]:
        return True, everything or not _is_one(self.cfg), everything or not _is_one(self.cfg_negative)

    def combined(self, guide: Evaluation) -> Steps[tuple[Tensor, Tensor]]:
        denoised, base = yield from guide.pair(0, 1, self.cfg, before=False)
        negative = guide.estimates[2]
        if negative is None:
            return denoised, base
        return negative + (denoised - negative) * self.cfg_negative, base


@dataclass(frozen=True)
class _Perpendicular:
    cfg: float
    negative_scale: float

    def asks(self, *, everything: bool) -> tuple[bool, ...]:  # noqa: ARG002
        return True, True, True

    def combined(self, guide: Evaluation) -> Steps[tuple[Tensor, Tensor]]:
        empty = guide.estimates[1]
        assert empty is not None

        def combine(moment: Moment) -> Tensor:
            return away_from(moment.positive, moment.against, empty, self.cfg, self.negative_scale)

        return (yield from guide.pair(0, 2, self.cfg, combine=combine))


def guided(guider: Guider, scene: Scene, *, always_base: bool = False) -> DenoiseBoth:
    """The guided estimate of x0 beside that of the base.

    Args:
        always_base: Ask for the base even where it has no weight; without, it is then the positive's.
    """
    model, steps = guider.model, guider.model.guidance
    ready = {scene.latent.shape[-2:]: prepared(guider.sides, model, scene)}
    asks = guider.rule.asks(everything=always_base or any(step.needs_base for step in steps))
    kept: tuple[dict[str, Any], ...] = tuple({} for _ in steps)
    attends = any(step.sees_attention for step in steps)

    def denoise(x: Tensor, sigma: Tensor) -> Steps[tuple[Tensor, Tensor]]:
        if (size := x.shape[-2:]) not in ready:  # a sampler that enlarges its latent
            ready[size] = prepared(guider.sides, model, scene.sized(*size))
        at, sides = model.at(float(sigma)), ready[size]
        asked = Attending(at) if attends else at
        needed = [side for side, needs in zip(sides, asks, strict=True) if needs]
        answers = iter((yield from estimated(asked, needed, x, sigma)))
        found = tuple(next(answers) if needs else None for needs in asks)
        evaluation = Evaluation(at, scene, x, sigma, sides, found, kept)
        return (yield from guider.rule.combined(evaluation))

    return denoise


def without_base(denoise: DenoiseBoth) -> Denoise:
    """The guided estimate alone."""

    def first(x: Tensor, sigma: Tensor) -> Steps[Tensor]:
        denoised, _ = yield from denoise(x, sigma)
        return denoised

    return first


def _is_one(scale: float) -> bool:
    return math.isclose(scale, 1.0, abs_tol=1e-9)
