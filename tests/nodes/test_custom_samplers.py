"""Nodes that pick a sampler: each names one that there is, with options that it takes."""

import inspect
from typing import Any

import pytest

from engine.node import Node
from nodes import custom_samplers as nodes
from nodes.diffusion.samplers import SAMPLERS
from nodes.ports import SamplerChoice
from tests.nodes.networks import tiny_model

MADE = [n for n in vars(nodes).values() if isinstance(n, Node) and n.name.startswith("Sampler")]
GIVEN: dict[str, Any] = {"use_pece": True, "simple_order_2": False}


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


@pytest.mark.parametrize("made", MADE, ids=lambda n: n.name)
def test_a_node_names_a_sampler_and_options_of_it(made: Node) -> None:
    given = {v.name: GIVEN.get(v.name, v.default) for v in made.inputs}
    given |= {v.name: next(iter(v.choices(None))) for v in made.inputs if v.choices(None)}  # type: ignore[arg-type]
    if "model" in given:
        given["model"] = tiny_model()
    choice = made(**given)
    taken = inspect.signature(SAMPLERS[choice.name].run).parameters
    assert dict(choice.options).keys() <= taken.keys()


def test_the_percents_of_sa_solver_are_the_models() -> None:
    choice = nodes.sampler_sa_solver(
        model=tiny_model(), sde_start_percent=0.2, sde_end_percent=0.5, use_pece=False, simple_order_2=False
    )
    options = dict(choice.options)
    assert (options["first"], options["last"]) == pytest.approx((5.092408, 1.615580), abs=1e-6)


def test_a_sampler_with_a_node_of_its_own_is_not_offered_by_name() -> None:
    hidden = {n for n, s in SAMPLERS.items() if not s.listed}
    assert hidden == {"lcm_upscale", "euler_cfg_pp_alternative"}
    offered = nodes.ksampler_select.inputs[0].choices(None)  # type: ignore[arg-type]
    assert offered is not None
    assert nodes.sampler_euler_cfg_pp(version="alternative").name in hidden
    assert nodes.sampler_lcm_upscale(upscale_method="area").name in hidden
    assert hidden.isdisjoint(offered)
