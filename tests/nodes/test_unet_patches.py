"""Changes of how a network computes: what they share with the base, what they leave, and where they act."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.problems import NodeFailure
from nodes.diffusion.attention_guidance import Attending, WithoutAttention
from nodes.diffusion.control import ControlRow, Hint
from nodes.diffusion.model import Gated, Model, Query
from nodes.diffusion.token_merging import Merged, Tiled, drawn, merging, tiles
from nodes.diffusion.unet_patches import FreeU, Shrunk, input_blocks, output_blocks
from nodes.diffusion.weights import Structure
from tests.nodes.networks import deep_model, tiny_control, tiny_model

STRUCTURES = (
    FreeU((1.2, 1.4), (0.9, 0.2)),
    FreeU((1.2, 1.4), (0.9, 0.2), adaptive=True),
    Shrunk(3, 2.0, True, "bicubic", "bicubic"),
    Shrunk(4, 1.7, False, "bilinear", "nearest-exact"),
    Merged(0.5),
    Tiled(4, 2, 1, False),
    WithoutAttention(),
)
NEUTRAL = (
    FreeU((1.0, 1.0), (1.0, 1.0)),
    Shrunk(3, 1.0, True, "bicubic", "bicubic"),
    Shrunk(30, 2.0, True, "bicubic", "bicubic"),
    Merged(0.0),
    Tiled(64, 2, 1, False),
)
each = pytest.mark.parametrize("structure", STRUCTURES, ids=repr)


@pytest.fixture(scope="module")
def model() -> Model:
    return deep_model()


def query(seed: int = 0, side: int = 16, **options: Any) -> Query:
    generator = torch.Generator().manual_seed(seed)
    x, context = torch.randn(1, 4, side, side, generator=generator), torch.randn(1, 7, 8, generator=generator)
    return Query(x * 3, torch.tensor(3.0), context, **options)


def answer(model: Model, *queries: Query) -> Tensor:
    with torch.no_grad():
        return torch.cat(list(model.answer(queries)))


@each
def test_the_base_answers_bit_for_bit_as_before_and_the_variant_otherwise(
    structure: Structure, model: Model
) -> None:
    before = answer(model, query())
    changed = answer(model.patched(structure), query())
    assert torch.equal(answer(model, query()), before)
    assert not torch.allclose(changed, before, rtol=1e-3)


@each
def test_a_variant_has_no_weights_of_its_own(structure: Structure, model: Model) -> None:
    base, variant = (m.recipe.module(m.devices) for m in (model, model.patched(structure)))
    held = {id(p) for p in base.parameters()}
    assert variant is not base
    assert {id(p) for p in variant.parameters()} == held


@each
def test_a_row_does_not_depend_on_its_companions(structure: Structure, model: Model) -> None:
    patched = model.patched(structure)
    together = answer(patched, query(0), query(1))
    alone = torch.cat([answer(patched, query(0)), answer(patched, query(1))])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-3)


@each
def test_equal_changes_share_batches(structure: Structure, model: Model) -> None:
    assert model.patched(structure) == model.patched(replace(structure))  # type: ignore[type-var]
    assert model.patched(structure) != model


@pytest.mark.parametrize("structure", NEUTRAL, ids=repr)
def test_settings_that_change_nothing_change_nothing(structure: Structure, model: Model) -> None:
    torch.testing.assert_close(
        answer(model.patched(structure), query()), answer(model, query()), rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("structure", [FreeU((1.2, 1.4), (0.9, 0.2)), Shrunk(1, 2.0, True, "area", "area")])
def test_a_controlnet_steers_a_changed_network_too(structure: Structure) -> None:
    model, hint = tiny_model().patched(structure), Hint(torch.rand(1, 3, 128, 128))
    steered = answer(model, query(control=(ControlRow(tiny_control(), hint, 1.0),)))
    assert not torch.allclose(steered, answer(model, query()), rtol=1e-3)


def test_what_steers_is_added_in_the_same_places_where_sizes_agree() -> None:
    model, drawn = tiny_model(), torch.Generator().manual_seed(0)

    def residual(side: int) -> Tensor:
        return torch.randn(1, 32, side, side, generator=drawn)

    steering = {
        "down_block_additional_residuals": tuple(residual(side) for side in (16, 16, 8, 8)),
        "mid_block_additional_residual": residual(8),
        "down_intrablock_additional_residuals": [residual(8), residual(8)],
    }

    def output(model: Model) -> Tensor:
        unet, at = model.recipe.module(model.devices), query()
        held = {name: list(r) if isinstance(r, list) else r for name, r in steering.items()}
        with torch.no_grad():
            result: Tensor = unet(at.x, 500, at.context, **held)[0]
        return result

    torch.testing.assert_close(output(model.patched(NEUTRAL[1])), output(model))
    shrunk = model.patched(Shrunk(1, 2.0, True, "area", "area"))
    first = output(shrunk)
    steering["mid_block_additional_residual"] = residual(8)  # where it is 4 now
    assert torch.equal(output(shrunk), first)


def test_a_flat_picture_has_no_structure_to_raise(model: Model) -> None:
    adaptive = model.patched(FreeU((1.2, 1.4), (0.9, 0.2), adaptive=True))
    assert answer(adaptive, query(side=8)).isfinite().all()  # its middle is one cell


def test_blocks_are_counted_as_latent_diffusion_code_counts_them(model: Model) -> None:
    unet = model.recipe.module(model.devices)
    assert [len(block) for block in input_blocks(unet)] == [1, 2, 2, 1, 2, 2, 1, 2, 2, 1, 1, 1]
    assert [len(block) for block in output_blocks(unet)] == [1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2]


def test_a_gated_change_acts_between_its_levels_only(model: Model) -> None:
    shrunk = STRUCTURES[2]
    gated = replace(model, gated=(Gated(shrunk, 10.0, 2.0),))
    assert [gated.at(s) == model.patched(shrunk) for s in (11.0, 10.0, 2.0, 1.9)] == [
        False,
        True,
        True,
        False,
    ]
    assert gated.at(11.0) == model


def test_where_a_model_looks_is_told_beside_its_answer(model: Model) -> None:
    with torch.no_grad():
        rows = Attending(model).answer([query(0), query(1)])
    told = torch.cat(list(rows))
    assert torch.equal(told[:, :4], answer(model, query(0), query(1)))
    assert set(told[:, 4].flatten().tolist()) == {0.0, 1.0}


def test_merged_tokens_come_back_to_their_places() -> None:
    tokens = torch.randn(2, 8 * 6, 5, generator=torch.Generator().manual_seed(0))
    fewer, back = merging(tokens, 8, 6, 0.25, drawn(8, 6, 0))
    assert fewer(tokens).shape == (2, 36, 5)
    same = (back(fewer(tokens)) == tokens).all(dim=-1).sum(dim=1)
    assert (same >= 48 - 2 * 12).all()  # those merged, and those that they were merged into, are means
    all_kept, undone = merging(tokens, 8, 6, 0.0, drawn(8, 6, 0))
    assert torch.equal(undone(all_kept(tokens)), tokens)


def test_equal_tokens_merge_without_loss() -> None:
    tokens = torch.ones(1, 16, 3)
    fewer, back = merging(tokens, 4, 4, 0.75, drawn(4, 4, 0))
    assert fewer(tokens).shape == (1, 4, 3)
    torch.testing.assert_close(back(fewer(tokens)), tokens)


@pytest.mark.parametrize(
    ("side", "least", "swaps", "count"), [(64, 32, 1, 2), (64, 32, 2, 2), (40, 32, 2, 1), (16, 32, 2, 1)]
)
def test_a_side_is_cut_into_the_most_tiles_that_are_long_enough(
    side: int, least: int, swaps: int, count: int
) -> None:
    assert tiles(side, least, swaps, torch.Generator()) == count


def test_a_model_without_attention_in_its_middle_cannot_be_guided_by_it(model: Model) -> None:
    unet: Any = model.recipe.module(model.devices)
    middle, unet.mid_block.attentions = unet.mid_block.attentions, torch.nn.ModuleList()
    try:
        with pytest.raises(NodeFailure, match="middle block"):
            Attending(model).answer([query()])
    finally:
        unet.mid_block.attentions = middle
