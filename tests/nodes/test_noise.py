"""Noise: the reference's numbers, and that no draw depends on another run."""

import pytest
import torch

from nodes.diffusion.noise import brownian, brownian_on_device, initial_noise, onward, white

LATENT = torch.zeros(2, 4, 2, 2)
SIGMAS = torch.tensor([14.6, 7.0, 2.0, 0.03, 0.0])


def test_a_seed_gives_the_references_noise() -> None:
    noise = initial_noise(LATENT, 42)
    first, second = noise.flatten(1)[:, :4].tolist()
    assert first == pytest.approx([1.926915, 1.487284, 0.900717, -2.105521], abs=1e-6)
    assert second == pytest.approx([1.642317, -0.159597, -0.497398, 0.439589], abs=1e-6)


def test_without_a_seed_there_is_no_noise() -> None:
    assert not initial_noise(LATENT, None).any()


@pytest.mark.parametrize("seed", [0, 2**63, 2**64 - 1])
def test_every_seed_of_64_bits_is_taken(seed: int) -> None:
    assert torch.equal(initial_noise(LATENT, seed), initial_noise(LATENT, seed))


def test_an_item_of_a_batch_can_be_made_again_alone() -> None:
    batch = initial_noise(torch.zeros(4, 4, 8, 8), 7)
    alone = initial_noise(torch.zeros(2, 4, 8, 8), 7, batch_index=(2, 2))
    assert torch.equal(alone, batch[[2, 2]])


def test_white_step_noise_starts_with_the_initial_draw() -> None:
    step = white(LATENT, SIGMAS, 42)
    first, second = step(SIGMAS[0], SIGMAS[1]), step(SIGMAS[1], SIGMAS[2])
    assert torch.equal(first, initial_noise(LATENT, 42))
    assert not torch.equal(first, second)


def test_a_brownian_increment_is_the_references() -> None:
    noise = brownian(torch.zeros(1, 4, 2, 2), torch.tensor([14.6, 0.03, 0.0]), 42)
    got = noise(torch.tensor(14.6), torch.tensor(7.0)).flatten()[:4].tolist()
    assert got == pytest.approx([-0.851623, 0.267509, 0.725462, 0.642106], abs=1e-6)


def test_brownian_increments_add_up_whatever_the_order_of_asking() -> None:
    x = torch.zeros(1, 4, 8, 8)
    there, back = brownian(x, SIGMAS, 3), brownian_on_device(x, SIGMAS, 3)
    high, middle, low = SIGMAS[:3]
    parts = there(high, middle) * (high - middle).sqrt() + there(middle, low) * (middle - low).sqrt()
    torch.testing.assert_close(parts, there(high, low) * (high - low).sqrt(), atol=1e-4, rtol=1e-4)
    late = back(middle, low)
    assert torch.equal(late, there(middle, low))
    assert torch.equal(back(high, middle), there(high, middle))
    assert torch.equal(there(low, middle), -late)


def test_noise_in_other_shapes_goes_on_where_the_initial_draw_ended() -> None:
    drawn = torch.randn(2 * LATENT.numel(), generator=torch.Generator().manual_seed(5))
    noise = onward(LATENT, SIGMAS, 5)
    assert torch.equal(noise(LATENT).flatten(), drawn[LATENT.numel() :])
    assert noise(torch.zeros(2, 4, 3, 5)).shape == (2, 4, 3, 5)


@pytest.mark.parametrize("batch", [1, 3, 5])
def test_brownian_steps_are_standard_normal_for_any_batch(batch: int) -> None:
    x = torch.zeros(batch, 4, 64, 64)
    step = brownian(x, SIGMAS, 4)(SIGMAS[0], SIGMAS[1])
    assert step.shape == x.shape
    for item in step:
        assert float(item.mean()) == pytest.approx(0.0, abs=4 / 128)
        assert float(item.std()) == pytest.approx(1.0, abs=4 / 181)
    if batch > 1:
        assert float((step[0] * step[1]).mean()) == pytest.approx(0.0, abs=4 / 128)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    initial_noise(LATENT, 1)
    white(LATENT, SIGMAS, 1)(SIGMAS[0], SIGMAS[1])
    brownian(LATENT, SIGMAS, 1)(SIGMAS[0], SIGMAS[1])
    assert torch.equal(torch.get_rng_state(), before)
