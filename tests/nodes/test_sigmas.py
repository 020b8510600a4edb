"""Nodes of noise levels: they split and change what they are given as the ecosystem does."""

from typing import Any

import pytest
import torch

from nodes import sigmas as nodes
from tests.nodes.networks import tiny_model
from tests.nodes.references import NUMBERS

GIVEN = {
    "a": [14.0, 9.0, 4.0, 2.0, 1.0, 0.5, 0.0],
    "b": [14.0, 9.0, 4.0],
    "c": [3.0, 0.0],
    "d": [0.0, 1.0, 2.0],
    "e": [],
}
LEVELS = torch.tensor([9.0, 5.0, 3.0, 1.0, 0.0])


@pytest.mark.parametrize(
    "record",
    [r for r in NUMBERS["schedules"] if r[0][0] in ("ext", "splitd")],
    ids=lambda r: " ".join(map(str, r[0])),
)
def test_it_is_the_ecosystems(record: list[Any]) -> None:
    (name, which, *settings), expected = record
    sigmas = torch.tensor(GIVEN[which])
    if name == "splitd":
        got = nodes.split_sigmas_denoise(sigmas=sigmas, denoise=settings[0])
    else:
        steps, start, end, spacing = settings
        got = (
            nodes.extend_intermediate_sigmas(
                sigmas=sigmas, steps=steps, start_at_sigma=start, end_at_sigma=end, spacing=spacing
            ),
        )
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, torch.tensor(theirs))


@pytest.mark.parametrize("step", [0, 2, 4])
def test_a_split_meets_at_its_step(step: int) -> None:
    high, low = nodes.split_sigmas(sigmas=LEVELS, step=step)
    assert high[-1] == low[0] == LEVELS[step]
    assert torch.equal(torch.cat([high, low[1:]]), LEVELS)


@pytest.mark.parametrize(("denoise", "steps"), [(0.5, 2), (1.0, 4), (0.3, 1)])
def test_a_split_by_denoise_leaves_that_share_of_the_steps(denoise: float, steps: int) -> None:
    high, low = nodes.split_sigmas_denoise(sigmas=LEVELS, denoise=denoise)
    assert len(low) == steps + 1
    assert torch.equal(torch.cat([high, low[1:]]), LEVELS)


def test_a_split_without_a_second_part_has_no_first() -> None:
    high, low = nodes.split_sigmas_denoise(sigmas=LEVELS, denoise=0.1)
    assert len(high) == 0
    assert low.tolist() == [0.0]


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
