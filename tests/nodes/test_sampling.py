"""Sampling nodes: the same pictures as diffusers, alone or together, whole or in parts."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from engine.devices import Devices
from engine.problems import NodeFailure
from engine.steps import Progress, Steps, run_alone
from nodes.diffusion.guidance import classifier_free, plain
from nodes.diffusion.model import Model
from nodes.diffusion.noise import initial_noise
from nodes.diffusion.samplers import SAMPLERS
from nodes.ports import Conditioning, Latent, Noise, SamplerChoice
from nodes.sampling import add_noise, ksampler, ksampler_advanced, sampler_custom, sampler_custom_advanced
from tests.nodes.denoisers import ToyModel, says
from tests.nodes.networks import Ready, tiny_model

STORYBOOK = Path(__file__).parents[2] / "nodes" / "storybook"
EMPTY = Latent(torch.zeros(1, 4, 8, 8))


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def prompt(seed: int, width: int = 8, tokens: int = 5) -> Conditioning:
    context = torch.randn(1, tokens, width, generator=torch.Generator().manual_seed(seed))
    return says(0.0).mapped(lambda c: replace(c, embedding=context))


def sample(model: Model, latent: Latent = EMPTY, **options: Any) -> Steps[Latent]:
    settings: dict[str, Any] = {
        "seed": 1, "steps": 4, "cfg": 3.0, "sampler_name": "euler", "scheduler": "karras",
        "positive": prompt(1), "negative": prompt(2),
    }  # fmt: skip
    return ksampler(model=model, latent_image=latent, **(settings | options))


def sample_advanced(model: Model, latent: Latent = EMPTY, **options: Any) -> Latent:
    settings: dict[str, Any] = {
        "add_noise": "enable", "noise_seed": 1, "steps": 6, "cfg": 3.0, "sampler_name": "euler",
        "scheduler": "karras", "positive": prompt(1), "negative": prompt(2),
        "return_with_leftover_noise": "disable",
    }  # fmt: skip
    return run_alone(ksampler_advanced(model=model, latent_image=latent, **(settings | options)))


def custom(model: Model, sigmas: Tensor) -> tuple[Latent, Latent]:
    settings: dict[str, Any] = {"noise_seed": 1, "cfg": 3.0, "positive": prompt(1), "negative": prompt(2)}
    choice = SamplerChoice("euler")
    return run_alone(
        sampler_custom(model=model, sampler=choice, sigmas=sigmas, latent_image=EMPTY, **settings)
    )


def assert_near(got: Tensor, expected: Tensor) -> None:
    """Equal but for the order of operations in batches of another size."""
    assert (got - expected).abs().max() <= 1e-4 * expected.abs().max()


def image() -> Latent:
    return Latent(torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3)))


def storybook() -> Model:
    unet = UNet2DConditionModel.from_pretrained(STORYBOOK / "unet", torch_dtype=torch.float32)
    return Model(cast(Any, Ready("storybook", unet.eval())), Devices("cpu"))


@pytest.mark.skipif(not (STORYBOOK / "unet").is_dir(), reason="no embedded model in this checkout")
def test_ddim_on_the_embedded_model_is_diffusers() -> None:
    """Twenty guided steps; ddim_uniform has the timesteps of DDIMScheduler's "leading" with offset 1.

    The two differ in their order of operations only: 1e-4 of the largest value (2e-6 measured).
    """
    model = storybook()
    unet: Any = model.recipe.module(model.devices)
    positive, negative = (
        prompt(1, unet.config.cross_attention_dim, 77),
        prompt(2, unet.config.cross_attention_dim, 77),
    )
    latent = Latent(torch.zeros(1, 4, 16, 16))
    got = run_alone(
        sample(model, latent, seed=5, steps=20, cfg=5.0, sampler_name="ddim", scheduler="ddim_uniform",
               positive=positive, negative=negative)
    ).samples  # fmt: skip
    scheduler = DDIMScheduler.from_pretrained(STORYBOOK / "scheduler", set_alpha_to_one=True)
    scheduler.set_timesteps(20)
    sigma = model.sampling.table[int(scheduler.timesteps[0])]
    x = initial_noise(latent.samples, 5) * sigma / (1 + sigma**2).sqrt()
    context = torch.cat([positive.entries[0].embedding, negative.entries[0].embedding])
    for timestep in scheduler.timesteps:
        eps, eps_negative = unet(torch.cat([x, x]), timestep, encoder_hidden_states=context).sample.chunk(2)
        x = scheduler.step(eps_negative + 5.0 * (eps - eps_negative), timestep, x).prev_sample
    expected = x / model.latent.scale
    assert_near(got, expected)


def together(*runs: Steps[Latent]) -> list[Latent]:
    """Drive generators in step, answering equal batch keys of all of them with one batch."""
    answers: list[Any] = [None] * len(runs)
    results: dict[int, Latent] = {}
    while len(results) < len(runs):
        calls: dict[int, Any] = {}
        for i, run in enumerate(runs):
            if i in results:
                continue
            try:
                ask = run.send(answers[i])
                while isinstance(ask, Progress):
                    ask = run.send(None)
                calls[i] = ask
            except StopIteration as stop:
                results[i] = stop.value
        rows = [(i, request) for i, ask in calls.items() for request in ask.requests]
        if rows:
            target = next(iter(calls.values())).target
            answered = target.answer([request for _, request in rows])
            for i in calls:
                answers[i] = [a for (j, _), a in zip(rows, answered, strict=True) if j == i]
    return [results[i] for i in range(len(runs))]


def test_jobs_in_one_batch_end_as_they_do_alone() -> None:
    model = tiny_model()
    jobs: list[dict[str, Any]] = [
        {"seed": 1},
        {"seed": 2, "cfg": 7.0, "steps": 6, "positive": prompt(7)},
        {"seed": 3, "sampler_name": "dpmpp_2m_sde", "steps": 3},
        {"seed": 4, "sampler_name": "uni_pc", "scheduler": "normal", "denoise": 0.5},
    ]
    for job, result in zip(jobs, together(*(sample(model, **job) for job in jobs)), strict=True):
        alone = run_alone(sample(model, **job))
        assert_near(result.samples, alone.samples)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_gives_the_same_twice(name: str) -> None:
    model = tiny_model()
    first, second = (run_alone(sample(model, sampler_name=name)).samples for _ in range(2))
    assert torch.equal(first, second)
    assert first.isfinite().all()
    assert first.dtype == torch.float32


def test_an_item_of_a_batch_is_the_picture_of_its_index() -> None:
    model = tiny_model()
    batch = run_alone(sample(model, Latent(torch.zeros(3, 4, 8, 8)))).samples
    alone = run_alone(sample(model, replace(EMPTY, batch_index=(2,))))
    assert_near(alone.samples, batch[2:])
    assert alone.batch_index == (2,)


def test_a_small_denoise_stays_near_the_picture_and_none_leaves_it() -> None:
    model, picture = tiny_model(), image()
    low, high = (run_alone(sample(model, picture, denoise=d)).samples for d in (0.1, 1.0))
    assert (low - picture.samples).norm() < 0.5 * (high - picture.samples).norm()
    assert run_alone(sample(model, picture, denoise=0.0)) is picture


def test_what_a_mask_keeps_is_kept_to_the_bit() -> None:
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :32] = 1.0
    picture = replace(image(), noise_mask=mask)
    for name in ("euler", "ddim", "euler_ancestral"):
        result = run_alone(sample(tiny_model(), picture, sampler_name=name))
        torch.testing.assert_close(result.samples[..., 5:], picture.samples[..., 5:])
        assert not torch.allclose(result.samples[..., :4], picture.samples[..., :4], atol=0.1)
        assert result.noise_mask is mask


def test_two_stages_are_one_run() -> None:
    model = tiny_model()
    first = sample_advanced(model, end_at_step=3, return_with_leftover_noise="enable")
    second = sample_advanced(model, first, add_noise="disable", start_at_step=3)
    whole = sample_advanced(model)
    assert_near(second.samples, whole.samples)


def test_an_early_end_without_leftover_noise_runs_to_zero() -> None:
    model = tiny_model()
    sigmas = torch.cat([model.sigmas("karras", 6)[:2], torch.zeros(1)])
    assert torch.equal(sample_advanced(model, end_at_step=2).samples, custom(model, sigmas)[0].samples)


def test_a_start_past_the_end_changes_nothing() -> None:
    picture = image()
    assert sample_advanced(tiny_model(), picture, start_at_step=6) is picture


def test_custom_sampling_is_the_sampler_in_parts() -> None:
    model = tiny_model()
    expected = run_alone(sample(model)).samples
    sigmas, choice = model.sigmas("karras", 4), SamplerChoice("euler")
    output, denoised = custom(model, sigmas)
    assert torch.equal(output.samples, expected)
    torch.testing.assert_close(denoised.samples, expected)
    guider = classifier_free(model, prompt(1), prompt(2), 3.0)
    advanced, _ = run_alone(
        sampler_custom_advanced(
            noise=Noise(1), guider=guider, sampler=choice, sigmas=sigmas, latent_image=EMPTY
        )
    )
    assert torch.equal(advanced.samples, expected)


def test_the_second_output_is_the_last_estimate() -> None:
    model = cast(Model, ToyModel())
    output, denoised = run_alone(
        sampler_custom_advanced(
            noise=Noise(1),
            guider=plain(model, says(3.0)),
            sampler=SamplerChoice("euler"),
            sigmas=torch.tensor([2.0, 1.0]),
            latent_image=EMPTY,
        )
    )
    assert (denoised.samples == 3.0 / 0.5).all()
    noise = initial_noise(EMPTY.samples, 1)
    torch.testing.assert_close(output.samples, (3.0 + (2 * noise - 3.0) / 2) / 0.5)


def test_noise_added_by_a_node_is_the_samplers_own() -> None:
    model, picture, sigmas = tiny_model(), image(), torch.tensor([3.0, 1.0, 0.0])
    guider, choice = plain(model, prompt(1)), SamplerChoice("euler_ancestral", (("eta", 0.5),))

    def run(latent: Latent, noise: Noise) -> Tensor:
        node = sampler_custom_advanced(
            noise=noise, guider=guider, sampler=choice, sigmas=sigmas, latent_image=latent
        )
        return run_alone(node)[0].samples

    noisy = add_noise(model=model, noise=Noise(0), sigmas=sigmas, latent_image=picture)
    assert_near(run(noisy, Noise(None)), run(picture, Noise(0)))
    scaled = add_noise(model=model, noise=Noise(0), sigmas=sigmas[:2], latent_image=picture)
    drawn = initial_noise(picture.samples, 0)
    torch.testing.assert_close(scaled.samples, picture.samples + 2.0 * drawn / model.latent.scale)
    top = model.sigmas("karras", 2)
    full = add_noise(model=model, noise=Noise(0), sigmas=top, latent_image=picture)
    torch.testing.assert_close(full.samples, picture.samples + top[0] * drawn / model.latent.scale)
    assert add_noise(model=model, noise=Noise(0), sigmas=sigmas[:0], latent_image=picture) is picture


def test_a_latent_of_another_family_is_refused_with_the_numbers() -> None:
    with pytest.raises(NodeFailure, match="16 channels, the model 4"):
        run_alone(sample(tiny_model(), Latent(torch.ones(1, 16, 8, 8))))
    assert run_alone(sample(tiny_model(), Latent(torch.zeros(1, 16, 8, 8)))).samples.shape[1] == 4


def test_cfg_1_ignores_the_negative() -> None:
    model = tiny_model()
    one, other = (run_alone(sample(model, cfg=1.0, negative=prompt(n))) for n in (2, 3))
    assert torch.equal(one.samples, other.samples)


def test_a_graded_mask_of_a_differential_model_changes_places_more_or_less() -> None:
    model = replace(tiny_model(), differential=1.0)
    mask = torch.linspace(0, 1, 8).repeat_interleave(8).expand(1, 1, 64, 64)
    picture = replace(image(), noise_mask=mask)
    change = (run_alone(sample(model, picture, steps=8)).samples - picture.samples).abs().mean(dim=(0, 1, 2))
    assert change[0] < 0.1 * change[-1]
    assert change[1:3].mean() < change[-2:].mean()
