"""Conditionings on a latent: areas, masks, feather, ranges, partners, shared ControlNets."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.devices import Devices
from engine.problems import NodeFailure
from nodes.diffusion.added import Scene
from nodes.diffusion.conditioning import Area, Part, prepared
from nodes.diffusion.control import ControlNet, ControlUse
from nodes.diffusion.sampling_space import ModelSampling
from nodes.diffusion.weights import Recipe
from nodes.ports import Conditioning
from tests.nodes.denoisers import says
from tests.nodes.networks import tiny_model

SD1 = ModelSampling()
LATENT = torch.zeros(2, 4, 24, 32)


def parts(*sides: Conditioning, like: Tensor = LATENT) -> tuple[tuple[Part, ...], ...]:
    return prepared(sides, tiny_model(), Scene(like))


def alone(**options: Any) -> Part:
    ((part,),) = parts(says(1.0, **options))
    return part


def test_a_plain_entry_covers_the_latent_from_the_first_step_to_the_last() -> None:
    part = alone()
    assert part.area == Area(24, 32, 0, 0)
    assert (part.weight == 1).all()
    assert part.acts_at(float(SD1.sigma_max) * 2)
    assert part.acts_at(0.0)
    assert part.control(0, 1.0) == ()


def test_strength_is_the_weight() -> None:
    assert (alone(strength=0.3).weight == torch.tensor(0.3)).all()


def test_an_area_fades_in_where_it_ends_inside_the_latent() -> None:
    part = alone(area=(16, 12, 8, 0), strength=2.0)
    assert part.area == Area(16, 12, 8, 0)
    weight = part.weight[0, 0]
    top, right = torch.tensor([0.25, 0.5, 0.75, 1.0]), torch.tensor([1.0, 2 / 3, 1 / 3])
    torch.testing.assert_close(weight[:4, 0], 2 * top)
    torch.testing.assert_close(weight[8, -3:], 2 * right)
    assert weight[-1, 0] == 2
    torch.testing.assert_close(weight[0, -1], torch.tensor(2 * 0.25 / 3))


def test_an_area_is_cut_at_the_border_or_left_out() -> None:
    assert alone(area=(64, 64, 8, 16)).area == Area(16, 16, 8, 16)
    assert parts(says(1.0, area=(8, 8, 24, 0))) == ((),)


def test_a_percentage_area_is_of_the_latents_size() -> None:
    assert alone(area=("percentage", 0.5, 0.25, 0.5, 0.001)).area == Area(12, 8, 12, 0)
    assert alone(area=("percentage", 0.0, 1.0, 0.0, 0.0)).area == Area(1, 32, 0, 0)


def test_a_mask_weighs_without_feather_and_can_bound_the_area() -> None:
    mask = torch.zeros(1, 24, 32)
    mask[:, 4:20, 10:13] = 0.5
    part = alone(mask=mask, mask_strength=0.5, strength=2.0)
    torch.testing.assert_close(part.weight, mask[None].repeat(2, 1, 1, 1))
    bounded = alone(mask=mask, set_area_to_bounds=True)
    assert bounded.area == Area(16, 8, 4, 10)
    assert torch.equal(bounded.weight[0, 0, :, :3], torch.full((16, 3), 0.5))
    assert alone(mask=torch.zeros(1, 24, 32), set_area_to_bounds=True).area == Area(8, 8, 0, 0)


def test_a_range_of_percents_is_a_range_of_sigmas() -> None:
    part = alone(start_percent=0.2, end_percent=0.5)
    first, last = SD1.percent_to_sigma(0.2), SD1.percent_to_sigma(0.5)
    assert [part.acts_at(s) for s in (first * 1.01, first, last, last * 0.99)] == [False, True, True, False]


def test_an_area_gets_a_partner_on_the_other_side() -> None:
    area = Area(8, 8, 8, 8)
    positive, negative = parts(says(1.0, area=(8, 8, 8, 8), strength=0.5), says(-1.0))
    assert [p.area for p in negative] == [Area(24, 32, 0, 0), area]
    assert torch.equal(negative[1].weight, positive[0].weight)
    assert (negative[1].context == -1).all()
    assert len(positive) == 1


def test_the_partner_is_the_smallest_entry_that_encloses_the_area() -> None:
    whole, large, small = says(-1.0), says(-2.0, area=(20, 20, 0, 0)), says(-3.0, area=(4, 4, 8, 8))
    negative = Conditioning((*whole.entries, *large.entries, *small.entries))
    positive = Conditioning((*says(1.0).entries, *says(2.0, area=(8, 8, 8, 8)).entries))
    _, found = parts(positive, negative)
    assert [float(p.context.mean()) for p in found if p.area == Area(8, 8, 8, 8)] == [-2.0]


def test_a_side_without_an_enclosing_entry_gets_no_partner() -> None:
    _, negative = parts(says(1.0, area=(8, 8, 8, 8)), says(-1.0, area=(4, 4, 0, 0)))
    assert [p.area for p in negative] == [Area(4, 4, 0, 0)]


def net(name: str) -> ControlNet:
    """A ControlNet of which only the name matters."""
    return ControlNet(Recipe(name, "controlnet", "controlnet", Path(name)), Devices("cpu"))


def use(name: str, **options: Any) -> ControlUse:
    return ControlUse(net(name), torch.rand(1, 48, 64, 3), **options)


def test_a_hint_is_cut_and_stretched_to_eight_times_the_latent() -> None:
    hint = torch.arange(6.0).reshape(1, 2, 3, 1).expand(1, 2, 3, 3)
    part = alone(control=(ControlUse(net("a"), hint, 0.8),))
    (row,) = part.control(1, 1.0)
    assert row.hint.picture.shape == (1, 3, 192, 256)
    assert row.hint.picture[0, 0, 0, 0] == 0
    assert row.hint.picture[0, 0, -1, -1] == 5
    assert row.strength == 0.8


def test_controls_act_in_their_range_and_not_without_strength() -> None:
    part = alone(control=(use("a", end_percent=0.5), use("b", strength=0.0), use("c", start_percent=0.2)))
    nets = [[r.net for r in part.control(0, sigma)] for sigma in (10.0, 3.0, 1.0)]
    assert nets == [[net("a")], [net("a"), net("c")], [net("c")]]


@pytest.mark.parametrize("shared", [True, False])
def test_a_control_is_shared_with_the_negative_where_it_says_so(shared: bool) -> None:
    control = (use("a"),)
    positive = says(1.0, control=control, control_apply_to_uncond=shared)
    _, negative = parts(positive, says(-1.0))
    assert [r.net for r in negative[0].control(0, 1.0)] == ([net("a")] if shared else [])


def test_a_negative_with_a_control_of_its_own_keeps_it() -> None:
    positive = says(1.0, control=(use("a"),), control_apply_to_uncond=True)
    _, negative = parts(positive, says(-1.0, control=(use("b"),)))
    assert [[r.net for r in p.control(0, 1.0)] for p in negative] == [[net("b")]]


def test_two_shared_controls_make_two_negatives() -> None:
    first, second = (
        says(v, control=(use(n),), control_apply_to_uncond=True) for v, n in ((1.0, "a"), (2.0, "b"))
    )
    _, negative = parts(Conditioning((*first.entries, *second.entries)), says(-1.0))
    assert [[r.net for r in p.control(0, 1.0)] for p in negative] == [[net("a")], [net("b")]]


@pytest.mark.parametrize("given", [{"context": 1024}, {"adapter": True, "cell": 16}])
def test_a_control_net_of_another_line_is_refused(given: dict[str, Any]) -> None:
    other = ControlUse(replace(net("a"), **given), torch.rand(1, 48, 64, 3))
    with pytest.raises(NodeFailure, match="another line"):
        alone(control=(other,))


@pytest.mark.parametrize(("seen", "given"), [(1, 3), (3, 4), (3, 3)])
def test_a_hint_has_the_channels_and_sides_that_the_network_wants(seen: int, given: int) -> None:
    picture = torch.rand(1, given, 40, 40)
    asked = replace(net("a"), channels=seen, cell=16)
    made = asked.fitted(picture, 5, 6)
    assert made.shape == (1, seen, 48, 48)
    expected = picture.mean(1, keepdim=True) if seen == 1 else picture[:, :3]
    assert torch.equal(made, torch.nn.functional.interpolate(expected, (48, 48), mode="nearest-exact"))


def test_a_grey_hint_is_refused_where_colours_are_seen() -> None:
    with pytest.raises(NodeFailure, match="1 channels"):
        net("a").fitted(torch.rand(1, 1, 8, 8), 8, 8)
