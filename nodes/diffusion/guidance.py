"""Guidance: estimates of x0 under several conditionings, asked for in one call and combined into one."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.ports import Port
from engine.steps import Steps, call
from nodes.diffusion.conditioning import Part, prepared
from nodes.diffusion.model import Model, Query
from nodes.diffusion.samplers.sampler import Denoise, DenoiseBoth
from nodes.diffusion.sampling_space import ModelSampling
from nodes.ports import Conditioning


@Port("GUIDER")
@dataclass(frozen=True)
class Guider:
    """A model, and how its estimates under several conditionings are combined: linearly.

    The result is D = Σ w_i D_i; one with weight 0 is not asked for.

    Args:
        sides: The conditionings; the last one is the base that the others are compared with.
        weights: One a side; they sum to 1.
    """

    model: Model
    sides: tuple[Conditioning, ...]
    weights: tuple[float, ...]


def plain(model: Model, conditioning: Conditioning) -> Guider:
    """One conditioning, no guidance."""
    return Guider(model, (conditioning,), (1.0,))


def classifier_free(model: Model, positive: Conditioning, negative: Conditioning, cfg: float) -> Guider:
    """D = D_u + s (D_c - D_u) (Ho & Salimans 2022, equation 6, with 1 + w = s)."""
    return Guider(model, (positive, negative), (cfg, 1.0 - cfg))


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

    Args:
        cfg: Scale of the first against the second.
        cfg_negative: Scale of the second against the negative.
        nested: Scale the guided pair against the negative, not the second alone.
    """
    first_weight = cfg * cfg_negative if nested else cfg
    weights = (first_weight, cfg_negative - first_weight, 1.0 - cfg_negative)
    return Guider(model, (first, second, negative), weights)


def guided(guider: Guider, like: Tensor, *, always_base: bool = False) -> DenoiseBoth:
    """The guided estimate of x0 beside that of the base, for latents shaped like [B, C, h, w].

    Args:
        always_base: Ask for the base even where its weight is 0; without, it is then another side's estimate.
    """
    sides = prepared(guider.sides, guider.model.sampling, like)
    last = len(sides) - 1
    used = [
        i
        for i, weight in enumerate(guider.weights)
        if not math.isclose(weight, 0.0, abs_tol=1e-9) or (always_base and i == last)
    ]

    def denoise(x: Tensor, sigma: Tensor) -> Steps[tuple[Tensor, Tensor]]:
        *estimates, base = yield from _estimates(guider.model, [sides[i] for i in used], x, sigma)
        combined = base
        for i, estimate in zip(used[:-1], estimates, strict=True):
            combined = combined + (estimate - base) * guider.weights[i]
        if guider.model.cfg_rescale and estimates:
            combined = rescaled(combined, estimates[0], x, sigma, guider.model.cfg_rescale)
        return combined, base

    return denoise


def rescaled(guided: Tensor, positive: Tensor, x: Tensor, sigma: Tensor, phi: float) -> Tensor:
    """The guided estimate with the contrast of the positive one, which high scales exceed.

    Both [B, C, h, w] are compared as v predictions, each picture by its standard deviation (Lin et al. 2023,
    equations 15 and 16).

    Args:
        phi: φ, 0 changes nothing, 1 rescales fully.
    """
    origin = x / (sigma**2 + 1)
    v, v_positive = origin - guided, origin - positive
    every = tuple(range(1, x.ndim))
    ratio = v_positive.std(dim=every, keepdim=True) / v.std(dim=every, keepdim=True)
    return origin - v * (phi * ratio + (1 - phi))


def falling(
    mask: Tensor, sigmas: Tensor, space: ModelSampling, strength: float
) -> Callable[[Tensor], Tensor]:
    """A mask [B, 1, h, w] whose values are thresholds: what it marks weakly is freed late in the run.

    Differential diffusion (Levin & Fried 2023, algorithm 1), in shares of the timesteps that σ [n + 1] spans.

    Args:
        strength: 1 frees each place at once, 0 leaves the mask as it is.

    Returns:
        σ [] to the mask at that level.
    """
    ends = torch.stack([sigmas[0], sigmas[-1].maximum(space.sigma_min)])
    first, last = space.timestep(ends).tolist()

    def at(sigma: Tensor) -> Tensor:
        threshold = (float(space.timestep(sigma)) - last) / max(first - last, 1)
        return torch.lerp(mask, (mask >= threshold).to(mask), strength)

    return at


def inpainted(
    denoise: DenoiseBoth, latent: Tensor, noise: Tensor, mask_at: Callable[[Tensor], Tensor]
) -> DenoiseBoth:
    """The estimate where only what the mask marks may change; all [B, C, h, w] or broadcasting to it.

    Outside the mask the model sees the latent at its noise level, and its estimate is replaced by the latent.

    Args:
        noise: The noise that stands on the latent, the same at every level.
        mask_at: σ [] to the mask at that level: 1 = may change, 0..1 mixes.
    """

    def masked(x: Tensor, sigma: Tensor) -> Steps[tuple[Tensor, Tensor]]:
        mask = mask_at(sigma)
        seen = x * mask + (latent + noise * sigma) * (1.0 - mask)
        denoised, base = yield from denoise(seen, sigma)
        return denoised * mask + latent * (1.0 - mask), base

    return masked


def without_base(denoise: DenoiseBoth) -> Denoise:
    """The guided estimate alone."""

    def first(x: Tensor, sigma: Tensor) -> Steps[Tensor]:
        denoised, _ = yield from denoise(x, sigma)
        return denoised

    return first


def _estimates(
    model: Model, sides: Sequence[Sequence[Part]], x: Tensor, sigma: Tensor
) -> Steps[list[Tensor]]:
    """The average estimate of each side's parts, asked for in one call: a row for each item and part."""
    level = float(sigma)
    acting = [[part for part in side if part.acts_at(level)] for side in sides]
    queries = [
        Query(
            part.area.of(x[i : i + 1]),
            sigma,
            part.context[i % len(part.context)][None],
            part.control(i, level),
        )
        for side in acting
        for part in side
        for i in range(len(x))
    ]
    answers = iter((yield from call(model, *queries)))
    return [_average([(part, torch.cat([next(answers) for _ in x])) for part in side], x) for side in acting]


def _average(estimates: Sequence[tuple[Part, Tensor]], like: Tensor) -> Tensor:
    """Σ D_i w_i / Σ w_i at each place of the latent; 0 where no part acts."""
    total, weight = torch.zeros_like(like), torch.full_like(like, 1e-37)
    for part, estimate in estimates:
        part.area.of(total).add_(estimate * part.weight)
        part.area.of(weight).add_(part.weight)
    return total / weight
