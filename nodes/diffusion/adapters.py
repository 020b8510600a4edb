"""Changes of one weight in every form that LoRA files have; plain arithmetic on tensors.

A file holds for each module a group of tensors by role. Where trainers, papers and ComfyUI disagree the
numbers are ComfyUI 0.3.64's, as measured, since pictures are compared with its own; each place says so.
"""

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

Group: TypeAlias = Mapping[str, Tensor]
"""The tensors that a file holds for one module, by role ("up", "down", "alpha", "hada_w1_a" …)."""

Kind: TypeAlias = Callable[[Group, Tensor, float], Tensor]
"""(group, weight, strength) to the change of the weight before it is multiplied by the strength."""


def changes_weight(group: Group) -> bool:
    """Whether a group says anything of a weight; an `alpha` alone does not."""
    return not KINDS.keys().isdisjoint(group) or not {"set_weight", "diff", "w_norm"}.isdisjoint(group)


def changes_bias(group: Group) -> bool:
    """Whether a group says anything of a bias."""
    return "diff_b" in group or {"w_norm", "b_norm"} <= group.keys()


def patched(group: Group, weight: Tensor, strength: float) -> Tensor:
    """A weight with the change applied of a group that has one (`changes_weight`), in float32.

    Where a group says a thing twice, `set_weight` goes before `diff`, that before `w_norm`, and these before
    the low-rank kinds.

    Args:
        weight: As it was, of any floating type.
        strength: Factor on the change; a `set_weight` replaces the weight at any strength.

    Raises:
        KeyError: Half of a pair is missing.
        RuntimeError: The shapes do not fit.
    """
    held = {role: value.to(weight.device, torch.float32) for role, value in group.items()}
    w = weight.float()
    if "set_weight" in held:
        return _shaped(held["set_weight"], w)
    for role in ("diff", "w_norm"):
        if role in held:
            return w + strength * _shaped(held[role], w)
    if "reshape_weight" in held:
        w = _enlarged(w, [int(side) for side in group["reshape_weight"].tolist()])
    kind = next(kind for role, kind in KINDS.items() if role in held)
    change = kind(held, w, strength)
    if "magnitude" in held:
        return w + strength * (_renormed(w, change, held["magnitude"]) - w)
    return w + strength * change


def patched_bias(group: Group, bias: Tensor, strength: float) -> Tensor:
    """A bias with the change applied of a group that has one (`changes_bias`), in float32.

    Raises:
        RuntimeError: The shapes do not fit.
    """
    change = group["diff_b"] if "diff_b" in group else group["b_norm"]
    return bias.float() + strength * _shaped(change.to(bias.device, torch.float32), bias)


def _lora(group: Group, w: Tensor, _strength: float) -> Tensor:
    """LoRA (Hu et al. 2021), and for convolutions LoCon with a core between two 1x1 ones (Tucker)."""
    up, down = group["up"].flatten(1), group["down"]
    if "mid" in group:
        product = torch.einsum("or,rs...,si->oi...", up, group["mid"], down.flatten(1))
    else:
        product = up @ down.flatten(1)
    return _shaped(product, w) * _scale(group, down.shape[0])


def _loha(group: Group, w: Tensor, _strength: float) -> Tensor:
    """LoHa: the elementwise product of two low-rank matrices (FedPara, Hyeon-Woo et al. 2022)."""
    first, second = (
        _tucker(group[f"hada_t{i}"], group[f"hada_w{i}_a"], group[f"hada_w{i}_b"])
        if f"hada_t{i}" in group
        else group[f"hada_w{i}_a"].flatten(1) @ group[f"hada_w{i}_b"].flatten(1)
        for i in (1, 2)
    )
    return _shaped(first * second, w) * _scale(group, group["hada_w1_b"].shape[0])


def _lokr(group: Group, w: Tensor, _strength: float) -> Tensor:
    """LoKr: the Kronecker product of two matrices, each whole or of low rank (KronA, Edalati et al. 2022).

    Alpha counts where one of them is of low rank; the second's rank goes before the first's.
    """
    halves, scale = [], 1.0
    for i in (1, 2):
        whole, a, b = (group.get(f"lokr_w{i}{end}") for end in ("", "_a", "_b"))
        if whole is None:
            if a is None or b is None:
                raise KeyError(f"lokr_w{i}")
            core = group.get(f"lokr_t{i}")
            whole = a @ b.flatten(1) if core is None else _tucker(core, a, b)
            scale = _scale(group, b.shape[0])
        halves.append(whole)
    first, second = halves
    if w.ndim > 2 and second.ndim == 2:
        second = second.reshape(w.shape[0] // first.shape[0], w.shape[1] // first.shape[1], *w.shape[2:])
    first = first.reshape(*first.shape, *[1] * (second.ndim - first.ndim))
    return _shaped(torch.kron(first.contiguous(), second.contiguous()), w) * scale


def _glora(group: Group, w: Tensor, _strength: float) -> Tensor:
    """GLoRA: W·A + B, both of low rank (Chavan et al. 2023); old files have the factors the other way."""
    a1, a2, b1, b2 = (group[name].flatten(1) for name in ("a1", "a2", "b1", "b2"))
    rank = a2.shape[0]
    if b2.shape[0] == w.shape[0] and b1.shape[0] != w.shape[0]:
        a1, a2, b1, b2, rank = a2, a1, b2, b1, a1.shape[0]
    change = torch.einsum("oi...,ij->oj...", w, a1 @ a2) + _shaped(b1 @ b2, w)
    return change * _scale(group, rank)


def _oft(group: Group, w: Tensor, strength: float) -> Tensor:
    """OFT and BOFT: rotations of blocks of rows (Qiu et al. 2023; butterflies of them, Liu et al. 2024).

    As measured: the strength is in it a second time, `alpha` bounds ‖Q‖, and OFT's `rescale` has no effect.
    """
    blocks = group["oft_blocks"]
    rotations, unit = _rotations(blocks, group.get("alpha")), torch.eye(blocks.shape[-1], device=w.device)
    softened = strength * rotations + (1 - strength) * unit
    if blocks.ndim == 3:
        return _rotated(softened.mT, w) - w  # as measured: by the transposed, unlike the butterflies
    turned = w
    for i, stage in enumerate(softened):
        width = 2**i * (blocks.shape[-1] // 2)
        turned = turned.reshape(-1, 2, width, *w.shape[1:]).transpose(1, 2).reshape(w.shape)
        turned = _rotated(stage, turned)
        turned = turned.reshape(-1, width, 2, *w.shape[1:]).transpose(1, 2).reshape(w.shape)
    if "rescale" in group:
        turned = turned * group["rescale"].reshape(-1, *[1] * (w.ndim - 1))
    return turned - w


KINDS: Mapping[str, Kind] = {
    "up": _lora,
    "down": _lora,
    **{f"hada_{name}": _loha for name in ("w1_a", "w1_b", "w2_a", "w2_b")},
    **{f"lokr_{name}": _lokr for name in ("w1", "w2", "w1_a", "w1_b", "w2_a", "w2_b")},
    **dict.fromkeys(("a1", "a2", "b1", "b2"), _glora),
    "oft_blocks": _oft,
}
"""The low-rank kinds, by the roles that only they have."""


def _scale(group: Group, rank: int) -> float:
    return float(group["alpha"]) / rank if "alpha" in group else 1.0


def _tucker(core: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """[o, i, ...] of a core [r, s, ...], a [r, o] and b [s, i]."""
    return torch.einsum("rs...,ro,si->oi...", core, a, b)


def _renormed(w: Tensor, change: Tensor, magnitude: Tensor) -> Tensor:
    """DoRA (Liu et al. 2024): the changed weight with its rows, or columns, brought to a learnt length.

    As measured: columns are divided by their length after the change, as in the paper, but rows by that
    which they had before it.
    """
    along = 0 if magnitude.shape[0] == w.shape[0] else 1
    rest = [d for d in range(w.ndim) if d != along]
    norm: Tensor = torch.linalg.vector_norm(w if along == 0 else w + change, dim=rest, keepdim=True)
    length = magnitude.reshape([-1 if d == along else 1 for d in range(w.ndim)])
    return (w + change) * (length / (norm + torch.finfo(norm.dtype).eps))


def _rotations(blocks: Tensor, bound: Tensor | None) -> Tensor:
    """Orthogonal matrices [..., b, b] by Cayley's map of the antisymmetric part of `blocks`."""
    q = blocks - blocks.mT
    if bound is not None and float(bound) > 0:
        norm = float(q.norm()) + 1e-8
        q = q * min(1.0, float(bound) / norm)
    unit = torch.eye(q.shape[-1], device=q.device)
    turned: Tensor = (unit + q) @ torch.linalg.inv(unit - q)
    return turned


def _rotated(rotations: Tensor, w: Tensor) -> Tensor:
    """Rows [k b, ...] in blocks of b, each changed by its matrix of [k, b, b]: x_i' = Σ_j r_ij x_j."""
    rows = w.reshape(*rotations.shape[:2], *w.shape[1:])
    return torch.einsum("kij,kj...->ki...", rotations, rows).flatten(0, 1)


def _enlarged(w: Tensor, shape: list[int]) -> Tensor:
    """A weight in the first corner of a larger one that is else zero."""
    if len(shape) != w.ndim or any(new < old for new, old in zip(shape, w.shape, strict=True)):
        raise RuntimeError(f"it asks for the shape {shape}")
    grown = w.new_zeros(shape)
    grown[tuple(slice(side) for side in w.shape)] = w
    return grown


def _shaped(change: Tensor, w: Tensor) -> Tensor:
    """A change in the weight's shape, which its rows and its size must be of."""
    if change.shape[0] != w.shape[0] or change.numel() != math.prod(w.shape):
        raise RuntimeError(f"the change has the shape {list(change.shape)}")
    return change.reshape(w.shape)
