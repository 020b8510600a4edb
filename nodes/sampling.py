"""Nodes that sample: a latent and a conditioning in, a denoised latent out."""

from typing import Annotated, Literal, TypeAlias

from torch import Tensor

from engine.node import node
from engine.ports import Range, fixed_choices
from engine.steps import Steps
from nodes.diffusion.guidance import Guider, classifier_free
from nodes.diffusion.model import Model
from nodes.diffusion.noise import initial_noise
from nodes.diffusion.run import sampled
from nodes.diffusion.samplers import SAMPLERS
from nodes.diffusion.schedules import SCHEDULES
from nodes.ports import Conditioning, Fraction, Latent, Noise, SamplerChoice, Seed, Sigmas

SamplerName: TypeAlias = Annotated[str, fixed_choices(tuple(n for n, s in SAMPLERS.items() if s.listed))]
SchedulerName: TypeAlias = Annotated[str, fixed_choices(tuple(SCHEDULES))]
StepCount: TypeAlias = Annotated[int, Range(1, 10_000)]
StepIndex: TypeAlias = Annotated[int, Range(0, 10_000)]
Cfg: TypeAlias = Annotated[float, Range(0.0, 100.0, step=0.1, round=0.01)]


@node("KSampler", version=2, category="sampling")
def ksampler(
    *,
    model: Model,
    seed: Seed = 0,
    steps: StepCount = 20,
    cfg: Cfg = 8.0,
    sampler_name: SamplerName,
    scheduler: SchedulerName,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    denoise: Fraction = 1.0,
) -> Steps[Latent]:
    """Denoise a latent under classifier-free guidance (Ho & Salimans 2022).

    Args:
        model: The model that denoises.
        seed: Of the noise; the same seed gives the same picture.
        steps: How many steps to take.
        cfg: Guidance scale; at 1 the negative conditioning has no effect.
        sampler_name: How to step from one noise level to the next.
        scheduler: How to spread the noise levels over the steps.
        positive: What the picture should show.
        negative: What it should not show.
        latent_image: What to start from; an empty latent for a new picture.
        denoise: Share of the schedule to run; below 1 keeps structure of the input.
    """
    sigmas = _sigmas(model, sampler_name, scheduler, steps, denoise)
    guider = classifier_free(model, positive, negative, cfg)
    choice = SamplerChoice(sampler_name)
    result, _ = yield from sampled(guider, choice, sigmas, latent_image, Noise(seed), seed)
    return result


@node("KSamplerAdvanced", version=2, category="sampling", title="KSampler (Advanced)")
def ksampler_advanced(
    *,
    model: Model,
    add_noise: Literal["enable", "disable"],
    noise_seed: Seed = 0,
    steps: StepCount = 20,
    cfg: Cfg = 8.0,
    sampler_name: SamplerName,
    scheduler: SchedulerName,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    start_at_step: StepIndex = 0,
    end_at_step: StepIndex = 10_000,
    return_with_leftover_noise: Literal["disable", "enable"],
) -> Steps[Latent]:
    """Run a part of a schedule, so that several samplers can share one.

    Args:
        model: The model that denoises.
        add_noise: "disable" takes the latent as noisy already.
        noise_seed: Of the noise; the same seed gives the same picture.
        steps: Steps of the whole schedule.
        cfg: Guidance scale; at 1 the negative conditioning has no effect.
        sampler_name: How to step from one noise level to the next.
        scheduler: How to spread the noise levels over the steps.
        positive: What the picture should show.
        negative: What it should not show.
        latent_image: What to start from.
        start_at_step: The first step to run; past the end the latent is returned as it is.
        end_at_step: The first step not to run.
        return_with_leftover_noise: "disable" makes the last step run to no noise.
    """
    sigmas = _sigmas(model, sampler_name, scheduler, steps)
    if end_at_step < len(sigmas) - 1:
        sigmas = sigmas[: end_at_step + 1].clone()
        if return_with_leftover_noise == "disable":
            sigmas[-1] = 0.0
    sigmas = sigmas[start_at_step:] if start_at_step < len(sigmas) - 1 else sigmas[:0]
    guider = classifier_free(model, positive, negative, cfg)
    noise = Noise(noise_seed if add_noise == "enable" else None)
    choice = SamplerChoice(sampler_name)
    result, _ = yield from sampled(guider, choice, sigmas, latent_image, noise, noise_seed)
    return result


@node("SamplerCustom", version=2, category="sampling/custom_sampling", outputs=("output", "denoised_output"))
def sampler_custom(
    *,
    model: Model,
    add_noise: bool = True,
    noise_seed: Seed = 0,
    cfg: Cfg = 8.0,
    positive: Conditioning,
    negative: Conditioning,
    sampler: SamplerChoice,
    sigmas: Sigmas,
    latent_image: Latent,
) -> Steps[tuple[Latent, Latent]]:
    """Denoise a latent along given noise levels, with a sampler and its options.

    Args:
        model: The model that denoises.
        add_noise: Off takes the latent as noisy already.
        noise_seed: Of the noise; the same seed gives the same picture.
        cfg: Guidance scale; at 1 the negative conditioning has no effect.
        positive: What the picture should show.
        negative: What it should not show.
        sampler: How to step from one noise level to the next.
        sigmas: The noise levels.
        latent_image: What to start from.

    Returns:
        The sample, and the last estimate of it without noise.
    """
    guider = classifier_free(model, positive, negative, cfg)
    noise = Noise(noise_seed if add_noise else None)
    return (yield from sampled(guider, sampler, sigmas, latent_image, noise, noise_seed))


@node(
    "SamplerCustomAdvanced",
    version=2,
    category="sampling/custom_sampling",
    outputs=("output", "denoised_output"),
)
def sampler_custom_advanced(
    *, noise: Noise, guider: Guider, sampler: SamplerChoice, sigmas: Sigmas, latent_image: Latent
) -> Steps[tuple[Latent, Latent]]:
    """Denoise a latent along given noise levels, with noise, guidance and sampler from nodes of their own.

    Args:
        noise: The noise to start from; its seed is also the sampler's.
        guider: The model, and how its estimates are guided.
        sampler: How to step from one noise level to the next.
        sigmas: The noise levels.
        latent_image: What to start from.

    Returns:
        The sample, and the last estimate of it without noise.
    """
    return (yield from sampled(guider, sampler, sigmas, latent_image, noise, noise.seed or 0))


@node("AddNoise", category="_for_testing/custom_sampling/noise", version=2)
def add_noise(*, model: Model, noise: Noise, sigmas: Sigmas, latent_image: Latent) -> Latent:
    """Put noise on a latent as a sampler would before its first step.

    Args:
        model: The model whose noise levels these are.
        noise: The noise.
        sigmas: The level is the first less the last of these; of a single one, itself. Unlike a sampler, the
            greatest level is as the others: the latent and so much noise.
        latent_image: What gets the noise.
    """
    if len(sigmas) == 0:
        return latent_image
    level = sigmas[0] if len(sigmas) == 1 else (sigmas[0] - sigmas[-1]).abs()
    samples, space = latent_image.samples, model.sampling
    drawn = initial_noise(samples, noise.seed, latent_image.batch_index).to(samples)
    noisy = model.latent.unscaled(space.noised(model.latent.entered(samples), drawn, level))
    return latent_image.with_samples(noisy.nan_to_num(0.0, 0.0, 0.0))


def _sigmas(model: Model, sampler_name: str, scheduler: str, steps: int, denoise: float = 1.0) -> Tensor:
    discard = SAMPLERS[sampler_name].discard_penultimate
    return model.sigmas(scheduler, steps, denoise, discard_penultimate=discard)
