"""Nodes of noise levels: they name the schedules, and split what they are given without losing a level."""

import pytest
import torch

from nodes import sigmas as nodes
from nodes.diffusion import schedules
from tests.nodes.networks import tiny_model

LEVELS = torch.tensor([9.0, 5.0, 3.0, 1.0, 0.0])


def test_each_scheduler_is_its_schedule() -> None:
    model = tiny_model()
    space = model.sampling
    pairs = [
        (nodes.basic_scheduler(model=model, scheduler="normal", steps=6), schedules.normal(space, 6)),
        (nodes.karras_scheduler(steps=6), schedules.karras(6, 0.0291675, 14.614642)),
        (nodes.exponential_scheduler(steps=6), schedules.exponential(6, 0.0291675, 14.614642)),
        (nodes.polyexponential_scheduler(steps=6), schedules.exponential(6, 0.0291675, 14.614642)),
        (nodes.vp_scheduler(steps=6), schedules.variance_preserving(6)),
        (nodes.sd_turbo_scheduler(model=model, steps=2), schedules.turbo(space, 2)),
        (nodes.beta_sampling_scheduler(model=model, steps=6), schedules.SCHEDULES["beta"](space, 6)),
    ]
    for got, expected in pairs:
        torch.testing.assert_close(got, expected)


def test_a_partial_denoise_keeps_the_number_of_steps() -> None:
    model = tiny_model()
    assert len(nodes.basic_scheduler(model=model, scheduler="karras", steps=6, denoise=0.4)) == 7
    assert len(nodes.basic_scheduler(model=model, scheduler="karras", steps=6, denoise=0.0)) == 0


@pytest.mark.parametrize("step", [0, 2, 4])
def test_a_split_meets_at_its_step(step: int) -> None:
    high, low = nodes.split_sigmas(sigmas=LEVELS, step=step)
    assert high[-1] == low[0] == LEVELS[step]
    assert torch.equal(torch.cat([high, low[1:]]), LEVELS)


@pytest.mark.parametrize(("denoise", "steps"), [(0.5, 2), (1.0, 4), (0.3, 1), (0.0, 0)])
def test_a_split_by_denoise_leaves_that_share_of_the_steps(denoise: float, steps: int) -> None:
    high, low = nodes.split_sigmas_denoise(sigmas=LEVELS, denoise=denoise)
    assert len(low) == steps + 1
    assert torch.equal(torch.cat([high, low[1:]]), LEVELS)


def test_the_first_level_can_be_set() -> None:
    assert nodes.set_first_sigma(sigmas=LEVELS, sigma=12.0).tolist() == [12.0, 5.0, 3.0, 1.0, 0.0]
    assert LEVELS[0] == 9.0


def test_percents_are_the_models() -> None:
    model = tiny_model()
    assert nodes.sampling_percent_to_sigma(model=model, sampling_percent=0.5) == pytest.approx(1.615580)
    assert nodes.sampling_percent_to_sigma(model=model, sampling_percent=1.0) == 0.0
    ends = [
        nodes.sampling_percent_to_sigma(model=model, sampling_percent=p, return_actual_sigma=True)
        for p in (0.0, 1.0)
    ]
    assert ends == [float(model.sampling.sigma_max), float(model.sampling.sigma_min)]


def test_flipped_levels_rise_from_above_zero() -> None:
    flipped = nodes.flip_sigmas(sigmas=LEVELS)
    torch.testing.assert_close(flipped, torch.tensor([1e-4, 1.0, 3.0, 5.0, 9.0]))
    assert LEVELS[-1] == 0
    assert len(nodes.flip_sigmas(sigmas=LEVELS[:0])) == 0
