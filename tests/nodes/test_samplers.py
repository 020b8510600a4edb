"""Samplers: equal to k-diffusion's, of the order they claim, and the same whatever runs beside them."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.steps import Progress, run_alone
from nodes.diffusion.samplers import SAMPLERS
from nodes.diffusion.schedules import exponential, karras
from tests.nodes.denoisers import asked, asked_both, gaussian, gaussian_path, k_diffusion_sampling, two_points

IN_K_DIFFUSION = [
    "euler",
    "euler_ancestral",
    "heun",
    "dpm_2",
    "dpm_2_ancestral",
    "dpmpp_2s_ancestral",
    "dpmpp_sde",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "dpmpp_3m_sde",
    "lms",
]
ORDERS = {
    "euler": 1, "ddim": 1, "heun": 2, "dpm_2": 2, "lms": 2, "dpm_fast": 2, "dpmpp_2m": 2, "ipndm_v": 2,
    "deis": 2, "res_multistep": 2, "uni_pc": 2, "uni_pc_bh2": 2,
}  # fmt: skip
"""Of the whole run; multistep samplers begin (and uni_pc ends) with steps of lower order."""
SIGMAS = karras(8, 0.05, 14.0).double()


@pytest.fixture
def in_double() -> Iterator[None]:
    """k-diffusion's DPM-Solver makes tensors of the default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def start(sigmas: Tensor = SIGMAS) -> Tensor:
    noise = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return noise * sigmas[0]


def sampled(name: str, denoiser: Any, x: Tensor, sigmas: Tensor, **options: Any) -> Tensor:
    sampler = SAMPLERS[name]
    denoise = asked_both(denoiser) if sampler.sees_both else asked(denoiser)
    return run_alone(sampler(denoise, x, sigmas, **options))


@pytest.mark.parametrize("denoiser", [gaussian, two_points])
@pytest.mark.parametrize(
    ("name", "to_zero"), [(n, z) for n in IN_K_DIFFUSION for z in (True, False) if not (n == "lms" and z)]
)
def test_it_is_k_diffusions(name: str, denoiser: Any, to_zero: bool) -> None:
    """All but the last step of lms to 0, which takes the estimate here, as the ecosystem has it."""
    sigmas, sampler = SIGMAS if to_zero else SIGMAS[:-1], SAMPLERS[name]
    options = {"noise_sampler": sampler.noise(start(), sigmas, 5)} if sampler.noise else {}
    reference = getattr(k_diffusion_sampling(), f"sample_{name}")
    expected = reference(lambda x, sigma: denoiser(x, sigma[0]), start(), sigmas, disable=True, **options)
    got = sampled(name, denoiser, start(), sigmas, seed=5)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "options"), [("dpmpp_2m_sde", {"solver_type": "heun"}), ("dpmpp_sde", {"r": 0.3})]
)
def test_its_options_are_k_diffusions(name: str, options: dict[str, Any]) -> None:
    choice = options | {"eta": 0.6, "s_noise": 1.1}
    sampler = SAMPLERS[name]
    assert sampler.noise is not None
    expected = getattr(k_diffusion_sampling(), f"sample_{name}")(
        lambda x, sigma: two_points(x, sigma[0]),
        start(),
        SIGMAS,
        disable=True,
        noise_sampler=sampler.noise(start(), SIGMAS, 5),
        **choice,
    )
    got = sampled(name, two_points, start(), SIGMAS, seed=5, **choice)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("denoiser", [gaussian, two_points])
@pytest.mark.parametrize("steps", [3, 6, 7, 8])
@pytest.mark.usefixtures("in_double")
def test_dpm_fast_is_k_diffusions(denoiser: Any, steps: int) -> None:
    expected = k_diffusion_sampling().sample_dpm_fast(
        lambda x, sigma: denoiser(x, sigma[0]), start(), 0.05, 14.0, steps, disable=True
    )
    sigmas = exponential(steps, 0.05, 14.0)
    torch.testing.assert_close(sampled("dpm_fast", denoiser, start(), sigmas), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "options", [{}, {"order": 2}, {"eta": 0.5, "s_noise": 0.9}, {"pcoeff": 0.2, "dcoeff": 0.1}]
)
@pytest.mark.usefixtures("in_double")
def test_dpm_adaptive_is_k_diffusions(options: dict[str, float]) -> None:
    noise = SAMPLERS["dpm_adaptive"].noise
    assert noise is not None
    expected = k_diffusion_sampling().sample_dpm_adaptive(
        lambda x, sigma: two_points(x, sigma[0]),
        start(),
        0.05,
        14.0,
        disable=True,
        noise_sampler=noise(start(), SIGMAS, 5),
        **options,
    )
    sigmas = torch.tensor([14.0, 0.05, 0.0], dtype=torch.float64)
    got = sampled("dpm_adaptive", two_points, start(), sigmas, seed=5, **options)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ORDERS)
def test_the_error_falls_with_its_order(name: str) -> None:
    def error(steps: int) -> float:
        sigmas = exponential(steps, 0.1, 10.0)[:-1].double()
        x = start(sigmas)
        return float(
            (sampled(name, gaussian, x, sigmas) - gaussian_path(x, sigmas[0], sigmas[-1])).abs().max()
        )

    order = torch.tensor(error(40) / error(80)).log2()
    assert order > ORDERS[name] - 0.25


@pytest.mark.parametrize("name", SAMPLERS)
def test_it_reports_every_step_and_ends_near_the_data(name: str) -> None:
    sampler = SAMPLERS[name]
    steps = sampler(
        asked_both(two_points) if sampler.sees_both else asked(two_points), start(), SIGMAS, seed=2
    )
    seen = []
    try:
        while True:
            ask = next(steps)
            assert isinstance(ask, Progress)
            seen.append((ask.step, ask.total))
    except StopIteration as stop:
        result = stop.value
    if name.startswith("dpm_fast"):
        assert seen == [(1, 3), (2, 3), (3, 3)]
    elif name == "dpm_adaptive":
        assert seen == sorted(seen)
        assert seen[-1] == (100, 100)
    else:
        assert seen == [(i + 1, 8) for i in range(8)]
    assert (result.abs() - 1).abs().median() < 0.3


@pytest.mark.parametrize("name", SAMPLERS)
def test_another_run_between_its_steps_changes_nothing(name: str) -> None:
    sampler = SAMPLERS[name]
    denoise = asked_both(two_points) if sampler.sees_both else asked(two_points)
    alone = run_alone(sampler(denoise, start(), SIGMAS, seed=9))
    runs = [sampler(denoise, start(), SIGMAS, seed=seed) for seed in (9, 10, 9)]
    results: dict[int, Tensor] = {}
    while len(results) < len(runs):
        for i, run in enumerate(runs):
            if i not in results:
                torch.randn(3)
                try:
                    next(run)
                except StopIteration as stop:
                    results[i] = stop.value
    assert torch.equal(results[0], alone)
    assert torch.equal(results[2], alone)
    assert torch.equal(results[1], alone) == (sampler.noise is None or name == "dpm_adaptive")


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_step_leaves_the_latent_as_it_is(name: str) -> None:
    assert torch.equal(sampled(name, two_points, start(), SIGMAS[:1]), start())


@pytest.mark.parametrize(
    "name", [n for n, s in SAMPLERS.items() if s.noise and n not in ("ddpm", "lcm", "er_sde")]
)
def test_without_eta_a_sampler_with_noise_is_deterministic(name: str) -> None:
    first, second = (sampled(name, two_points, start(), SIGMAS, seed=s, eta=0.0) for s in (1, 2))
    assert torch.equal(first, second)


def test_ddpm_steps_to_the_posterior_of_a_known_picture() -> None:
    """With x0 known, q(x_{t-1} | x_t, x0) in VP space, scaled back (Ho et al. 2020, equation 7)."""
    sigmas = torch.tensor([3.0, 1.2], dtype=torch.float64)
    x, x0 = start(sigmas), torch.tensor(0.4, dtype=torch.float64)
    got = sampled("ddpm", lambda x, sigma: x0.expand_as(x), x, sigmas, seed=4)
    a, b = 1 / (1 + sigmas**2)
    alpha = a / b
    mean = (b.sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - b) * x * a.sqrt()) / (1 - a)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    expected = (mean + noise * ((1 - alpha) * (1 - b) / (1 - a)).sqrt()) / b.sqrt()
    torch.testing.assert_close(got, expected)


def test_lcm_renoises_its_estimate() -> None:
    sigmas = torch.tensor([3.0, 1.2], dtype=torch.float64)
    noise = torch.randn(start().shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    got = sampled("lcm", lambda x, sigma: torch.full_like(x, 0.4), start(), sigmas, seed=4)
    torch.testing.assert_close(got, 0.4 + 1.2 * noise)


def test_cfg_plus_plus_without_guidance_is_the_plain_sampler() -> None:
    for name in {n for n, s in SAMPLERS.items() if s.sees_both} - {"dpmpp_2s_ancestral_cfg_pp"}:
        expected = sampled(name.removesuffix("_cfg_pp"), two_points, start(), SIGMAS, seed=3)
        torch.testing.assert_close(sampled(name, two_points, start(), SIGMAS, seed=3), expected)


def test_one_step_of_any_deterministic_sampler_gives_the_estimate() -> None:
    sigmas = torch.tensor([2.0, 0.0], dtype=torch.float64)
    for name in [n for n, s in SAMPLERS.items() if s.noise is None and n != "dpm_fast"]:
        got = sampled(name, two_points, start(sigmas), sigmas)
        torch.testing.assert_close(got, two_points(start(sigmas), sigmas[0]), rtol=0, atol=5e-3)
