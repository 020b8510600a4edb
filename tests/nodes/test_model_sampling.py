"""Model sampling: the same weights, read another way."""

from collections.abc import Callable

import pytest
import torch

from engine.problems import NodeFailure
from nodes import model_sampling as nodes
from nodes.diffusion.latent_format import PLAYGROUND
from nodes.diffusion.levels import Continuous, Cosine, Discrete, Flow, Flux
from nodes.diffusion.model import Model
from nodes.diffusion.sampling_space import ModelSampling
from nodes.ports import Latent
from tests.nodes.networks import tiny_model

MODEL = tiny_model()
SPACES: list[tuple[Callable[[], Model], ModelSampling]] = [
    (
        lambda: nodes.model_sampling_continuous_edm(model=MODEL, sampling="v_prediction", sigma_max=80.0),
        ModelSampling("v_prediction", Continuous(0.002, 80.0)),
    ),
    (
        lambda: nodes.model_sampling_continuous_edm(model=MODEL, sampling="edm"),
        ModelSampling("edm", Continuous(), spread=0.5),
    ),
    (
        lambda: nodes.model_sampling_continuous_edm(model=MODEL, sampling="eps"),
        ModelSampling("eps", Continuous()),
    ),
    (
        lambda: nodes.model_sampling_continuous_edm(model=MODEL, sampling="cosmos_rflow"),
        ModelSampling("cosmos_rflow", Continuous(timesteps="share")),
    ),
    (
        lambda: nodes.model_sampling_continuous_v(model=MODEL, sampling="v_prediction"),
        ModelSampling("v_prediction", Continuous(0.03, 500.0, "angle")),
    ),
    (lambda: nodes.model_sampling_stable_cascade(model=MODEL), ModelSampling("eps", Cosine(2.0))),
    (lambda: nodes.model_sampling_sd3(model=MODEL), ModelSampling("flow", Flow(3.0))),
    (lambda: nodes.model_sampling_aura_flow(model=MODEL), ModelSampling("flow", Flow(1.73, 1.0))),
]


@pytest.mark.parametrize("sampling", ["eps", "v_prediction", "x0", "img_to_img"])
def test_the_prediction_is_set_and_the_weights_stay(sampling: str) -> None:
    changed = nodes.model_sampling_discrete(model=MODEL, sampling=sampling, zsnr=True)  # type: ignore[arg-type]
    assert changed.sampling == ModelSampling(sampling, Discrete(zero_snr=True))  # type: ignore[arg-type]
    assert changed.recipe == MODEL.recipe
    assert changed != MODEL


def test_a_consistency_model_has_fifty_levels() -> None:
    changed = nodes.model_sampling_discrete(model=MODEL, sampling="lcm")
    assert len(changed.sampling.table) == 50
    assert nodes.model_sampling_discrete(model=changed, sampling="eps") == MODEL


def test_the_schedule_of_training_is_kept() -> None:
    trained = tiny_model(sampling=ModelSampling(levels=Discrete(1e-4, 0.02, "linear")))
    changed = nodes.model_sampling_discrete(model=trained, sampling="v_prediction", zsnr=True)
    assert changed.sampling.levels == Discrete(1e-4, 0.02, "linear", zero_snr=True)
    flow = nodes.model_sampling_sd3(model=trained)
    assert nodes.model_sampling_discrete(model=flow, sampling="eps").sampling == ModelSampling()


@pytest.mark.parametrize(("made", "space"), SPACES)
def test_a_node_sets_its_space(made: Callable[[], Model], space: ModelSampling) -> None:
    changed = made()
    assert changed.sampling == space
    assert (changed.recipe, changed.latent) == (MODEL.recipe, MODEL.latent)


def test_playground_has_latents_of_its_own() -> None:
    changed = nodes.model_sampling_continuous_edm(model=MODEL, sampling="edm_playground_v2.5")
    assert changed.latent == PLAYGROUND
    assert changed.sampling == ModelSampling("edm", Continuous(), spread=0.5)


def test_the_shift_of_flux_grows_with_the_picture() -> None:
    def mu(width: int, height: int) -> float:
        levels = nodes.model_sampling_flux(model=MODEL, width=width, height=height).sampling.levels
        assert isinstance(levels, Flux)
        return levels.mu

    assert mu(1024, 1024) == pytest.approx(1.15)
    assert mu(256, 256) == pytest.approx(0.5)
    assert mu(1024, 768) == pytest.approx(0.9766666667)  # ComfyUI 0.3.64


@pytest.mark.parametrize(
    ("shape", "mu"), [(None, 2.05), ((1, 128, 7, 20, 30), 2.0872395833), ((1, 16, 20, 30), 0.7981770833)]
)
def test_the_shift_of_ltxv_counts_tokens(shape: tuple[int, ...] | None, mu: float) -> None:
    """The numbers are those of ComfyUI 0.3.64."""
    latent = Latent(torch.zeros(shape)) if shape else None
    levels = nodes.model_sampling_ltxv(model=MODEL, latent=latent).sampling.levels
    assert isinstance(levels, Flux)
    assert levels.mu == pytest.approx(mu)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: nodes.model_sampling_sd3(model=MODEL, shift=0.0),
        lambda: nodes.model_sampling_stable_cascade(model=MODEL, shift=0.0),
        lambda: nodes.model_sampling_continuous_edm(model=MODEL, sampling="eps", sigma_min=0.0),
        lambda: nodes.model_sampling_continuous_v(
            model=MODEL, sampling="v_prediction", sigma_min=2.0, sigma_max=1.0
        ),
    ],
)
def test_settings_without_noise_levels_are_refused(bad: Callable[[], Model]) -> None:
    with pytest.raises(NodeFailure) as caught:
        bad()
    assert caught.value.hint
