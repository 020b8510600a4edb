"""Schedules: the reference's numbers, and the laws that all of them keep."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nodes.diffusion.levels import Discrete
from nodes.diffusion.sampling_space import ModelSampling
from nodes.diffusion.schedules import (
    SCHEDULES,
    denoising_sigmas,
    exponential,
    karras,
    laplace,
    polyexponential,
    shift_for,
    token_shifted,
    turbo,
    variance_preserving,
)
from tests.nodes.denoisers import k_diffusion_sampling

SD1 = ModelSampling()

# ComfyUI 0.3.64 for Stable Diffusion 1, five steps (SEMANTICS section 3).
FIVE_STEPS = {
    "simple": (14.614641, 5.087763, 2.276463, 1.160578, 0.569285, 0),
    "sgm_uniform": (14.614640, 5.092408, 2.279731, 1.162865, 0.571189, 0),
    "karras": (14.614643, 4.796535, 1.274101, 0.247950, 0.029167, 0),
    "exponential": (14.614640, 3.088976, 0.652892, 0.137996, 0.029167, 0),
    "ddim_uniform": (5.134431, 2.292854, 1.168216, 0.574050, 0.041314, 0),
    "beta": (14.614641, 7.371844, 2.615236, 1.027329, 0.395510, 0),
    "normal": (14.614640, 4.086081, 1.615580, 0.695150, 0.029167, 0),
    "linear_quadratic": (14.614641, 14.431958, 14.249275, 12.544234, 7.794476, 0),
    "kl_optimal": (14.614633, 2.142741, 0.961588, 0.419836, 0.029167, 0),
}


def test_the_combo_lists_the_schedules_in_the_ecosystems_order() -> None:
    assert list(SCHEDULES) == list(FIVE_STEPS)


@pytest.mark.parametrize("name", SCHEDULES)
def test_five_steps_are_the_references(name: str) -> None:
    assert [round(float(s), 6) for s in SCHEDULES[name](SD1, 5)] == pytest.approx(
        FIVE_STEPS[name], abs=1.1e-6
    )


@pytest.mark.parametrize("name", SCHEDULES)
@given(n=st.integers(1, 60))
def test_sigmas_fall_and_end_at_zero(name: str, n: int) -> None:
    sigmas = SCHEDULES[name](SD1, n)
    assert sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()
    assert sigmas.dtype == torch.float32
    assert name == "ddim_uniform" or len(sigmas) == n + 1


@pytest.mark.parametrize("n", [2, 5, 20])
def test_karras_and_its_kin_are_k_diffusions(n: int) -> None:
    k = k_diffusion_sampling()
    torch.testing.assert_close(karras(n, 0.03, 14.6), k.get_sigmas_karras(n, 0.03, 14.6))
    torch.testing.assert_close(exponential(n, 0.03, 14.6), k.get_sigmas_exponential(n, 0.03, 14.6))
    torch.testing.assert_close(
        polyexponential(n, 0.03, 14.6, 2.0), k.get_sigmas_polyexponential(n, 0.03, 14.6, rho=2.0)
    )
    torch.testing.assert_close(variance_preserving(n), k.get_sigmas_vp(n))


@given(steps=st.integers(1, 40), denoise=st.floats(0.05, 1.0))
def test_a_partial_denoise_is_the_end_of_a_longer_schedule(steps: int, denoise: float) -> None:
    sigmas = denoising_sigmas("karras", SD1, steps, denoise)
    total = steps if denoise > 0.9999 else int(steps / denoise)
    assert torch.equal(sigmas, SCHEDULES["karras"](SD1, total)[-(steps + 1) :])
    assert len(sigmas) == steps + 1


def test_no_denoise_is_no_steps() -> None:
    assert len(denoising_sigmas("normal", SD1, 20, 0.0)) == 0


def test_discarding_the_penultimate_sigma_keeps_the_number_of_steps() -> None:
    whole, shortened = (
        SCHEDULES["normal"](SD1, 6),
        denoising_sigmas("normal", SD1, 5, discard_penultimate=True),
    )
    assert torch.equal(shortened, torch.cat([whole[:-2], whole[-1:]]))
    partial = denoising_sigmas("normal", SD1, 5, 0.5, discard_penultimate=True)
    assert torch.equal(partial[:-1], SCHEDULES["normal"](SD1, 11)[-7:-2])


def test_a_schedule_of_a_shifted_table_starts_at_its_top() -> None:
    shifted = ModelSampling(levels=Discrete(zero_snr=True))
    assert float(SCHEDULES["simple"](shifted, 4)[0]) == pytest.approx(4518.763672)


def test_turbo_starts_lower_for_a_partial_denoise() -> None:
    assert turbo(SD1, 1).tolist() == pytest.approx([float(SD1.table[999]), 0.0])
    assert turbo(SD1, 2, 0.5).tolist() == pytest.approx([*SD1.table[[499, 399]].tolist(), 0.0])


def test_the_range_of_a_laplace_schedule_is_kept() -> None:
    sigmas = laplace(50, 0.03, 14.6, mu=0.5, beta=1.5)
    assert len(sigmas) == 50
    assert sigmas.min() >= 0.03
    assert sigmas.max() <= 14.6
    assert float(sigmas[24:26].log().mean()) == pytest.approx(0.5, abs=1e-3)


def test_the_shift_is_linear_in_the_tokens() -> None:
    assert shift_for(4096, 0.5, 1.15) == pytest.approx(1.15)
    assert shift_for(256, 0.5, 1.15) == pytest.approx(0.5)
    assert shift_for(1024, 0.95, 2.05, base_tokens=1024) == pytest.approx(0.95)


def test_a_flow_can_be_stretched_to_end_at_a_level() -> None:
    assert float(token_shifted(5, 2.05, 0.1)[-2]) == pytest.approx(0.1)
    assert token_shifted(1, 2.05, 0.1).tolist() == pytest.approx([1.0, 0.0])
