"""A run's result: no sample that is not finite passes as one."""

import pytest
import torch
from torch import Tensor

from engine.problems import NodeFailure
from engine.steps import run_alone
from nodes.diffusion.guidance import plain
from nodes.diffusion.model import Model
from nodes.diffusion.run import sampled
from nodes.ports import Latent, Noise, SamplerChoice
from tests.nodes.denoisers import says
from tests.nodes.networks import tiny_model


def run(model: Model) -> Tensor:
    guider = plain(model, says(0.5).mapped(lambda c: type(c)(torch.full((1, 3, 8), 0.5))))
    latent = Latent(torch.zeros(1, 4, 8, 8))
    steps = sampled(guider, SamplerChoice("euler"), model.sigmas("simple", 2), latent, Noise(0), 0)
    with torch.no_grad():
        return run_alone(steps)[0].samples


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_sample_that_is_not_finite_fails_and_says_what_helps(value: float) -> None:
    model = tiny_model()
    assert run(model).isfinite().all()
    unet = model.recipe.module(model.devices)
    with torch.no_grad():
        unet.get_parameter("conv_out.bias")[1] = value
    with pytest.raises(NodeFailure, match="256 values of the sampled latent are NaN or infinite") as found:
        run(model)
    assert "damaged" in found.value.hint
    assert "float16" not in found.value.hint  # nothing computes in it here
