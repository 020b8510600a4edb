"""What a noise level means to a network: the σ table of its training, timesteps, input and output scaling."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

Prediction = Literal["eps", "v_prediction", "x0", "lcm", "img_to_img"]
NEVER = 999_999_999.9  # a σ above all others: "from the start", as the ecosystem writes it
LAST_ALPHA_BAR = 4.8973451890853435e-08  # ᾱ_T after the zero-SNR rescaling, where 0 would give σ = ∞


@dataclass(frozen=True)
class ModelSampling:
    """A variance-exploding view of a network trained on discrete timesteps: x = x0 + σ n.

    With ᾱ = Π(1 - β), σ = √((1 - ᾱ)/ᾱ) (Karras et al. 2022, table 1, the VP column).

    Args:
        prediction: What the network estimates: the noise ε, v = √ᾱ ε - √(1 - ᾱ) x0 (Salimans & Ho 2022),
            x0, the ε of a latent consistency model (Luo et al. 2023), or x0 from an x that is not scaled.
        beta_start: The first β, above 0.
        beta_end: The last β, below 1.
        beta_schedule: β equally spaced ("linear"), or √β equally spaced ("scaled_linear", Stable Diffusion).
        zero_snr: Shift the table so that its end is pure noise (Lin et al. 2023, algorithm 1).
        steps: Number of training timesteps.
        stride: Keep each stride-th of them only, counted from the last, as distilled models were trained.
    """

    prediction: Prediction = "eps"
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

    @property
    def sigma_min(self) -> Tensor:
        """The smallest σ of training: [] float32."""
        return self.table[0]

    @property
    def sigma_max(self) -> Tensor:
        """The largest σ of training: [] float32."""
        return self.table[-1]

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
        """σ at a share of the training timesteps, 0 the noisiest; σ is unbounded at 0 and 0 at 1."""
        if percent <= 0.0:
            return NEVER
        if percent >= 1.0:
            return 0.0
        return float(self.sigma(torch.tensor((1.0 - percent) * (self.steps - 1))))

    def scaled(self, x: Tensor, sigma: Tensor) -> Tensor:
        """What the network sees: x [N, C, h, w] at unit variance, each row by its own σ [N]."""
        return x if self.prediction == "img_to_img" else x / (_columns(sigma, x) ** 2 + 1).sqrt()

    def denoised(self, x: Tensor, sigma: Tensor, output: Tensor) -> Tensor:
        """The estimate of x0 [N, C, h, w] from the network's output for x at σ [N]."""
        timestep, sigma = self.timestep(sigma), _columns(sigma, x)
        match self.prediction:
            case "eps":
                return x - sigma * output
            case "v_prediction":
                return x / (sigma**2 + 1) - output * sigma / (sigma**2 + 1).sqrt()
            case "lcm":  # its boundary condition, with σ_data = 0.5 and the time scaled by 10
                skip = 0.25 / ((10.0 * _columns(timestep, x)) ** 2 + 0.25)
                return (x - sigma * output) * (1 - skip).sqrt() + x * skip
            case "x0" | "img_to_img":
                return output

    def starts_at_full_noise(self, sigma: Tensor) -> bool:
        """Whether σ [] is where training ends, so that a run from there starts at pure noise."""
        first, largest = float(sigma), float(self.sigma_max)
        return first >= largest or math.isclose(first, largest, rel_tol=1e-5)

    def noised(self, latent: Tensor, noise: Tensor, sigma: Tensor, *, full: bool = False) -> Tensor:
        """A latent [B, C, h, w] at noise level σ [].

        Args:
            full: Take the variance of x at the last training step, √(1 + σ²), as a run from pure noise does.
        """
        return latent + noise * ((1.0 + sigma**2).sqrt() if full else sigma)


def _columns(sigma: Tensor, x: Tensor) -> Tensor:
    return sigma.to(x).reshape(-1, *[1] * (x.ndim - 1))
