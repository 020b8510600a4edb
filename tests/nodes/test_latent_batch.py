"""Batches of latents: each item keeps its mask and the noise it is drawn for."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nodes.latent_batch import (
    latent_batch,
    latent_batch_seed_behavior,
    latent_concat,
    latent_crop,
    latent_cut,
    latent_flip,
    latent_from_batch,
    latent_rotate,
    rebatch_latents,
    repeat_latent_batch,
)
from nodes.ports import Latent


def numbered(count: int, start: int = 0, side: int = 2) -> Latent:
    return Latent(torch.arange(start, start + count).float().view(-1, 1, 1, 1).repeat(1, 4, side, side))


def numbers(latent: Latent) -> list[float]:
    values: list[float] = latent.samples[:, 0, 0, 0].tolist()
    return values


def test_joined_batches_keep_the_noise_of_each() -> None:
    joined = latent_batch(samples1=numbered(2), samples2=numbered(2, side=4))
    assert joined.samples.shape == (4, 4, 2, 2)
    assert joined.batch_index == (0, 1, 0, 1)


def test_a_part_of_a_batch_keeps_its_noise_and_mask() -> None:
    mask = torch.rand(2, 1, 16, 16)
    part = latent_from_batch(samples=Latent(numbered(4).samples, mask), batch_index=1, length=2)
    assert numbers(part) == [1, 2]
    assert part.batch_index == (1, 2)
    assert part.noise_mask is not None
    assert part.noise_mask.equal(mask[[1, 0]])
    assert numbers(latent_from_batch(samples=numbered(4), batch_index=60, length=3)) == [3]


def test_repetitions_get_noise_of_their_own() -> None:
    batch = Latent(numbered(2).samples, torch.rand(2, 1, 16, 16), (3, 5))
    repeated = repeat_latent_batch(samples=batch, amount=3)
    assert numbers(repeated) == [0, 1] * 3
    assert repeated.batch_index == (3, 5, 6, 8, 9, 11)
    assert repeated.noise_mask is not None
    assert len(repeated.noise_mask) == 6
    assert repeat_latent_batch(samples=numbered(2), amount=2).batch_index is None


@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5), batch_size=st.integers(1, 6))
def test_regrouping_keeps_all_items_in_order(sizes: list[int], batch_size: int) -> None:
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    latents = [numbered(size, start) for size, start in zip(sizes, starts, strict=True)]
    batches = rebatch_latents(latents=latents, batch_size=[batch_size])
    everything = list(range(sum(sizes)))
    assert [n for batch in batches for n in numbers(batch)] == everything
    assert [i for batch in batches for i in batch.batch_index or ()] == everything
    assert all(len(batch.samples) == batch_size for batch in batches[:-1])
    assert all(batch.noise_mask is None for batch in batches)


def test_regrouping_keeps_masks_and_never_mixes_sizes() -> None:
    masked = Latent(numbered(1).samples, torch.zeros(1, 1, 4, 4), (7,))
    batches = rebatch_latents(latents=[masked, numbered(1), numbered(1, side=3)], batch_size=[3])
    assert [len(batch.samples) for batch in batches] == [2, 1]
    assert batches[0].batch_index == (7, 1)
    mask = batches[0].noise_mask
    assert mask is not None
    assert mask.shape == (2, 1, 16, 16)
    assert mask.mean(dim=(1, 2, 3)).tolist() == [0, 1]


def test_a_fixed_seed_gives_all_items_the_noise_of_the_first() -> None:
    latent = Latent(numbered(3).samples, batch_index=(4, 5, 6))
    assert latent_batch_seed_behavior(samples=latent, seed_behavior="fixed").batch_index == (4, 4, 4)
    assert latent_batch_seed_behavior(samples=latent, seed_behavior="random").batch_index is None


def test_turning_and_flipping_go_the_named_way() -> None:
    latent = Latent(torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, None])
    assert latent_flip(samples=latent, flip_method="x-axis: vertically").samples[0, 0].tolist() == [
        [3, 4],
        [1, 2],
    ]
    assert latent_rotate(samples=latent, rotation="90 degrees").samples[0, 0].tolist() == [[3, 1], [4, 2]]


@pytest.mark.parametrize(("x", "y", "corner"), [(0, 0, 0.0), (16, 8, 12.0), (800, 800, 22.0)])
def test_a_crop_leaves_at_least_eight_cells(x: int, y: int, corner: float) -> None:
    latent = Latent(torch.arange(100.0).view(1, 1, 10, 10))
    cut = latent_crop(samples=latent, width=64, height=64, x=x, y=y).samples
    assert cut.shape == (1, 1, 8, 8)
    assert cut[0, 0, 0, 0] == corner


def test_concatenating_and_cutting_are_inverse() -> None:
    first, second = numbered(1), numbered(1, start=5)
    beside = latent_concat(samples1=first, samples2=second, dim="-x")
    assert beside.samples[0, 0, 0].tolist() == [5, 5, 0, 0]
    assert latent_cut(samples=beside, dim="x", index=-2, amount=9).samples.equal(first.samples)
