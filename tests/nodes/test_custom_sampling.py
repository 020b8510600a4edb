"""The parts of custom sampling: what each node hands on."""

import pytest

from engine.node import Node
from nodes import custom_sampling as nodes
from nodes.diffusion.guidance import classifier_free, dual, plain
from nodes.diffusion.samplers import SAMPLERS
from nodes.ports import Noise, SamplerChoice
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


@pytest.mark.parametrize(("device", "suffix"), [("cpu", ""), ("gpu", "_gpu")])
def test_the_noise_device_picks_the_samplers_variant(device: str, suffix: str) -> None:
    choices = [
        nodes.sampler_dpmpp_2m_sde(solver_type="heun", noise_device=device),
        nodes.sampler_dpmpp_3m_sde(noise_device=device),
        nodes.sampler_dpmpp_sde(noise_device=device),
    ]
    assert [c.name for c in choices] == [f"dpmpp_{k}{suffix}" for k in ("2m_sde", "3m_sde", "sde")]
    assert dict(choices[0].options)["solver_type"] == "heun"


def test_a_sampler_is_chosen_with_its_usual_options() -> None:
    assert nodes.ksampler_select(sampler_name="euler") == SamplerChoice("euler")


def test_sampler_nodes_name_samplers_that_there_are() -> None:
    made = [n for n in vars(nodes).values() if isinstance(n, Node) and n.name.startswith("Sampler")]
    for node in made:
        widgets = {v.name: next(iter(v.choices(None) or [v.default])) for v in node.inputs}  # type: ignore[arg-type]
        assert node(**widgets).name in SAMPLERS
