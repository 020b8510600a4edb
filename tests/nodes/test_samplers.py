"""Samplers: equal to k-diffusion's, of the order they claim, and the same whatever runs beside them."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.steps import Progress, run_alone
from nodes.diffusion.samplers import SAMPLERS
from nodes.diffusion.schedules import exponential, karras
from tests.nodes.denoisers import asked, asked_both, gaussian, k_diffusion_sampling, two_points
from tests.nodes.references import NUMBERS, run

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
SIGMAS = karras(8, 0.05, 14.0).double()
UNI_PC = ("uni_pc", "uni_pc_bh2")


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


@pytest.mark.parametrize("record", NUMBERS["runs"], ids=lambda r: f"{r[0]} {r[1]} {r[2]} {r[3]}")
def test_it_is_the_ecosystems(record: list[Any]) -> None:
    """On diffusions and flows, to 0 and above it; three of the numbers that ComfyUI 0.3.64 gave."""
    name, options, kind, sigmas, expected = record
    single = name.startswith("uni_pc")  # which ComfyUI runs in float32 only, and loses digits near 0
    levels = torch.tensor(NUMBERS["sigmas"][kind][sigmas], dtype=torch.float32 if single else torch.float64)
    got = run(name, kind, levels, seed=77, **options).flatten()[[0, 19, -1]]
    tolerance = 1e-4 if single else 2e-6
    torch.testing.assert_close(got.double(), torch.tensor(expected).double(), rtol=tolerance, atol=tolerance)


@pytest.fixture(scope="module")
def convergence() -> Any:
    path = Path(__file__).parents[2] / "benchmarks" / "convergence.py"
    spec = importlib.util.spec_from_file_location("convergence", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["convergence"] = module
    spec.loader.exec_module(module)
    return module


def test_every_deterministic_sampler_has_the_order_that_theory_gives(convergence: Any) -> None:
    truth, wrong = convergence.exact(), []
    for case in convergence.CASES:
        fitted, _ = convergence.measured(case, truth)
        if abs(fitted - case.order) > 0.25:
            wrong.append((case.name, case.options, case.order, fitted))
        if (
            case.gentle
            and abs((fitted := convergence.measured(case, truth, gentle=True)[0]) - case.gentle) > 0.3
        ):
            wrong.append((case.name, case.options, case.gentle, fitted))
    assert wrong == []


def test_the_order_is_measured_of_every_sampler_that_can_be_one(convergence: Any) -> None:
    left_out = {"ddpm", "lcm", "lcm_upscale", "dpmpp_2s_ancestral_cfg_pp", "euler_cfg_pp_alternative"}
    noisy = {n for n in SAMPLERS if n.endswith("_gpu") or n == "res_multistep_ancestral_cfg_pp"}
    assert {c.name for c in convergence.CASES} == SAMPLERS.keys() - left_out - noisy


NOISY = [n for n, s in SAMPLERS.items() if s.noise and s.listed and n not in ("lcm", "dpm_adaptive")]


@pytest.mark.parametrize("name", [n for n in NOISY if not n.endswith(("_gpu", "_cfg_pp"))])
def test_the_samples_are_spread_as_the_data(name: str, convergence: Any) -> None:
    """Mean and variance of 4000 samples of a mixture of Gaussians: 4 standard errors and 3 % of bias."""
    sigmas = karras(60, 0.02, 30.0).double()
    x = torch.randn(1, 1, 50, 80, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 30.0
    samples = sampled(name, convergence.denoised, x, sigmas, seed=8)
    weights, means, spreads = convergence.WEIGHTS, convergence.MEANS, convergence.SPREADS
    mean = (weights * means).sum()
    variance = (weights * (means**2 + spreads**2)).sum() - mean**2
    assert abs(samples.mean() - mean) < 4 * (variance / samples.numel()).sqrt()
    assert abs(samples.var() / variance - 1) < 4 * (2 / samples.numel()) ** 0.5 + 0.03


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
        for i, steps in enumerate(runs):
            if i not in results:
                torch.randn(3)
                try:
                    next(steps)
                except StopIteration as stop:
                    results[i] = stop.value
    assert torch.equal(results[0], alone)
    assert torch.equal(results[2], alone)
    assert torch.equal(results[1], alone) == (sampler.noise is None or name == "dpm_adaptive")


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_step_leaves_the_latent_as_it_is(name: str) -> None:
    assert torch.equal(sampled(name, two_points, start(), SIGMAS[:1]), start())


@pytest.mark.parametrize(
    "name", [n for n, s in SAMPLERS.items() if s.noise and n not in ("ddpm", "lcm", "lcm_upscale", "er_sde")]
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
    for name in [n for n, s in SAMPLERS.items() if s.noise is None and n not in ("dpm_fast", *UNI_PC)]:
        got = sampled(name, two_points, start(sigmas), sigmas)
        torch.testing.assert_close(got, two_points(start(sigmas), sigmas[0]), rtol=0, atol=5e-3)


@pytest.mark.parametrize("name", UNI_PC)
def test_one_step_of_uni_pc_is_none_as_in_the_reference(name: str) -> None:
    sigmas = torch.tensor([2.0, 0.0], dtype=torch.float64)
    got = sampled(name, two_points, start(sigmas), sigmas)
    torch.testing.assert_close(got, start(sigmas) / 5**0.5, rtol=1e-5, atol=0)


def test_a_deterministic_ancestral_step_may_go_up() -> None:
    sigmas = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    for name in ("euler_ancestral", "dpmpp_2s_ancestral", "dpm_2_ancestral"):
        assert sampled(name, two_points, start(sigmas), sigmas, eta=0.0).isfinite().all()
