"""Guidance: what is asked of the model, and how the answers are combined."""

from typing import Any, cast

import pytest
import torch
from torch import Tensor

from engine.steps import run_alone
from nodes.diffusion.added import Scene
from nodes.diffusion.attention_guidance import Perturbed
from nodes.diffusion.guidance import (
    Guider,
    classifier_free,
    dual,
    guided,
    perpendicular,
    plain,
)
from nodes.diffusion.guiding_direction import Operated, Projected
from nodes.diffusion.guiding_scale import EpsilonScaled, Normed, OverFrames, Rescaled
from nodes.diffusion.latent_operations import LatentOperation
from nodes.diffusion.model import Model
from nodes.ports import Conditioning
from tests.nodes.denoisers import ToyModel, says

X = torch.zeros(2, 4, 16, 16)
SIGMA = torch.tensor(2.0)


def estimate(guider: Guider, x: Tensor = X, sigma: Tensor = SIGMA, **options: Any) -> tuple[Tensor, Tensor]:
    return run_alone(guided(guider, Scene(x), **options)(x, sigma))


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


def test_steps_are_taken_before_combination_in_its_place_and_after_it(model: Model, toy: ToyModel) -> None:
    toy.guidance = (
        EpsilonScaled(2.0),
        Rescaled(1.0),
        OverFrames(3.0),
        Operated(LatentOperation("tonemapped", (1e9,))),
        Normed(2.0),
    )
    denoised, base = estimate(classifier_free(model, says(1.0), says(0.5), 8.0))
    scales = torch.tensor([3.0, 8.0]).reshape(2, 1, 1, 1).expand_as(X)
    combined = (0.5 + scales * 0.5) / 2  # as x is 0, dividing the noise divides the estimate
    length = combined.clamp(max=1.0) * 2
    torch.testing.assert_close(denoised, length)
    assert (base == 0.5).all()


def test_a_step_may_ask_the_model_for_more_of_either_side(model: Model, toy: ToyModel) -> None:
    x = torch.ones_like(X)
    toy.guidance = (Perturbed(10.0),)
    denoised, _ = estimate(classifier_free(model, says(1.0), says(0.5), 8.0), x)
    assert (denoised == 0.5 + 8 * 0.5 + 10.0 * (1.0 - 2.0)).all()  # a structure adds 1 to the toy's slope


def test_a_step_that_needs_the_base_has_it_at_cfg_1_too(model: Model, toy: ToyModel) -> None:
    toy.guidance = (OverFrames(3.0),)
    denoised, _ = estimate(classifier_free(model, says(1.0), says(0.5), 1.0))
    assert denoised[:, 0, 0, 0].tolist() == [2.0, 1.0]
    assert len(toy.batches[0]) == 4


def test_perpendicular_guidance_ignores_what_the_negative_shares_with_the_positive(model: Model) -> None:
    denoised, _ = estimate(perpendicular(model, says(3.0), says(5.0), says(1.0), 4.0, 1.0))
    torch.testing.assert_close(denoised, torch.full_like(X, 1.0 + 4 * 2.0))


def test_each_run_remembers_for_itself(model: Model, toy: ToyModel) -> None:
    toy.guidance = (Projected(1.0, 0.0, -0.5),)
    guider = classifier_free(model, says(1.0), says(0.5), 8.0)
    denoise = guided(guider, Scene(X))
    first, second = (run_alone(denoise(X, SIGMA))[0] for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first, estimate(guider)[0])
