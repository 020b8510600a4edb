"""Sampling space: the reference's numbers, inverses, and the three prediction types on one truth."""

import pytest
import torch

from nodes.diffusion.sampling_space import ModelSampling

SD1 = ModelSampling()


def test_the_table_is_stable_diffusions() -> None:
    assert float(SD1.sigma_min) == pytest.approx(0.02916716, abs=5e-9)
    assert float(SD1.sigma_max) == pytest.approx(14.614641, abs=1e-6)
    assert len(SD1.table) == 1000
    assert float(ModelSampling(zero_snr=True).sigma_max) == pytest.approx(4518.763672, abs=1e-3)


@pytest.mark.parametrize(
    ("percent", "sigma"),
    [(0.0, 999999999.9), (-1.0, 999999999.9), (0.2, 5.092408), (0.5, 1.615580), (1.0, 0.0)],
)
def test_percents_are_the_references(percent: float, sigma: float) -> None:
    assert SD1.percent_to_sigma(percent) == pytest.approx(sigma, abs=1e-6)


def test_timesteps_and_sigmas_are_inverse_on_the_table() -> None:
    timesteps = torch.arange(1000)
    assert torch.equal(SD1.timestep(SD1.table), timesteps)
    torch.testing.assert_close(SD1.sigma(timesteps), SD1.table)
    assert int(SD1.timestep(torch.tensor(0.0))) == 0
    assert float(SD1.sigma(torch.tensor(2000.0))) == pytest.approx(float(SD1.sigma_max))


@pytest.mark.parametrize("prediction", ["eps", "v_prediction", "x0"])
def test_a_perfect_network_gives_back_the_picture(prediction: str) -> None:
    space = ModelSampling(prediction=prediction)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 3, 4, 4, 4, generator=generator).double()
    sigma = torch.tensor([14.0, 1.0, 0.05], dtype=torch.float64)
    level = sigma.reshape(-1, 1, 1, 1)
    alpha = 1 / (1 + level**2).sqrt()
    outputs = {"eps": eps, "x0": x0, "v_prediction": alpha * eps - level * alpha * x0}
    x = x0 + level * eps
    torch.testing.assert_close(space.denoised(x, sigma, outputs[prediction]), x0)
    torch.testing.assert_close(space.scaled(x, sigma), alpha * x)


def test_a_distilled_model_knows_each_stride_th_timestep() -> None:
    lcm = ModelSampling(prediction="lcm", stride=20)
    assert torch.equal(lcm.table, SD1.table[19::20])
    timesteps = torch.arange(19, 1000, 20)
    assert torch.equal(lcm.timestep(lcm.table), timesteps)
    torch.testing.assert_close(lcm.sigma(timesteps), lcm.table)


def test_a_consistency_model_leaves_little_of_x_in_its_estimate() -> None:
    lcm, sigma = ModelSampling(prediction="lcm", stride=20), SD1.table[[19, 999]]
    x, output = torch.full((2, 1, 1, 1), 3.0), torch.zeros(2, 1, 1, 1)
    skip = 0.25 / (torch.tensor([190.0, 9990.0]) ** 2 + 0.25)
    torch.testing.assert_close(lcm.denoised(x, sigma, output).flatten(), 3 * ((1 - skip).sqrt() + skip))


def test_an_image_to_image_model_sees_x_as_it_is() -> None:
    plain, x = ModelSampling(prediction="img_to_img"), torch.full((1, 1, 1, 1), 3.0)
    assert plain.scaled(x, torch.tensor([2.0])) is x
    assert plain.denoised(x, torch.tensor([2.0]), x + 1).item() == 4.0


def test_a_run_from_the_top_starts_at_the_variance_of_training() -> None:
    ones, zeros = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    assert SD1.starts_at_full_noise(SD1.sigma_max)
    assert SD1.starts_at_full_noise(SD1.sigma_max * (1 - 5e-6))
    assert not SD1.starts_at_full_noise(SD1.sigma_max * 0.999)
    sigma = torch.tensor(3.0)
    assert float(SD1.noised(zeros, ones, sigma).max()) == 3.0
    assert float(SD1.noised(zeros, ones, sigma, full=True).max()) == pytest.approx(10**0.5)


def test_spaces_of_equal_settings_are_one_key() -> None:
    assert {ModelSampling(): 1}[ModelSampling(prediction="eps")] == 1
    assert ModelSampling() != ModelSampling(zero_snr=True)
