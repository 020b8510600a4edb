"""Sampling space: the reference's numbers, inverses, and the prediction types on one truth."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from nodes.diffusion.levels import Continuous, Cosine, Discrete, Flow, Flux
from nodes.diffusion.sampling_space import ModelSampling, odds, share
from nodes.diffusion.schedules import SCHEDULES, shift_for
from tests.nodes.references import NUMBERS

SD1 = ModelSampling()


def test_the_table_is_stable_diffusions() -> None:
    assert float(SD1.sigma_min) == pytest.approx(0.02916716, abs=5e-9)
    assert float(SD1.sigma_max) == pytest.approx(14.614641, abs=1e-6)
    assert len(SD1.table) == 1000
    assert float(ModelSampling(levels=Discrete(zero_snr=True)).sigma_max) == pytest.approx(
        4518.763672, abs=1e-3
    )


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


def edm(prediction: Any, low: float, high: float) -> ModelSampling:
    """What ModelSamplingContinuousEDM sets."""
    if prediction == "cosmos_rflow":
        return ModelSampling(prediction, Continuous(low, high, "share"))
    if prediction.startswith("edm"):
        return ModelSampling("edm", Continuous(low, high), spread=0.5)
    return ModelSampling(prediction, Continuous(low, high))


SPACES: dict[str, Callable[..., ModelSampling]] = {
    "cedm": edm,
    "cv": lambda high, low: ModelSampling("v_prediction", Continuous(low, high, "angle")),
    "sc": lambda shift: ModelSampling("eps", Cosine(shift)),
    "sd3": lambda shift: ModelSampling("flow", Flow(shift)),
    "aura": lambda shift: ModelSampling("flow", Flow(shift, 1.0)),
    "flux": lambda largest, base, width, height: ModelSampling(
        "flow", Flux(shift_for(width * height / 256, base, largest))
    ),
    "ltxv": lambda largest, _: ModelSampling("flow", Flux(largest)),
    "disc": lambda prediction, zero_snr: ModelSampling(
        prediction, Discrete(zero_snr=zero_snr, stride=20 if prediction == "lcm" else 1)
    ),
}
"""What the nodes of the ecosystem set, by their settings."""


@pytest.mark.parametrize("record", NUMBERS["spaces"], ids=lambda r: " ".join(map(str, r["key"])))
def test_every_space_is_the_ecosystems(record: dict[str, Any]) -> None:
    (name, *settings), given = record["key"], NUMBERS["inputs"]
    space = SPACES[name](*settings)
    sigma = torch.tensor(record["sigma"])
    x, output = (torch.tensor(given[k]).reshape(-1, 1, 1, 1) for k in ("x", "output"))
    x0, noise = (torch.full((1, 1, 1, 1), given[k]) for k in ("x0", "noise0"))
    table, timestep = space.table, space.timestep(sigma)
    got = {
        "table": table[[0, len(table) // 3, -2, -1]],
        "timestep": timestep,
        "back": space.sigma(timestep),
        "percent": [space.percent_to_sigma(p) for p in (-0.1, 0.0, 0.001, 0.1, 0.333, 0.5, 0.9, 0.999, 1.0)],
        "scaled": space.scaled(x, sigma),
        "denoised": space.denoised(x, sigma, output),
        "noised": torch.cat([space.noised(x0, noise, s) for s in sigma]),
        "full": torch.cat([space.noised(x0, noise, s, full=True) for s in sigma]),
        "kept": torch.cat([space.kept(x0, s) for s in sigma[1:]]),
        **{name: SCHEDULES[name](space, 5) for name in ("normal", "beta", "simple")},
    }
    for name, value in got.items():
        expected = torch.tensor(record[name], dtype=torch.float64)
        value = torch.as_tensor(value, dtype=torch.float64).flatten()
        torch.testing.assert_close(
            value, expected, rtol=2e-5 if space.levels == Cosine(0.5) else 1e-6, atol=1e-6
        )


@pytest.mark.parametrize("prediction", ["eps", "v_prediction", "edm", "x0", "flow", "cosmos_rflow"])
def test_a_perfect_network_gives_back_the_picture(prediction: str) -> None:
    space = ModelSampling(prediction)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 3, 4, 4, 4, generator=generator).double()
    sigma = torch.tensor([0.9, 0.5, 0.05] if prediction == "flow" else [14.0, 1.0, 0.05]).double()
    level = sigma.reshape(-1, 1, 1, 1)
    alpha = 1 / (1 + level**2).sqrt()
    velocity = alpha * eps - level * alpha * x0
    outputs = {
        "eps": eps, "x0": x0, "v_prediction": velocity, "edm": -velocity, "flow": eps - x0,
        "cosmos_rflow": eps - x0,
    }  # fmt: skip
    x = torch.cat([space.noised(a[None], b[None], s) for a, b, s in zip(x0, eps, sigma, strict=True)])
    torch.testing.assert_close(space.denoised(x, sigma, outputs[prediction]), x0)
    factor = {"flow": torch.ones_like(level), "cosmos_rflow": 1 / (1 + level)}.get(prediction, alpha)
    torch.testing.assert_close(space.scaled(x, sigma), factor * x)


def test_what_a_flow_ends_with_has_the_size_of_pictures() -> None:
    flow, x0 = ModelSampling("flow", Flow()), torch.full((1, 1, 1, 1), 3.0)
    sigma = torch.tensor(0.25)
    torch.testing.assert_close(flow.kept(flow.noised(x0, torch.zeros_like(x0), sigma), sigma), x0)
    assert flow.is_flow
    assert not SD1.is_flow


def test_the_odds_of_a_flows_noise_come_back_as_its_share() -> None:
    sigma = torch.linspace(0, 1, 101)
    assert torch.equal(share(odds(sigma.double())).float(), sigma)


def test_a_distilled_model_knows_each_stride_th_timestep() -> None:
    lcm = ModelSampling("lcm", Discrete(stride=20))
    assert torch.equal(lcm.table, SD1.table[19::20])
    timesteps = torch.arange(19, 1000, 20)
    assert torch.equal(lcm.timestep(lcm.table), timesteps)
    torch.testing.assert_close(lcm.sigma(timesteps), lcm.table)


def test_a_consistency_model_leaves_little_of_x_in_its_estimate() -> None:
    lcm, sigma = ModelSampling("lcm", Discrete(stride=20)), SD1.table[[19, 999]]
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
    assert ModelSampling() != ModelSampling(levels=Discrete(zero_snr=True))
