"""Textual inversions: learnt token embeddings that a prompt names (Gal et al. 2022)."""

import logging
from collections.abc import Iterator

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


def inversion_vectors(files: Files, name: str, width: int) -> Tensor | None:
    """The vectors of a textual inversion, [n, width], or None, with a warning, where none fits.

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
    vectors = held.get("clip_l", next(iter(held.values()), None))
    if vectors is None or vectors.shape[-1] != width:
        seen = "no tensor" if vectors is None else f"vectors of width {vectors.shape[-1]}"
        logger.warning("textual inversion %r holds %s, the model needs %d; ignored", name, seen, width)
        return None
    return vectors.reshape(-1, width).float()


def _likely(name: str) -> Iterator[str]:
    yield name
    yield from (name + suffix for suffix in WEIGHT_SUFFIXES)


def _last(path: str) -> str:
    return path.rpartition("/")[2]
