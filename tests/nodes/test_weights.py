"""Recipes: networks loaded once, and variants that share what they do not change."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from engine.devices import Devices, computing
from nodes.diffusion.weights import Part, Recipe, compute_dtype, moved, own_tensors
from tests.nodes.storybook import FOLDER

NAME = "encoder.layers.0.mlp.fc1.weight"


@dataclass(frozen=True)
class Shift:
    """Adds a number to one matrix."""

    by: float

    def changed(self, part: Part, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        assert part == "text_encoder"
        (name,) = (name for name in weights if name.endswith(NAME))
        return {name: weights[name] + self.by}


@dataclass(frozen=True)
class Doubled:
    """Doubles what one layer gives, by a hook."""

    def install(self, module: nn.Module) -> None:
        layer = module.get_submodule(NAME.removesuffix(".weight"))
        layer.register_forward_hook(lambda _, __, output: output * 2)


def recipe(*patches: Shift | Doubled) -> Recipe:
    return Recipe("digest", "text_encoder", "stable_diffusion", FOLDER, patches)


def matrix(made: Recipe, devices: Devices) -> Tensor:
    (found,) = (p for name, p in made.module(devices).named_parameters() if name.endswith(NAME))
    return found


def test_recipes_are_equal_by_what_they_compute() -> None:
    assert Recipe("d", "vae", "f", Path("a")) == Recipe("d", "vae", "f", Path("b"))
    assert hash(recipe(Shift(1.0))) == hash(recipe().patched(Shift(1.0)))
    assert recipe(Shift(1.0), Shift(2.0)) != recipe(Shift(2.0), Shift(1.0))


def test_a_network_is_loaded_once_and_ready_to_evaluate() -> None:
    devices = Devices("cpu")
    module = recipe().module(devices)
    assert recipe().module(devices) is module
    assert not module.training
    assert not any(p.requires_grad for p in module.parameters())
    assert {p.dtype for p in module.parameters()} == {torch.float32}


def test_a_variant_shares_all_that_it_does_not_change() -> None:
    devices = Devices("cpu")
    base, variant = recipe().module(devices), recipe(Shift(1.0)).module(devices)
    held = {id(p) for p in base.parameters()}
    own = [name for name, p in variant.named_parameters() if id(p) not in held]
    assert [name.endswith(NAME) for name in own] == [True]


def test_patches_are_applied_in_order_each_on_the_last() -> None:
    devices = Devices("cpu")
    twice = matrix(recipe(Shift(1.0), Shift(2.0)), devices)
    assert torch.equal(twice, matrix(recipe(), devices) + 1.0 + 2.0)


def test_200_variants_leave_the_base_as_it_was() -> None:
    devices = Devices("cpu", budget=3_000_000)  # the base and a few variants
    before = {name: p.clone() for name, p in recipe().module(devices).named_parameters()}
    for i in range(200):
        recipe(Shift(float(i))).module(devices)
    after = dict(recipe().module(devices).named_parameters())
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_network_loaded_while_computing_is_patched_and_used_like_any_other() -> None:
    devices, ids = Devices("cpu"), torch.zeros(1, 77, dtype=torch.long)
    with computing():
        inside = recipe(Shift(1.0)).module(devices)(ids).last_hidden_state
    outside = recipe(Shift(1.0)).module(devices)(ids).last_hidden_state
    assert torch.equal(inside, outside)
    assert torch.equal(matrix(recipe(Shift(1.0), Shift(1.0)), devices), matrix(recipe(), devices) + 1.0 + 1.0)


def test_what_runs_at_every_step_is_half_on_a_gpu() -> None:
    assert compute_dtype("unet", Devices("cuda:0")) is torch.float16
    assert compute_dtype("text_encoder", Devices("cuda")) is torch.float32
    assert compute_dtype("unet", Devices("cpu")) is torch.float32
    assert compute_dtype("vae", Devices("cuda", precision="fp32")) is torch.float32
    assert compute_dtype("unet", Devices("cpu", precision="bf16")) is torch.bfloat16


def test_patches_of_half_weights_are_rounded_once() -> None:
    devices, tiny = Devices("cpu", precision="bf16"), 2.0**-12
    base = matrix(recipe(), devices)
    many = matrix(recipe(*[Shift(tiny)] * 4096), devices)
    assert base.dtype is many.dtype is torch.bfloat16
    torch.testing.assert_close(many.float(), base.float() + 1.0, rtol=2**-8, atol=0)


def test_a_network_computes_in_the_type_that_is_asked_for() -> None:
    devices = Devices("cpu", precision="bf16")
    half, full = recipe().module(devices), recipe().module(devices, torch.float32)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in full.parameters()} == {torch.float32}


def test_a_variant_goes_to_the_host_without_its_base() -> None:
    devices = Devices("cpu")
    base, variant = recipe().module(devices), recipe(Shift(1.0)).module(devices)
    shared = frozenset(id(t) for t in (*base.parameters(), *base.buffers()))
    (own,) = own_tensors(variant, shared)
    assert own.shape == matrix(recipe(), devices).shape
    before = [p.data_ptr() for p in base.parameters()]
    moved(variant, "cpu", shared)
    assert [p.data_ptr() for p in base.parameters()] == before


def test_a_structure_shares_the_weights_of_the_variant_that_it_changes() -> None:
    devices, ids = Devices("cpu"), torch.zeros(1, 77, dtype=torch.long)
    shifted, both = recipe(Shift(1.0)), recipe(Doubled(), Shift(1.0))
    before = shifted.module(devices)(ids).last_hidden_state
    changed = both.module(devices)(ids).last_hidden_state
    assert {id(p) for p in both.module(devices).parameters()} == {
        id(p) for p in shifted.module(devices).parameters()
    }
    assert not torch.allclose(changed, before)
    assert torch.equal(shifted.module(devices)(ids).last_hidden_state, before)
