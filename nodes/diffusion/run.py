"""One run of a sampler: a latent in; the sampled latent and the last estimate out."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor

from engine.problems import NodeFailure
from engine.steps import Progress, Steps
from nodes.diffusion.guidance import Guider, falling, guided, inpainted, without_base
from nodes.diffusion.model import Model
from nodes.diffusion.noise import initial_noise
from nodes.diffusion.preview import Estimate
from nodes.diffusion.resize import repeated_to, resized_mask
from nodes.diffusion.samplers import SAMPLERS
from nodes.ports import Latent, Noise, SamplerChoice


def sampled(
    guider: Guider, choice: SamplerChoice, sigmas: Tensor, latent: Latent, noise: Noise, seed: int
) -> Steps[tuple[Latent, Latent]]:
    """Add noise to a latent at σ_0 and denoise it along σ [n + 1]: the sample, and the last estimate of x0.

    Args:
        noise: The initial noise; its seed None adds none.
        seed: Of the noise that the sampler adds on the way.

    Raises:
        NodeFailure: The latent has other channels than the model.
    """
    if len(sigmas) == 0:
        return latent, latent
    model, sampler = guider.model, SAMPLERS[choice.name]
    samples = model.fitted(latent.samples)
    if samples.shape[1] != model.latent_channels:
        raise NodeFailure(
            f"the latent has {samples.shape[1]} channels, the model {model.latent_channels}",
            "encode the picture with the VAE of this model",
        )
    device, space = model.devices.device, model.sampling
    start = (samples * model.latent_scale).to(device)
    drawn = initial_noise(samples, noise.seed, latent.batch_index).to(device)
    x = space.noised(start, drawn, sigmas[0], full=space.starts_at_full_noise(sigmas[0]))
    denoise = guided(guider, x, always_base=sampler.sees_both)
    if latent.noise_mask is not None:
        if sampler.redraws_inpaint_noise:
            drawn = initial_noise(samples, (seed + 1) % 2**64).to(device)
        mask_at = _mask(latent.noise_mask, model, sigmas, x)
        denoise = inpainted(denoise, start, drawn, mask_at)
    asked = denoise if sampler.sees_both else without_base(denoise)
    steps = sampler(asked, x, sigmas, seed=seed, space=space, **dict(choice.options))
    result, estimate = yield from _with_last_preview(steps, model)
    last = result if estimate is None else estimate
    return (
        latent.with_samples((result.float() / model.latent_scale).cpu()),
        latent.with_samples((last.float() / model.latent_scale).cpu()),
    )


def _mask(noise_mask: Tensor, model: Model, sigmas: Tensor, like: Tensor) -> Callable[[Tensor], Tensor]:
    """The mask [B, 1, h, w] of a run at each σ."""
    mask = repeated_to(resized_mask(noise_mask, like.shape[-1], like.shape[-2]), len(like)).to(like)
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
            ask = replace(ask, preview=Estimate(preview, model.latent_rgb))
        answer = yield ask
