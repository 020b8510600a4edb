"""Textual inversions: learnt token embeddings that a prompt names (Gal et al. 2022)."""

import logging
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from engine.files import WEIGHT_SUFFIXES, Files
from nodes.diffusion.tensors import tensors

logger = logging.getLogger(__name__)

ROLE = "embeddings"


def inversion_file(files: Files, name: str) -> str | None:
    """The file in the embeddings folders that a prompt means by `name`: with or without folder and ending."""
    names = files.names(ROLE, WEIGHT_SUFFIXES)
    return next(
        (found for likely in _likely(name) for found in names if likely in (found, _last(found))), None
    )


def inversion_vectors(files: Files, name: str, encoder: str, width: int) -> Tensor | None:
    """The vectors of a textual inversion for an encoder, [n, width]; None, with a warning, where none fits.

    Raises:
        NodeFailure: The file is damaged.
    """
    found = inversion_file(files, name)
    if found is None:
        logger.warning(
            "no textual inversion %r in the embeddings folder; the prompt is read without it", name
        )
        return None
    held = tensors(files.find(ROLE, found))
    vectors = _chosen(held, f"clip_{encoder}", width)
    if vectors is None or vectors.shape[-1] != width:
        seen = "no tensor" if vectors is None else f"vectors of width {vectors.shape[-1]}"
        logger.warning("textual inversion %r holds %s, the model needs %d; ignored", name, seen, width)
        return None
    return vectors.reshape(-1, width).float()


def _chosen(held: Mapping[str, Tensor], own: str, width: int) -> Tensor | None:
    """The tensor for an encoder: its own, those bundled with a LoRA one after another, else the first."""
    if own in held:
        return held[own]
    for ending in (".string_to_param.*", f".{own}"):
        bundled = [v for k, v in held.items() if k.startswith("bundle_emb.") and k.endswith(ending)]
        if fitting := [vectors.reshape(-1, width) for vectors in bundled if vectors.shape[-1] == width]:
            return torch.cat(fitting)
    return next(iter(held.values()), None)


def _likely(name: str) -> Iterator[str]:
    yield name
    yield from (name + suffix for suffix in WEIGHT_SUFFIXES)


def _last(path: str) -> str:
    return path.rpartition("/")[2]
