"""Guidance steps that change the direction of guidance before it is scaled."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from nodes.diffusion.guiding import GuidanceStep, Moment
from nodes.diffusion.latent_operations import LatentOperation

_SAME_LEVEL = 1e-5  # some samplers come back to a level by another way


@dataclass(frozen=True)
class Projected(GuidanceStep):
    """Guidance whose part along the positive estimate is scaled, and whose length is bounded.

    Adaptive projected guidance (Sadat et al. 2024, algorithm 1), with the guider's scale on the result.

    Args:
        eta: η, factor on the part along D_c; 0 leaves it out, 1 keeps it.
        longest: r, the largest norm of a picture's guidance; 0 is no bound.
        momentum: β, factor on the guidance of the evaluations before, summed.
    """

    place: ClassVar[Literal["before"]] = "before"
    eta: float
    longest: float
    momentum: float

    def _taken(self, moment: Moment) -> Moment:
        if moment.base is None:
            return moment
        guidance = difference = moment.positive - moment.base
        if self.momentum:
            guidance = self._summed(moment, difference)
        if self.longest > 0:
            length = torch.linalg.vector_norm(guidance, dim=(-3, -2, -1), keepdim=True)
            guidance = guidance * (self.longest / length).clamp(max=1.0)
        direction = torch.nn.functional.normalize(moment.positive.double().flatten(1), dim=1)
        flat = guidance.double().flatten(1)
        along = ((flat * direction).sum(dim=1, keepdim=True) * direction).reshape(guidance.shape).to(guidance)
        projected = guidance + along * (self.eta - 1)
        return replace(moment, positive=moment.base + projected + difference / moment.scale)

    def _summed(self, moment: Moment, difference: Tensor) -> Tensor:
        """The guidance and what is left of that before, forgotten where the noise level rises again."""
        kept, level = moment.kept, float(moment.sigma)
        rises = level > kept.get("level", level) * (1 + _SAME_LEVEL)
        before = None if rises else kept.get("sum")
        kept["sum"] = difference if before is None else difference + before * self.momentum
        kept["level"] = level
        summed: Tensor = kept["sum"]
        return summed


@dataclass(frozen=True)
class Damped(GuidanceStep):
    """The base's noise without what is across the direction it shares with the positive's (Kwon et al. 2025).

    Tangential damping: for each picture it is projected on the first right singular vector of both.
    """

    place: ClassVar[Literal["before"]] = "before"

    def _taken(self, moment: Moment) -> Moment:
        if moment.base is None:
            return moment
        both = torch.stack([(moment.x - d).flatten(1) for d in (moment.positive, moment.base)], dim=1).float()
        shared = torch.linalg.svd(both, full_matrices=False).Vh[:, :1]
        along = both[:, 1:] @ shared.mT @ shared
        return replace(moment, base=moment.x - along.reshape(moment.x.shape).to(moment.x))


@dataclass(frozen=True)
class FrequencyScaled(GuidanceStep):
    """Guidance whose low and high frequencies are scaled apart (Huang et al. 2025, "FreSca").

    Args:
        low: Factor on frequencies below the cut.
        high: On those above.
        cut: Half the width, in bins, of the square of low frequencies.
    """

    place: ClassVar[Literal["before"]] = "before"
    low: float
    high: float
    cut: int

    def _taken(self, moment: Moment) -> Moment:
        if moment.base is None:
            return moment
        scaled = scaled_frequencies(moment.positive - moment.base, self.cut, self.low, self.high)
        return replace(moment, positive=moment.base + scaled)


@dataclass(frozen=True)
class Operated(GuidanceStep):
    """Guidance as a latent that an operation changes; the positive estimate where there is no guidance."""

    place: ClassVar[Literal["before"]] = "before"
    operation: LatentOperation

    def _taken(self, moment: Moment) -> Moment:
        guidance = self.operation(moment.positive - moment.against)
        return replace(moment, positive=guidance + moment.against)


def scaled_frequencies(x: Tensor, cut: int, low: float, high: float = 1.0) -> Tensor:
    """A picture [..., h, w] with the square of its lowest frequencies, 2 cut bins wide, scaled apart."""
    spectrum = torch.fft.fftshift(torch.fft.fftn(x.float(), dim=(-2, -1)), dim=(-2, -1))
    height, width = x.shape[-2:]
    factor = torch.full((height, width), high, device=x.device)
    rows = slice(max(height // 2 - cut, 0), height // 2 + cut)
    columns = slice(max(width // 2 - cut, 0), width // 2 + cut)
    factor[rows, columns] = low
    scaled = torch.fft.ifftshift(spectrum * factor, dim=(-2, -1))
    result: Tensor = torch.fft.ifftn(scaled, dim=(-2, -1)).real.to(x.dtype)
    return result
