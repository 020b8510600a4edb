"""What a noise level means to a network: which σ it knows, and how its input and output are scaled."""

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from nodes.diffusion.levels import NEVER, Discrete, Levels

__all__ = ["NEVER", "ModelSampling", "Prediction"]

Prediction = Literal["eps", "v_prediction", "edm", "x0", "lcm", "img_to_img", "flow", "cosmos_rflow"]


@dataclass(frozen=True)
class ModelSampling:
    """A network as an estimator of x0 at noise level σ.

    Latents are variance-exploding, x = x0 + σ n (Karras et al. 2022, table 1), but for flows, where σ is the
    share of noise, x = (1 - σ) x0 + σ n (Liu et al. 2022, "Flow straight and fast").

    Args:
        prediction: What the network estimates: the noise ε, v = √ᾱ ε - √(1 - ᾱ) x0 (Salimans & Ho 2022) or
            its negative ("edm", the network F of Karras et al. 2022), x0, the ε of a latent consistency model
            (Luo et al. 2023), x0 from an x that is not scaled, or the velocity n - x0 of a flow, whose σ is
            the share of noise ("flow") or its odds ("cosmos_rflow").
        levels: The σ it knows.
        spread: σ_data, the standard deviation of the latents that it was trained on.
    """

    prediction: Prediction = "eps"
    levels: Levels = field(default_factory=Discrete)
    spread: float = 1.0

    @property
    def table(self) -> Tensor:
        """σ at each timestep that schedules choose from, rising: [M] float32."""
        return self.levels.table

    @property
    def sigma_min(self) -> Tensor:
        """The smallest σ of training: [] float32."""
        return self.table[0]

    @property
    def sigma_max(self) -> Tensor:
        """The largest σ of training: [] float32."""
        return self.table[-1]

    @property
    def is_flow(self) -> bool:
        """Whether σ is the share of noise, 0..1, and x keeps the share 1 - σ of the picture."""
        return self.prediction == "flow"

    def signal(self, sigma: Tensor) -> Tensor:
        """The factor of the picture in x at σ: 1, and 1 - σ for a flow: [N] to [N]."""
        return 1.0 - sigma if self.is_flow else torch.ones_like(sigma)

    def timestep(self, sigma: Tensor) -> Tensor:
        """What the network is told of σ: [N] to [N]."""
        return self.levels.timestep(sigma)

    def sigma(self, timestep: Tensor) -> Tensor:
        """σ at a timestep, which may be fractional: [N] to [N]."""
        return self.levels.sigma(timestep)

    def percent_to_sigma(self, percent: float) -> float:
        """σ at a share of the sampling, 0 the noisiest; at 0 it may be above all others, at 1 it is 0."""
        return self.levels.percent_to_sigma(percent)

    def scaled(self, x: Tensor, sigma: Tensor) -> Tensor:
        """What the network sees: x [N, C, h, w] at unit variance, each row by its own σ [N]."""
        sigma = _columns(sigma, x)
        match self.prediction:
            case "img_to_img" | "flow":
                return x
            case "cosmos_rflow":
                return x / (sigma + 1)
            case _:
                return x / (sigma**2 + self.spread**2).sqrt()

    def denoised(self, x: Tensor, sigma: Tensor, output: Tensor) -> Tensor:
        """The estimate of x0 [N, C, h, w] from the network's output for x at σ [N]."""
        levels, sigma = sigma, _columns(sigma, x)
        match self.prediction:
            case "eps" | "flow":
                return x - sigma * output
            case "v_prediction" | "edm":
                sign = -1.0 if self.prediction == "v_prediction" else 1.0
                total = sigma**2 + self.spread**2
                return x * (self.spread**2 / total) + output * (sign * self.spread * sigma / total.sqrt())
            case "lcm":  # its boundary condition, with σ_data = 0.5 and the time scaled by 10
                skip = 0.25 / ((10.0 * _columns(self.timestep(levels), x)) ** 2 + 0.25)
                return (x - sigma * output) * (1 - skip).sqrt() + x * skip
            case "cosmos_rflow":
                return (x - output * sigma) / (sigma + 1)
            case "x0" | "img_to_img":
                return output

    def starts_at_full_noise(self, sigma: Tensor) -> bool:
        """Whether σ [] is where training ends, so that a run from there starts at pure noise."""
        first, largest = float(sigma), float(self.sigma_max)
        return first >= largest or math.isclose(first, largest, rel_tol=1e-5)

    def noised(self, latent: Tensor, noise: Tensor, sigma: Tensor, *, full: bool = False) -> Tensor:
        """A latent [B, C, h, w] at noise level σ [].

        Args:
            full: Take the variance of x at the last training step, √(1 + σ²), as a run from pure noise does;
                without effect on flows.
        """
        if self.is_flow:
            return latent * (1.0 - sigma) + noise * sigma
        widened = full and self.prediction != "cosmos_rflow"
        return latent + noise * ((1.0 + sigma**2).sqrt() if widened else sigma)

    def kept(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The latent to hand on from a run that ends at σ []: that of a flow without its factor 1 - σ."""
        return x / (1.0 - sigma) if self.is_flow else x


def _columns(sigma: Tensor, x: Tensor) -> Tensor:
    return sigma.to(x).reshape(-1, *[1] * (x.ndim - 1))


def odds(share: Tensor) -> Tensor:
    """σ/(1 - σ): the level of a flow where its x/(1 - σ) is variance-exploding."""
    return share / (1 - share)


def share(odds: Tensor) -> Tensor:
    """The inverse of `odds`."""
    return torch.where(odds.isinf(), 1.0, odds / (1 + odds))
