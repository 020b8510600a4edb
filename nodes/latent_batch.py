"""Batches of latents: join, take apart, repeat, regroup, turn, cut; and which noise each item gets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from torch import Tensor

from engine.node import node
from engine.ports import Range
from nodes.diffusion.resize import repeated_to, resized_mask
from nodes.image_transform import QUARTER_TURNS, Flip, Rotation
from nodes.latent import Offset, scaled_to
from nodes.ports import Latent

Side = Annotated[int, Range(64, 16384, step=8)]


def noise_indices(latent: Latent) -> tuple[int, ...]:
    """For each item of a batch, the index that its noise is drawn for."""
    return latent.batch_index or tuple(range(len(latent.samples)))


@node("LatentBatch", category="latent/batch")
def latent_batch(*, samples1: Latent, samples2: Latent) -> Latent:
    """Put two latents into one batch; each item keeps the noise that it would have had alone.

    Args:
        samples1: Those that come first and set the size.
        samples2: Those that follow; cut and scaled to the size of the first.
    """
    samples = torch.cat((samples1.samples, scaled_to(samples1.samples, samples2.samples)))
    return replace(
        samples1,
        samples=samples,
        batch_index=noise_indices(samples1) + noise_indices(samples2),
    )


@node("LatentFromBatch", category="latent/batch", title="Latent From Batch")
def latent_from_batch(
    *,
    samples: Latent,
    batch_index: Annotated[int, Range(0, 63)] = 0,
    length: Annotated[int, Range(1, 64)] = 1,
) -> Latent:
    """Take some latents out of a batch; each keeps the noise that it has in the batch.

    Args:
        samples: The latents.
        batch_index: The first one taken, from 0; the last of the batch where there are fewer.
        length: How many are taken, at most.
    """
    count = len(samples.samples)
    first = min(batch_index, count - 1)
    taken = slice(first, first + length)
    mask = samples.noise_mask
    if mask is not None and len(mask) > 1:
        mask = repeated_to(mask, count)[taken].clone()
    return Latent(samples.samples[taken].clone(), mask, noise_indices(samples)[taken])


@node("RepeatLatentBatch", category="latent/batch", title="Repeat Latent Batch")
def repeat_latent_batch(*, samples: Latent, amount: Annotated[int, Range(1, 64)] = 1) -> Latent:
    """Repeat a whole batch; each repetition gets noise of its own.

    Args:
        samples: The latents.
        amount: How often they appear.
    """
    count, mask, indices = len(samples.samples), samples.noise_mask, samples.batch_index
    if mask is not None and len(mask) > 1:
        mask = repeated_to(repeated_to(mask, count), count * amount)
    if indices is not None:
        span = max(indices) - min(indices) + 1
        indices = tuple(index + span * turn for turn in range(amount) for index in indices)
    return Latent(samples.samples.repeat(amount, 1, 1, 1), mask, indices)


@dataclass(frozen=True)
class _Item:
    """One latent [1, C, h, w], its mask [1, 1, 8h, 8w] and its noise index."""

    samples: Tensor
    mask: Tensor
    index: int


@node("RebatchLatents", category="latent/batch", title="Rebatch Latents")
def rebatch_latents(
    *, latents: Sequence[Latent], batch_size: Sequence[Annotated[int, Range(1, 4096)]] = (1,)
) -> list[Latent]:
    """Regroup a list of latents into batches of a given size; only latents of one size share a batch.

    Args:
        latents: The latents, in batches of any size.
        batch_size: Latents in a batch; the last one may have fewer.
    """
    groups: list[list[_Item]] = []
    for item in _items(latents):
        group = groups[-1] if groups else []
        if group and len(group) < batch_size[0] and group[0].samples.shape == item.samples.shape:
            group.append(item)
        else:
            groups.append([item])
    return [_joined(group) for group in groups]


def _items(latents: Sequence[Latent]) -> list[_Item]:
    """All items of the batches; those without noise index are counted through the whole list."""
    items: list[_Item] = []
    for latent in latents:
        samples, start = latent.samples, len(items)
        count, rows, columns = samples.shape[0], samples.shape[-2] * 8, samples.shape[-1] * 8
        mask = torch.ones(1, 1, rows, columns) if latent.noise_mask is None else latent.noise_mask
        mask = repeated_to(
            mask if mask.shape[-2:] == (rows, columns) else resized_mask(mask, columns, rows), count
        )
        indices = latent.batch_index or range(start, start + count)
        items += map(_Item, torch.split(samples, 1), torch.split(mask, 1), indices)
    return items


def _joined(group: Sequence[_Item]) -> Latent:
    mask = torch.cat([item.mask for item in group])
    return Latent(
        torch.cat([item.samples for item in group]),
        None if bool((mask == 1).all()) else mask,
        tuple(item.index for item in group),
    )


@node("LatentBatchSeedBehavior", category="latent/advanced")
def latent_batch_seed_behavior(
    *, samples: Latent, seed_behavior: Literal["random", "fixed"] = "fixed"
) -> Latent:
    """Choose whether the items of a batch differ in their noise.

    Args:
        samples: The latents.
        seed_behavior: "fixed" gives all the noise of the first, "random" each its own.
    """
    first = noise_indices(samples)[0]
    fixed = (first,) * len(samples.samples) if seed_behavior == "fixed" else None
    return replace(samples, batch_index=fixed)


@node("LatentFlip", category="latent/transform", title="Flip Latent")
def latent_flip(*, samples: Latent, flip_method: Flip) -> Latent:
    """Mirror latents.

    Args:
        samples: The latents; a noise mask stays as it is.
        flip_method: "x-axis" turns them upside down, "y-axis" exchanges left and right.
    """
    return samples.with_samples(samples.samples.flip(2 if flip_method.startswith("x") else 3))


@node("LatentRotate", category="latent/transform", title="Rotate Latent")
def latent_rotate(*, samples: Latent, rotation: Rotation) -> Latent:
    """Turn latents clockwise.

    Args:
        samples: The latents; a noise mask stays as it is.
        rotation: By how much.
    """
    return samples.with_samples(samples.samples.rot90(QUARTER_TURNS[rotation], dims=(3, 2)))


@node("LatentCrop", category="latent/transform", title="Crop Latent")
def latent_crop(
    *, samples: Latent, width: Side = 512, height: Side = 512, x: Offset = 0, y: Offset = 0
) -> Latent:
    """Cut a rectangle out of latents.

    Args:
        samples: The latents; a noise mask stays as it is.
        width: Of the rectangle, in pixels of the picture; what reaches beyond the edge is cut.
        height: Of the rectangle.
        x: Left edge, moved left where less than 64 pixels would remain.
        y: Upper edge, moved up likewise.
    """
    rows, columns = samples.samples.shape[-2:]
    left, top = max(0, min(x // 8, columns - 8)), max(0, min(y // 8, rows - 8))
    cut = samples.samples[..., top : top + height // 8, left : left + width // 8]
    return samples.with_samples(cut.clone())


@node("LatentConcat", category="latent/advanced")
def latent_concat(
    *, samples1: Latent, samples2: Latent, dim: Literal["x", "-x", "y", "-y", "t", "-t"]
) -> Latent:
    """Put one latent beside another.

    Args:
        samples1: The first.
        samples2: The second, of the same size along the other axes.
        dim: The axis; with a minus sign the second comes first.
    """
    parts = [samples1.samples, repeated_to(samples2.samples, len(samples1.samples))]
    if dim.startswith("-"):
        parts.reverse()
    return samples1.with_samples(torch.cat(parts, dim=_axis(dim)))


@node("LatentCut", category="latent/advanced")
def latent_cut(
    *,
    samples: Latent,
    dim: Literal["x", "y", "t"],
    index: Annotated[int, Range(-16384, 16384, step=1)] = 0,
    amount: Annotated[int, Range(1, 16384, step=1)] = 1,
) -> Latent:
    """Take a slice out of latents.

    Args:
        samples: The latents.
        dim: The axis.
        index: Where the slice starts, in latent cells; negative counts from the end.
        amount: Its thickness, at most.
    """
    length = samples.samples.shape[_axis(dim)]
    start = min(index, length - 1) if index >= 0 else max(length + index, 0)
    return samples.with_samples(
        samples.samples.narrow(_axis(dim), start, min(amount, length - start)).clone()
    )


def _axis(dim: str) -> int:
    return {"x": -1, "y": -2, "t": -3}[dim[-1]]
