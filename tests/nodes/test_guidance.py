"""Guidance: what is asked of the model, and how the answers are combined."""

from typing import Any, cast

import pytest
import torch
from torch import Tensor

from engine.steps import run_alone
from nodes.diffusion.guidance import (
    Guider,
    classifier_free,
    dual,
    falling,
    guided,
    inpainted,
    plain,
    rescaled,
    without_base,
)
from nodes.diffusion.model import Model
from nodes.diffusion.sampling_space import ModelSampling
from nodes.ports import Conditioning
from tests.nodes.denoisers import ToyModel, asked_both, says

X = torch.zeros(2, 4, 16, 16)
SIGMA = torch.tensor(2.0)


def estimate(guider: Guider, x: Tensor = X, sigma: Tensor = SIGMA, **options: Any) -> tuple[Tensor, Tensor]:
    return run_alone(guided(guider, x, **options)(x, sigma))


@pytest.fixture
def toy() -> ToyModel:
    return ToyModel()


@pytest.fixture
def model(toy: ToyModel) -> Model:
    return cast(Model, toy)


def test_guidance_moves_away_from_the_negative(model: Model) -> None:
    denoised, base = estimate(classifier_free(model, says(1.0), says(0.5), 8.0))
    assert (denoised == 0.5 + 8 * 0.5).all()
    assert (base == 0.5).all()


def test_both_sides_of_the_whole_batch_are_asked_for_at_once(model: Model, toy: ToyModel) -> None:
    estimate(classifier_free(model, says(1.0), says(0.5), 8.0))
    (batch,) = toy.batches
    assert [q.x.shape for q in batch] == [(1, 4, 16, 16)] * 4
    assert {float(q.sigma) for q in batch} == {2.0}


@pytest.mark.parametrize("cfg", [1.0, 1.0 + 1e-10])
def test_at_cfg_1_the_negative_is_not_asked_for(model: Model, toy: ToyModel, cfg: float) -> None:
    denoised, _ = estimate(classifier_free(model, says(1.0), says(0.5), cfg))
    assert (denoised == 1.0).all()
    assert len(toy.batches[0]) == 2


def test_the_base_is_asked_for_where_a_sampler_needs_it(model: Model) -> None:
    denoised, base = estimate(classifier_free(model, says(1.0), says(0.5), 1.0), always_base=True)
    assert (denoised == 1.0).all()
    assert (base == 0.5).all()


def test_one_conditioning_needs_no_guidance(model: Model) -> None:
    assert [(e == 1.0).all() for e in estimate(plain(model, says(1.0)))] == [True, True]


def test_dual_guidance_is_its_formula(model: Model) -> None:
    sides = says(3.0), says(2.0), says(0.5)
    regular, _ = estimate(dual(model, *sides, 2.0, 5.0))
    torch.testing.assert_close(regular, torch.full_like(X, 0.5 + 5 * (2.0 - 0.5) + 2 * (3.0 - 2.0)))
    nested, _ = estimate(dual(model, *sides, 2.0, 5.0, nested=True))
    torch.testing.assert_close(nested, torch.full_like(X, 0.5 + 5 * (2.0 + 2 * (3.0 - 2.0) - 0.5)))


def test_dual_guidance_skips_what_has_no_weight(model: Model, toy: ToyModel) -> None:
    estimate(dual(model, says(3.0), says(2.0), says(0.5), 2.0, 1.0))
    estimate(dual(model, says(3.0), says(2.0), says(0.5), 1.0, 1.0))
    assert [len(b) for b in toy.batches] == [4, 2]


def test_entries_are_averaged_by_strength(model: Model) -> None:
    both = Conditioning((*says(1.0, strength=3.0).entries, *says(0.0).entries))
    denoised, _ = estimate(plain(model, both))
    torch.testing.assert_close(denoised, torch.full_like(X, 0.75))


def test_an_area_is_asked_for_cut_out_and_averaged_in_its_place(model: Model, toy: ToyModel) -> None:
    both = Conditioning((*says(0.0).entries, *says(1.0, area=(16, 8, 0, 8)).entries))
    denoised, _ = estimate(plain(model, both))
    assert (
        sorted(tuple(q.x.shape) for b in toy.batches for q in b) == [(1, 4, 16, 8)] * 2 + [(1, 4, 16, 16)] * 2
    )
    assert (denoised[..., :8] == 0).all()
    torch.testing.assert_close(denoised[0, 0, 0, 8:], torch.tensor([1 / 3, *[0.5] * 7]))


def test_entries_outside_their_range_are_not_asked_for(model: Model, toy: ToyModel) -> None:
    early = Conditioning((*says(0.0).entries, *says(1.0, end_percent=0.2).entries))
    denoised, _ = estimate(plain(model, early))
    assert len(toy.batches[0]) == 2
    assert not denoised.any()


def test_where_nothing_acts_the_estimate_is_0(model: Model, toy: ToyModel) -> None:
    denoised, _ = estimate(plain(model, says(1.0, end_percent=0.2)))
    assert not denoised.any()
    assert not toy.batches


def test_prompts_of_other_lengths_are_other_batches(model: Model, toy: ToyModel) -> None:
    estimate(classifier_free(model, says(1.0, tokens=6), says(0.5), 2.0))
    assert [len(b) for b in toy.batches] == [2, 2]


def test_items_take_the_embeddings_of_a_batch_in_turn(model: Model) -> None:
    prompts = says(0.0).mapped(lambda c: type(c)(torch.tensor([1.0, 2.0]).reshape(2, 1, 1)))
    denoised, _ = estimate(plain(model, prompts), x=torch.zeros(3, 4, 8, 8))
    assert denoised.mean(dim=(1, 2, 3)).tolist() == [1.0, 2.0, 1.0]


def test_inpainting_shows_the_kept_part_at_its_noise_level_and_returns_it_clean() -> None:
    seen: list[Tensor] = []

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        seen.append(x)
        return torch.full_like(x, 9.0)

    latent, noise, x = (
        torch.full((1, 1, 2, 2), 3.0),
        torch.full((1, 1, 2, 2), 0.5),
        torch.full((1, 1, 2, 2), 7.0),
    )
    mask = torch.tensor([[1.0, 0.0], [0.5, 1.0]])[None, None]
    denoise = without_base(inpainted(asked_both(denoiser), latent, noise, lambda _: mask))
    result = run_alone(denoise(x, SIGMA))
    assert seen[0].flatten().tolist() == [7.0, 4.0, 5.5, 7.0]
    assert result.flatten().tolist() == [9.0, 3.0, 6.0, 9.0]


def test_a_rescaled_estimate_has_the_contrast_of_the_positive_one() -> None:
    x, positive, denoised = torch.randn(3, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    origin = x / (SIGMA**2 + 1)

    def contrast(estimate: Tensor) -> Tensor:
        return (origin - estimate).std(dim=(1, 2, 3))

    full = rescaled(denoised, positive, x, SIGMA, 1.0)
    torch.testing.assert_close(contrast(full), contrast(positive))
    half = rescaled(denoised, positive, x, SIGMA, 0.5)
    torch.testing.assert_close(half, (full + denoised) / 2)
    torch.testing.assert_close(rescaled(denoised, positive, x, SIGMA, 0.0), denoised)


def test_a_model_that_rescales_does_so_under_guidance_only(model: Model, toy: ToyModel) -> None:
    x = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    toy.slope = 0.3
    guider = classifier_free(model, says(1.0), says(0.5), 8.0)
    without, _ = estimate(guider, x)
    toy.cfg_rescale = 0.7
    with_it, _ = estimate(guider, x)
    torch.testing.assert_close(with_it, rescaled(without, 0.3 * x + 1.0, x, SIGMA, 0.7))
    alone, _ = estimate(plain(model, says(1.0)), x)
    torch.testing.assert_close(alone, 0.3 * x + 1.0)


def test_a_falling_mask_frees_places_by_their_value() -> None:
    space, mask = ModelSampling(), torch.tensor([0.0, 0.3, 0.6, 1.0])
    sigmas = space.table[[999, 500, 200, 0]]
    at = falling(mask, sigmas, space, 1.0)
    assert [at(s).tolist() for s in sigmas] == [
        [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0],
    ]  # fmt: skip
    torch.testing.assert_close(falling(mask, sigmas, space, 0.0)(sigmas[0]), mask)
    assert falling(mask, sigmas[-1:], space, 1.0)(sigmas[-1]).tolist() == [1.0] * 4
