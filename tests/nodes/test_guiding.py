"""Steps of guidance in closed form; `test_guidance_numbers` compares all of them with the ecosystem's."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.steps import Steps, run_alone
from nodes.diffusion.attention_guidance import attended, blurred
from nodes.diffusion.guiding import GuidanceStep, Moment
from nodes.diffusion.guiding_direction import Damped, FrequencyScaled, Projected, scaled_frequencies
from nodes.diffusion.guiding_scale import EpsilonScaled, Normed, Renormed, Rescaled, ZeroStar, away_from
from nodes.diffusion.latent_operations import LatentOperation, sharpened, tonemapped

SIGMA = torch.tensor(2.0)
RANDOM = torch.randn(3, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
X, POSITIVE, BASE = RANDOM


def unasked(*_: Any) -> Steps[Tensor]:
    raise AssertionError("this step asks for nothing")


def moment(scale: float = 5.0, base: Tensor | None = BASE) -> Moment:
    guided = POSITIVE if base is None else base + (POSITIVE - base) * scale
    return Moment(X, SIGMA, scale, POSITIVE, base, guided, unasked)


def after(step: GuidanceStep, at: Moment) -> Moment:
    return run_alone(step(at))


def lengths(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1)


def test_a_rescaled_estimate_has_the_contrast_of_the_positive_one() -> None:
    origin = X / (SIGMA**2 + 1)

    def contrast(estimate: Tensor) -> Tensor:
        return (origin - estimate).std(dim=(1, 2, 3))

    full, half = (after(Rescaled(phi), moment()).denoised for phi in (1.0, 0.5))
    torch.testing.assert_close(contrast(full), contrast(POSITIVE))
    torch.testing.assert_close(half, (full + moment().denoised) / 2)
    torch.testing.assert_close(after(Rescaled(0.0), moment()).denoised, moment().denoised)


@pytest.mark.parametrize("step", [Rescaled(0.7), Renormed(100.0, 1.0), Projected(0.0, 5.0, 0.5), ZeroStar()])
def test_without_a_base_the_positive_estimate_stays(step: GuidanceStep) -> None:
    result = after(step, moment(1.0, None))
    torch.testing.assert_close(result.denoised, POSITIVE)
    torch.testing.assert_close(result.positive, POSITIVE)


def test_a_bounded_estimate_is_as_long_as_it_may_be_in_each_picture() -> None:
    result = after(Renormed(100.0, 0.5), moment()).denoised
    torch.testing.assert_close(lengths(result), lengths(POSITIVE) / 2)
    assert torch.equal(after(Renormed(1.0, 0.5), moment()).denoised, POSITIVE)


def test_a_normed_estimate_is_nowhere_longer_than_the_positive() -> None:
    result = after(Normed(1.0), moment()).denoised
    assert (result.norm(dim=1) <= POSITIVE.norm(dim=1) * 1.0001).all()


def test_a_base_three_times_as_noisy_counts_a_third() -> None:
    at = moment(base=X - 3 * (X - POSITIVE))
    third = at.against / 3
    torch.testing.assert_close(after(ZeroStar(), at).denoised, third + (POSITIVE - third) * at.scale)


def test_the_noise_estimate_is_divided() -> None:
    result = after(EpsilonScaled(2.0), moment()).denoised
    torch.testing.assert_close(X - result, (X - moment().denoised) / 2)


def test_projected_guidance_without_its_parallel_part_is_perpendicular_to_the_positive() -> None:
    result = after(Projected(0.0, 0.0, 0.0), moment())
    guidance = result.positive - BASE - (POSITIVE - BASE) / 5.0
    assert ((guidance * POSITIVE).sum(dim=(1, 2, 3)).abs() < 1e-3).all()


def test_projected_guidance_is_no_longer_than_it_may_be() -> None:
    result = after(Projected(1.0, 2.0, 0.0), moment())
    guidance = result.positive - BASE - (POSITIVE - BASE) / 5.0
    torch.testing.assert_close(lengths(guidance), torch.full((2,), 2.0))


def test_momentum_sums_guidance_until_the_noise_level_rises() -> None:
    step, at = Projected(1.0, 0.0, 0.5), moment()
    factors = []
    for sigma in (2.0, 1.0, 1.0, 3.0):
        result = after(step, replace(at, sigma=torch.tensor(sigma)))
        guidance = result.positive - BASE - (POSITIVE - BASE) / 5.0
        factors.append(float((guidance / (POSITIVE - BASE)).mean()))
    assert factors == pytest.approx([1.0, 1.5, 1.75, 1.0], rel=1e-3)


def test_damping_leaves_a_base_along_the_positive_as_it_is_and_projects_others() -> None:
    along = X - 0.5 * (X - POSITIVE)
    torch.testing.assert_close(after(Damped(), moment(base=along)).base, along)
    once = after(Damped(), moment())
    assert once.base is not None
    assert (lengths(X - once.base) < lengths(X - BASE)).all()


def test_frequencies_scaled_alike_are_a_factor() -> None:
    torch.testing.assert_close(scaled_frequencies(X, 2, 3.0, 3.0), X * 3)
    torch.testing.assert_close(after(FrequencyScaled(1.0, 1.0, 3), moment()).positive, POSITIVE)


def test_low_frequencies_hold_the_mean_and_high_ones_do_not() -> None:
    torch.testing.assert_close(scaled_frequencies(X, 1, 0.0).mean(dim=(-2, -1)), torch.zeros(2, 4))
    torch.testing.assert_close(scaled_frequencies(X, 1, 1.0, 0.0).mean(dim=(-2, -1)), X.mean(dim=(-2, -1)))


def test_perpendicular_guidance_drops_what_the_negative_shares() -> None:
    shared = away_from(POSITIVE, BASE + 0.5 * (POSITIVE - BASE), BASE, 4.0, 1.0)
    torch.testing.assert_close(shared, BASE + (POSITIVE - BASE) * 4)
    torch.testing.assert_close(away_from(POSITIVE, X, BASE, 4.0, 0.0), BASE + (POSITIVE - BASE) * 4)


def test_sharpening_keeps_flat_latents_and_tonemapping_compresses() -> None:
    flat = torch.full((1, 4, 8, 8), 0.7)
    torch.testing.assert_close(sharpened(flat, 3, 1.0, 2.0), flat, atol=1e-4, rtol=0)
    strong, weak = (lengths(tonemapped(X * k, 1.0)) for k in (10.0, 1.0))
    torch.testing.assert_close(strong, weak * 10)  # it follows the latent's own scale
    assert (tonemapped(X, 1.0).norm(dim=1) < X.norm(dim=1)).all()
    assert LatentOperation("tonemapped", (1.0,)) == LatentOperation("tonemapped", (1.0,))


def test_a_blur_keeps_the_mean_of_a_flat_latent_and_0_is_none() -> None:
    torch.testing.assert_close(blurred(torch.ones(1, 2, 8, 8), 2.0), torch.ones(1, 2, 8, 8))
    assert blurred(X, 0.0) is X


def test_attention_given_to_all_tokens_is_one_for_each() -> None:
    from diffusers.models.attention_processor import Attention

    attention = Attention(query_dim=8, heads=2, dim_head=4)
    tokens = torch.randn(3, 10, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(attended(attention, tokens).sum(dim=1), torch.full((3,), 10.0))
        even = attended(attention, torch.ones(1, 10, 8))
    torch.testing.assert_close(even, torch.ones(1, 10))
