"""The noise levels that networks were trained on: σ over timesteps, and back."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import torch
from torch import Tensor

NEVER = 999_999_999.9  # a σ above all others: "from the start", as the ecosystem writes it
LAST_ALPHA_BAR = 4.8973451890853435e-08  # ᾱ_T after the zero-SNR rescaling, where 0 would give σ = ∞


class Levels(Protocol):
    """What σ a timestep has; implementations are frozen and compare equal when they are the same levels."""

    @property
    def table(self) -> Tensor:
        """σ at each timestep that schedules choose from, rising: [M] float32."""
        ...

    def timestep(self, sigma: Tensor) -> Tensor:
        """What the network is told of σ: [N] to [N]."""
        ...

    def sigma(self, timestep: Tensor) -> Tensor:
        """σ at a timestep, which may be fractional: [N] to [N]."""
        ...

    def percent_to_sigma(self, percent: float) -> float:
        """σ at a share of the sampling, 0 the noisiest."""
        ...


@dataclass(frozen=True)
class Discrete:
    """A variance-preserving diffusion in discrete timesteps: σ = √((1 - ᾱ)/ᾱ), ᾱ = Π(1 - β) (Ho et al. 2020).

    Args:
        beta_start: The first β, above 0.
        beta_end: The last β, below 1.
        beta_schedule: β equally spaced ("linear"), or √β equally spaced ("scaled_linear", Stable Diffusion).
        zero_snr: Shift the table so that its end is pure noise (Lin et al. 2023, algorithm 1).
        steps: Number of training timesteps.
        stride: Keep each stride-th of them only, counted from the last, as distilled models were trained.
    """

    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: Literal["linear", "scaled_linear"] = "scaled_linear"
    zero_snr: bool = False
    steps: int = 1000
    stride: int = 1

    @cached_property
    def _exact(self) -> Tensor:
        power = 2.0 if self.beta_schedule == "scaled_linear" else 1.0
        root = torch.linspace(
            self.beta_start ** (1 / power), self.beta_end ** (1 / power), self.steps, dtype=torch.float64
        )
        alpha_bar = torch.cumprod(1.0 - root**power, dim=0)
        if self.zero_snr:
            s = alpha_bar.sqrt()
            alpha_bar = ((s - s[-1]) * (s[0] / (s[0] - s[-1]))) ** 2
            alpha_bar[-1] = LAST_ALPHA_BAR
        return ((1.0 - alpha_bar) / alpha_bar).sqrt()[self.stride - 1 :: self.stride]

    @cached_property
    def table(self) -> Tensor:
        """σ of each kept training timestep, rising: [steps / stride] float32."""
        return self._exact.float()

    @cached_property
    def log_table(self) -> Tensor:
        """The logarithm of `table`: [steps / stride] float32."""
        return self._exact.log().float()

    def timestep(self, sigma: Tensor) -> Tensor:
        """The training timestep whose ln σ is nearest: [N] to [N] int64, 0..steps - 1."""
        distance = sigma.float().cpu().log().reshape(-1, 1) - self.log_table
        nearest = distance.abs().argmin(dim=1).reshape(sigma.shape)
        return (nearest + 1) * self.stride - 1

    def sigma(self, timestep: Tensor) -> Tensor:
        """σ at a fractional timestep, ln σ interpolated linearly and held beyond the ends: [N] to [N]."""
        t = (timestep.float().cpu() + 1 - self.stride) / self.stride
        t = t.clamp(0, len(self.log_table) - 1)
        low, high, weight = t.floor().long(), t.ceil().long(), t.frac()
        return ((1 - weight) * self.log_table[low] + weight * self.log_table[high]).exp()

    def percent_to_sigma(self, percent: float) -> float:
        """σ at a share of the training timesteps; unbounded at 0, and 0 at 1."""
        if percent <= 0.0:
            return NEVER
        if percent >= 1.0:
            return 0.0
        return float(self.sigma(torch.tensor((1.0 - percent) * (self.steps - 1))))


@dataclass(frozen=True)
class Continuous:
    """σ over a continuous range, equally spaced in ln σ; timestep ¼ ln σ (Karras et al. 2022, table 1, EDM).

    Args:
        lowest: The smallest σ, above 0.
        highest: The largest σ.
        timesteps: Of another kind: (2/π) arctan σ ("angle"), the time of a diffusion along a circle, or
            σ/(σ + 1) ("share"), the share of noise in a flow.
    """

    lowest: float = 0.002
    highest: float = 120.0
    timesteps: Literal["logarithm", "angle", "share"] = "logarithm"

    @cached_property
    def table(self) -> Tensor:
        """1000 levels, equally spaced in ln σ: [1000] float32."""
        return torch.linspace(math.log(self.lowest), math.log(self.highest), 1000).exp()

    def timestep(self, sigma: Tensor) -> Tensor:
        """The network's measure of σ: [N] to [N]."""
        match self.timesteps:
            case "logarithm":
                return 0.25 * sigma.log()
            case "angle":
                return sigma.atan() / math.pi * 2
            case "share":
                return sigma / (sigma + 1)

    def sigma(self, timestep: Tensor) -> Tensor:
        """The inverse of `timestep`: [N] to [N]."""
        match self.timesteps:
            case "logarithm":
                return (timestep / 0.25).exp()
            case "angle":
                return (timestep * math.pi / 2).tan()
            case "share":
                low, high = self.table[0], self.table[-1]
                sigma = (timestep / (1 - timestep)).maximum(low)
                return sigma.where(timestep < high / (high + 1), high)

    def percent_to_sigma(self, percent: float) -> float:
        """σ at a share of the range of ln σ; unbounded at 0, and 0 at 1."""
        if percent <= 0.0:
            return NEVER
        if percent >= 1.0:
            return 0.0
        low, high = (math.log(float(self.table[i])) for i in (0, -1))
        return math.exp((1.0 - percent) * (high - low) + low)


_COSINE_OFFSET = 8e-3
_COSINE_FIRST = torch.tensor(_COSINE_OFFSET / (1 + _COSINE_OFFSET) * math.pi / 2).cos() ** 2


@dataclass(frozen=True)
class Cosine:
    """The cosine diffusion (Nichol & Dhariwal 2021) of Stable Cascade, moved to more noise for its latents.

    Args:
        shift: Factor on σ, above 0 (Hoogeboom et al. 2023, "simple diffusion", equation 2).
    """

    shift: float = 1.0

    @cached_property
    def table(self) -> Tensor:
        """σ at the timesteps 1/10000, 2/10000 … 1: [10000] float32."""
        return self.sigma(torch.arange(1, 10_001) / 10_000)

    def timestep(self, sigma: Tensor) -> Tensor:
        """The time in 0..1 at which the diffusion, before it is moved, has this σ: [N] to [N]."""
        alpha_bar = 1 / (sigma**2 + 1)
        angle = (alpha_bar * _COSINE_FIRST).sqrt().acos()
        return angle / (math.pi / 2) * (1 + _COSINE_OFFSET) - _COSINE_OFFSET

    def sigma(self, timestep: Tensor) -> Tensor:
        """σ at a time in 0..1, with ᾱ kept in 0.0001..0.9999: [N] to [N]."""
        angle = (timestep + _COSINE_OFFSET) / (1 + _COSINE_OFFSET) * math.pi / 2
        alpha_bar = angle.cos() ** 2 / _COSINE_FIRST
        if self.shift != 1.0:
            alpha_bar = ((alpha_bar / (1 - alpha_bar)).log() - 2 * math.log(self.shift)).sigmoid()
        alpha_bar = alpha_bar.clamp(1e-4, 0.9999)
        return ((1 - alpha_bar) / alpha_bar).sqrt()

    def percent_to_sigma(self, percent: float) -> float:
        """σ at a share of the time; unbounded at 0, and 0 at 1."""
        if percent <= 0.0:
            return NEVER
        if percent >= 1.0:
            return 0.0
        return float(self.sigma(torch.tensor(1.0 - percent)))


@dataclass(frozen=True)
class Flow:
    """Rectified flow, σ the share of noise, with time shifted to more noise: σ = a u/(1 + (a - 1) u).

    Esser et al. 2024 ("Scaling rectified flow transformers"), equation 23; a = 1 is no shift.

    Args:
        shift: a, above 0.
        multiplier: Timesteps are σ times this.
    """

    shift: float = 3.0
    multiplier: float = 1000.0

    @cached_property
    def table(self) -> Tensor:
        """σ at u = 1/1000, 2/1000 … 1: [1000] float32."""
        return self.sigma(torch.arange(1, 1001) / 1000 * self.multiplier)

    def timestep(self, sigma: Tensor) -> Tensor:
        """σ in the network's unit: [N] to [N]."""
        return sigma * self.multiplier

    def sigma(self, timestep: Tensor) -> Tensor:
        """σ after the shift of a time that has none, in the network's unit: [N] to [N]."""
        u = timestep / self.multiplier
        return u if self.shift == 1.0 else self.shift * u / (1 + (self.shift - 1) * u)

    def percent_to_sigma(self, percent: float) -> float:
        """σ at a share of the time before the shift; 1 at 0, and 0 at 1."""
        if percent <= 0.0:
            return 1.0
        if percent >= 1.0:
            return 0.0
        u = 1.0 - percent
        return self.shift * u / (1 + (self.shift - 1) * u)


@dataclass(frozen=True)
class Flux:
    """Rectified flow as Flux was trained: σ = e^μ/(e^μ + 1/u - 1), the shift of `Flow` with a = e^μ.

    Args:
        mu: μ, which rises with the number of tokens.
    """

    mu: float = 1.15

    @cached_property
    def table(self) -> Tensor:
        """σ at u = 1/10000, 2/10000 … 1: [10000] float32."""
        return self.sigma(torch.arange(1, 10_001) / 10_000)

    def timestep(self, sigma: Tensor) -> Tensor:
        """σ itself: [N] to [N]."""
        return sigma

    def sigma(self, timestep: Tensor) -> Tensor:
        """σ after the shift of a time that has none: [N] to [N]."""
        factor = math.exp(self.mu)
        return factor / (factor + (1 / timestep - 1))

    def percent_to_sigma(self, percent: float) -> float:
        """σ at a share of the time before the shift; 1 at 0, and 0 at 1."""
        if percent <= 0.0:
            return 1.0
        if percent >= 1.0:
            return 0.0
        factor = math.exp(self.mu)
        return factor / (factor + (1 / (1.0 - percent) - 1))
