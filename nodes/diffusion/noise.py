"""Seeded noise: what a run starts from, and what stochastic samplers add on the way.

Every source owns its generator, so that runs never see each other's draws. The initial noise is drawn on the
CPU, so that a seed gives the same picture on every device; step noise is drawn where x lies, as the ecosystem
does.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
import torchsde
from torch import Tensor

StepNoise: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(σ [], lower σ []) to standard normal noise shaped like x, for the step between them."""

NoiseSource: TypeAlias = Callable[[Tensor, Tensor, int], Callable[..., Tensor]]
"""(x [B, C, h, w], σ of the whole run [n + 1], seed) to the noise of one run, as a rule a `StepNoise`."""


def initial_noise(like: Tensor, seed: int | None, batch_index: Sequence[int] | None = None) -> Tensor:
    """Standard normal noise on the CPU, in the shape and dtype of `like` [B, C, h, w].

    Args:
        seed: 0..2**64 - 1; None gives zeros.
        batch_index: For each item the place in a batch whose noise it gets, so that a picture cut out of a
            batch can be made again; None counts from 0.
    """
    shape = like.shape
    if seed is None:
        return torch.zeros(shape, dtype=like.dtype)
    generator = torch.Generator().manual_seed(seed)
    if batch_index is None:
        return torch.randn(shape, generator=generator, dtype=like.dtype)
    drawn = [
        torch.randn(1, *shape[1:], generator=generator, dtype=like.dtype) for _ in range(max(batch_index) + 1)
    ]
    return torch.cat([drawn[batch_index[i % len(batch_index)]] for i in range(shape[0])])


def white(x: Tensor, _: Tensor, seed: int) -> StepNoise:
    """Independent noise at each step, from a generator on x's device with the seed of the run."""
    generator = torch.Generator(x.device).manual_seed(seed)

    def noise(_sigma: Tensor, _lower: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)

    return noise


def onward(x: Tensor, _: Tensor, seed: int) -> Callable[[Tensor], Tensor]:
    """Independent noise in any shape: (a tensor of the shape) to noise, in the order of its memory.

    On the CPU it goes on where the initial noise of the seed ended, on others it starts anew.
    """
    generator = torch.Generator(x.device).manual_seed(seed)
    if x.device.type == "cpu":
        torch.randn(x.shape, generator=generator, dtype=x.dtype)
    return lambda like: torch.empty_like(like).normal_(generator=generator)


def brownian(x: Tensor, sigmas: Tensor, seed: int) -> StepNoise:
    """Increments of one Brownian path over σ, so that runs with more steps refine the same picture.

    The path is computed on the CPU (Kidger et al. 2021, "Efficient and accurate gradients for neural SDEs",
    Brownian interval); noise(σ, σ') = (W(σ') - W(σ)) / √|σ - σ'|.
    """
    return _path(x, sigmas, seed, torch.device("cpu"))


def brownian_on_device(x: Tensor, sigmas: Tensor, seed: int) -> StepNoise:
    """As `brownian`, with the path computed where x lies: another path on another kind of device."""
    return _path(x, sigmas, seed, x.device)


def _path(x: Tensor, sigmas: Tensor, seed: int, device: torch.device) -> StepNoise:
    # The tree keeps times to six decimals and warns of times beyond its ends: round and clamp as it would.
    first, last = round(float(sigmas[sigmas > 0].min()), 6), round(float(sigmas.max()), 6)
    start = torch.zeros(x.shape, dtype=x.dtype, device=device)
    tree = torchsde.BrownianTree(first, start, last, entropy=seed)

    def noise(sigma: Tensor, lower: Tensor) -> Tensor:
        begin, end = sorted(min(max(float(s), first), last) for s in (sigma, lower))
        step: Tensor = tree(begin, end) / (sigma - lower).abs().sqrt()
        return (-step if sigma > lower else step).to(x.device)

    return noise
