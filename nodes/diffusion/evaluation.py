"""One evaluation of a guided model: the estimates of its sides, and the steps that a pair goes through."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from engine.steps import Steps, call
from nodes.diffusion.added import Scene
from nodes.diffusion.attention_guidance import Attending
from nodes.diffusion.conditioning import Part, prepared
from nodes.diffusion.guiding import Moment
from nodes.diffusion.model import Model
from nodes.diffusion.weights import Structure
from nodes.ports import Conditioning


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The estimates of a guider's sides at one x, for its rule; None where one was not asked for.

    Args:
        sides: Each side's entries.
        answers: What the model said of each; with a channel more, where it looks, if attention is seen.
        kept: What each of the model's steps remembers along the run.
    """

    model: Model
    scene: Scene
    x: Tensor
    sigma: Tensor
    sides: tuple[tuple[Part, ...], ...]
    answers: tuple[Tensor | None, ...]
    kept: tuple[dict[str, Any], ...]

    @property
    def estimates(self) -> tuple[Tensor | None, ...]:
        """Of each side [B, C, h, w]."""
        channels = self.x.shape[1]
        return tuple(None if answer is None else answer[:, :channels] for answer in self.answers)

    def pair(
        self,
        positive: int,
        base: int | None,
        scale: float,
        *,
        before: bool = True,
        combine: Callable[[Moment], Tensor] | None = None,
    ) -> Steps[tuple[Tensor, Tensor]]:
        """One side guided against another by the model's steps, and that other, or else the side itself.

        Args:
            before: Whether steps before combination are taken.
            combine: In place of the model's way, or of D_u + s (D_c - D_u).
        """
        moment = self._moment(positive, base, scale)
        steps = list(zip(self.model.guidance, self.kept, strict=True))
        for step, kept in steps:
            if before and step.place == "before":
                moment = yield from step(replace(moment, kept=kept))
        combining = [step for step, _ in steps if step.place == "combine"]
        if combine is None and combining:
            moment = yield from combining[-1](moment)
        else:
            moment = replace(moment, denoised=(combine or _combined)(moment))
        for step, kept in steps:
            if step.place == "after":
                moment = yield from step(replace(moment, kept=kept))
        return moment.denoised, moment.positive if moment.base is None else moment.base

    def _moment(self, positive: int, base: int | None, scale: float) -> Moment:
        estimates = self.estimates
        first, second = estimates[positive], None if base is None else estimates[base]
        assert first is not None
        of = {"positive": self.sides[positive], "base": self.sides[positive if base is None else base]}
        compared = self.answers[positive if second is None or base is None else base]
        attended = None if compared is None else compared[:, self.x.shape[1] :]

        def ask(
            who: Literal["positive", "base"] | Conditioning, x: Tensor, structures: tuple[Structure, ...]
        ) -> Steps[Tensor]:
            parts = of[who] if isinstance(who, str) else prepared([who], self.model, self.scene)[0]
            (estimate,) = yield from estimated(self.model.patched(*structures), [parts], x, self.sigma)
            return estimate

        return Moment(self.x, self.sigma, scale, first, second, first, ask, attended)


def estimated(
    model: Model | Attending, sides: Sequence[Sequence[Part]], x: Tensor, sigma: Tensor
) -> Steps[list[Tensor]]:
    """The average estimate of each side's parts, asked for in one call: a row for each item and part."""
    level = float(sigma)
    acting = [[part for part in side if part.acts_at(level)] for side in sides]
    queries = [part.query(x, i, sigma) for side in acting for part in side for i in range(len(x))]
    answers = iter((yield from call(model, *queries)))
    channels = x.shape[1] + isinstance(model, Attending)
    like = x.new_zeros(len(x), channels, *x.shape[2:])
    return [
        _average([(part, torch.cat([next(answers) for _ in x])) for part in side], like) for side in acting
    ]


def _combined(moment: Moment) -> Tensor:
    if moment.base is None:
        return moment.positive
    return moment.base + (moment.positive - moment.base) * moment.scale


def _average(estimates: Sequence[tuple[Part, Tensor]], like: Tensor) -> Tensor:
    """Σ D_i w_i / Σ w_i at each place of the latent; 0 where no part acts."""
    total, weight = torch.zeros_like(like), torch.full_like(like, 1e-37)
    for part, estimate in estimates:
        part.area.of(total).add_(estimate * part.weight)
        part.area.of(weight).add_(part.weight)
    return total / weight
