"""One run of a sampler: a latent in; the sampled latent and the last estimate out."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from engine.problems import NodeFailure
from engine.steps import Progress, Steps
from nodes.diffusion.added import Scene
from nodes.diffusion.guidance import Guider, guided, without_base
from nodes.diffusion.inpainting import falling, inpainted
from nodes.diffusion.model import Model
from nodes.diffusion.noise import initial_noise
from nodes.diffusion.preview import Estimate
from nodes.diffusion.resize import repeated_to, resized_mask
from nodes.diffusion.samplers import SAMPLERS
from nodes.diffusion.weights import compute_dtype
from nodes.ports import Latent, Noise, SamplerChoice


def sampled(
    guider: Guider, choice: SamplerChoice, sigmas: Tensor, latent: Latent, noise: Noise, seed: int
) -> Steps[tuple[Latent, Latent]]:
    """Add noise to a latent at σ_0 and denoise it along σ [n + 1]: the sample, and the last estimate of x0.

    Args:
        noise: The initial noise; its seed None adds none.
        seed: Of the noise that the sampler adds on the way.

    Raises:
        NodeFailure: The latent has other channels than the model, or the sample is not finite.
    """
    if len(sigmas) == 0:
        return latent, latent
    model, sampler = guider.model, SAMPLERS[choice.name]
    samples = model.fitted(latent.samples)
    if samples.shape[1] != model.latent.channels:
        raise NodeFailure(
            f"the latent has {samples.shape[1]} channels, the model {model.latent.channels}",
            "encode the picture with the VAE of this model",
        )
    device, space = model.devices.device, model.sampling
    start = model.latent.entered(samples).to(device)
    drawn = initial_noise(samples, noise.seed, latent.batch_index).to(device)
    x = space.noised(start, drawn, sigmas[0], full=space.starts_at_full_noise(sigmas[0]))
    mask = None if latent.noise_mask is None else _fitted(latent.noise_mask, x)
    denoise = guided(guider, Scene(start, mask, seed), always_base=sampler.sees_both)
    if mask is not None:
        if sampler.redraws_inpaint_noise:
            drawn = initial_noise(samples, (seed + 1) % 2**64).to(device)
        denoise = inpainted(denoise, start, drawn, space, _mask_at(mask, model, sigmas))
    asked = denoise if sampler.sees_both else without_base(denoise)
    steps = sampler(asked, x, sigmas, seed=seed, space=space, **dict(choice.options))
    result, estimate = yield from _with_last_preview(steps, model)
    _check_finite(result, model)
    last = result if estimate is None else estimate
    result = space.kept(result, sigmas[-1])
    return (
        latent.with_samples(model.latent.unscaled(result.float()).cpu()),
        latent.with_samples(model.latent.unscaled(last.float()).cpu()),
    )


def _check_finite(result: Tensor, model: Model) -> None:
    """Refuse a sample with NaN or Inf, which would decode to a black picture."""
    bad = int((~result.isfinite()).sum())
    if bad:
        half = compute_dtype("unet", model.devices) is torch.float16
        raise NodeFailure(
            f"{bad} of {result.numel()} values of the sampled latent are NaN or infinite",
            ("the model may overflow in float16: compute in bfloat16 or float32; or " if half else "")
            + "the checkpoint or a LoRA is damaged, or the sampler diverges: try others, or a lower cfg",
        )


def _fitted(noise_mask: Tensor, like: Tensor) -> Tensor:
    """The mask [B, 1, h, w] of a latent's items at its size."""
    return repeated_to(resized_mask(noise_mask, like.shape[-1], like.shape[-2]), len(like)).to(like)


def _mask_at(mask: Tensor, model: Model, sigmas: Tensor) -> Callable[[Tensor], Tensor]:
    """The mask [B, 1, h, w] of a run at each σ."""
    if model.differential is not None:
        return falling(mask, sigmas, model.sampling, model.differential)
    return lambda _: mask


def _with_last_preview(steps: Steps[Tensor], model: Model) -> Steps[tuple[Tensor, Tensor | None]]:
    """The result of a sampler, and the estimate that it showed last; listeners are shown it as a picture."""
    answer: Any = None
    preview: Tensor | None = None
    while True:
        try:
            ask = steps.send(answer)
        except StopIteration as stop:
            return stop.value, preview
        if isinstance(ask, Progress) and isinstance(ask.preview, Tensor):
            preview = ask.preview
            ask = replace(ask, preview=Estimate(preview, model.latent.rgb))
        answer = yield ask
