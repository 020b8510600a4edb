"""What a step of guidance sees, and may do: the parts that `guidance` puts together."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from engine.steps import Steps
from nodes.diffusion.weights import Structure
from nodes.ports import Conditioning

Ask: TypeAlias = Callable[
    [Literal["positive", "base"] | Conditioning, Tensor, tuple[Structure, ...]], Steps[Tensor]
]
"""(conditioning, x, changes of the network) to the estimate of x0 [B, C, h, w], by asking the model."""


@dataclass(frozen=True, eq=False)
class Moment:
    """One evaluation of a guided model, for a batch [B, C, h, w].

    Args:
        x: The noisy latent.
        sigma: [], its noise level.
        scale: s of D = D_u + s (D_c - D_u).
        positive: D_c, the estimate that is guided.
        base: D_u, the one that it is compared with; None where that is not asked for, as at scale 1.
        denoised: D; before it is combined, D_c.
        ask: Ask the model for more, at the same noise level.
        attended: [B, 1, h, w], 1 where the base's estimate looks; for steps that see attention.
        kept: What this step remembers between the evaluations of a run.
    """

    x: Tensor
    sigma: Tensor
    scale: float
    positive: Tensor
    base: Tensor | None
    denoised: Tensor
    ask: Ask
    attended: Tensor | None = None
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def against(self) -> Tensor:
        """The base, or 0 where it was not asked for."""
        return torch.zeros_like(self.positive) if self.base is None else self.base


class GuidanceStep(ABC):
    """A change of how estimates are guided, as a frozen dataclass of its settings.

    A step before combination changes `positive` and `base`; others `denoised`. Of several that combine the
    last counts.
    """

    place: ClassVar[Literal["before", "combine", "after"]] = "after"
    needs_base: ClassVar[bool] = False
    """Whether the base is asked for at scale 1 too."""
    sees_attention: ClassVar[bool] = False

    def __call__(self, moment: Moment) -> Steps[Moment]:
        """The moment with this step taken."""
        taken = self._taken(moment)
        return taken if isinstance(taken, Moment) else (yield from taken)

    @abstractmethod
    def _taken(self, moment: Moment) -> Moment | Steps[Moment]:
        """The changed moment, or a generator of it where the model is asked."""
