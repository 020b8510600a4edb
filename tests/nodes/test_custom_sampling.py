"""The parts of custom sampling: what each node hands on."""

from nodes import custom_sampling as nodes
from nodes.diffusion.guidance import classifier_free, dual, plain
from nodes.ports import Noise
from tests.nodes.denoisers import says
from tests.nodes.networks import tiny_model


def test_noise_is_its_seed() -> None:
    assert nodes.random_noise(noise_seed=7) == Noise(7)
    assert nodes.disable_noise() == Noise(None)


def test_guiders_are_their_guidance() -> None:
    model, first, second, negative = tiny_model(), says(1.0), says(2.0), says(3.0)
    assert nodes.basic_guider(model=model, conditioning=first) == plain(model, first)
    guider = nodes.cfg_guider(model=model, positive=first, negative=negative, cfg=3.0)
    assert guider == classifier_free(model, first, negative, 3.0)
    for style in ("regular", "nested"):
        two = nodes.dual_cfg_guider(
            model=model, cond1=first, cond2=second, negative=negative, cfg_conds=2.0, cfg_cond2_negative=4.0,
            style=style,
        )  # fmt: skip
        assert two == dual(model, first, second, negative, 2.0, 4.0, nested=style == "nested")
