"""Nodes that make noise levels: the schedules by name, and the numbers of the ecosystem for the others."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from engine.problems import NodeFailure
from nodes import schedulers as nodes
from nodes.diffusion import schedules
from nodes.diffusion.levels import Discrete
from nodes.diffusion.sampling_space import ModelSampling
from nodes.ports import Latent
from tests.nodes.networks import tiny_model
from tests.nodes.references import NUMBERS

MADE: dict[str, Callable[..., Any]] = {
    "ays": lambda kind, steps, denoise: nodes.align_your_steps_scheduler(
        model_type=kind, steps=steps, denoise=denoise
    ),
    "oss": lambda kind, steps, denoise: nodes.optimal_steps_scheduler(
        model_type=kind, steps=steps, denoise=denoise
    ),
    "gits": lambda coeff, steps, denoise: nodes.gits_scheduler(coeff=coeff, steps=steps, denoise=denoise),
    "laplace": lambda steps, high, low, mu, beta: nodes.laplace_scheduler(
        steps=steps, sigma_max=high, sigma_min=low, mu=mu, beta=beta
    ),
    "ltxv": lambda steps, largest, base, stretch, terminal, shape: nodes.ltxv_scheduler(
        steps=steps, max_shift=largest, base_shift=base, stretch=stretch, terminal=terminal,
        latent=Latent(torch.zeros(shape)) if shape else None,
    ),
    "basic": lambda _, name, steps, denoise: nodes.basic_scheduler(
        model=tiny_model(sampling=ModelSampling("v_prediction", Discrete(zero_snr=True))),
        scheduler=name, steps=steps, denoise=denoise,
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "record", [r for r in NUMBERS["schedules"] if r[0][0] in MADE], ids=lambda r: " ".join(map(str, r[0]))
)
def test_it_is_the_ecosystems(record: list[Any]) -> None:
    (name, *settings), (expected,) = record
    torch.testing.assert_close(MADE[name](*settings), torch.tensor(expected), rtol=2e-6, atol=1e-7)


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


@pytest.mark.parametrize("steps", [1, 2, 19, 21, 1000])
@pytest.mark.parametrize("kind", ["SD1", "SDXL", "SVD"])
def test_interpolated_levels_fall_to_zero(kind: str, steps: int) -> None:
    sigmas = nodes.align_your_steps_scheduler(model_type=kind, steps=steps)
    assert len(sigmas) == steps + 1
    assert sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()


@pytest.mark.parametrize(
    "bad",
    [
        lambda: nodes.karras_scheduler(rho=0.0),
        lambda: nodes.exponential_scheduler(sigma_min=0.0),
        lambda: nodes.polyexponential_scheduler(sigma_max=0.0),
        lambda: nodes.beta_sampling_scheduler(model=tiny_model(), alpha=0.0),
        lambda: nodes.gits_scheduler(coeff=0.82),
    ],
)
def test_settings_without_a_meaning_are_refused(bad: Callable[[], Any]) -> None:
    with pytest.raises(NodeFailure) as caught:
        bad()
    assert caught.value.hint
