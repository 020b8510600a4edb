"""A difference of models as a LoRA: the nearest change of low rank for each weight."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


def extracted(
    differences: Mapping[str, Tensor], rank: int | None, biases: bool
) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a LoRA file that makes these differences, by key, in half precision.

    Args:
        differences: Of each weight and bias, by its name in the file.
        rank: Of what stands for a matrix or a convolution, cut to what it can have; None keeps all whole.
        biases: Whether biases are in it, and with a rank the weights of norms.
    """
    for name, change in differences.items():
        module, _, leaf = name.rpartition(".")
        if leaf == "bias":
            if biases:
                yield f"{module}.diff_b", change.half()
        elif rank is None or (change.ndim < 2 and biases):
            yield f"{module}.diff", change.half()
        elif change.ndim > 1:
            up, down = low_rank(change, rank)
            yield f"{module}.lora_up.weight", up.half()
            yield f"{module}.lora_down.weight", down.half()


def low_rank(change: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The factors, up and down, of the nearest matrix of a rank (Eckart & Young 1936), in float32.

    The singular vectors of the shorter side are the eigenvectors of its Gram matrix, computed in float64.

    Args:
        change: [O, I], or [O, I, ...] of a convolution.

    Returns:
        [O, r] and [r, I], or [O, r, 1, ...] and [r, I, ...], with r = min(rank, O, I ...).
    """
    flat = change.flatten(1).double()
    wide = flat.shape[0] <= flat.shape[1]
    rank = min(rank, *flat.shape)
    vectors = torch.linalg.eigh(flat @ flat.T if wide else flat.T @ flat).eigenvectors[:, -rank:]
    up, down = (vectors, vectors.T @ flat) if wide else (flat @ vectors, vectors.T)
    ones = [1] * (change.ndim - 2)
    return up.reshape(-1, rank, *ones).float(), down.reshape(rank, *change.shape[1:]).float()
