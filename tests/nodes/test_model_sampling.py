"""Model sampling: the same weights, read another way."""

import pytest

from nodes.diffusion.sampling_space import ModelSampling
from nodes.model_sampling import differential_diffusion, model_sampling_discrete, rescale_cfg
from tests.nodes.networks import tiny_model


@pytest.mark.parametrize("sampling", ["eps", "v_prediction", "x0", "img_to_img"])
def test_the_prediction_is_set_and_the_weights_stay(sampling: str) -> None:
    model = tiny_model()
    changed = model_sampling_discrete(model=model, sampling=sampling, zsnr=True)  # type: ignore[arg-type]
    assert changed.sampling == ModelSampling(prediction=sampling, zero_snr=True)  # type: ignore[arg-type]
    assert changed.recipe == model.recipe
    assert changed != model


def test_a_consistency_model_has_fifty_levels() -> None:
    changed = model_sampling_discrete(model=tiny_model(), sampling="lcm")
    assert len(changed.sampling.table) == 50
    assert model_sampling_discrete(model=changed, sampling="eps") == tiny_model()


def test_settings_of_guidance_leave_the_model_the_same_for_batches() -> None:
    model = tiny_model()
    rescaling, thresholds = rescale_cfg(model=model, multiplier=0.4), differential_diffusion(model=model)
    assert (rescaling.cfg_rescale, thresholds.differential) == (0.4, 1.0)
    assert model == rescaling == thresholds
