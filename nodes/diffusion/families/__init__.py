"""The model families, in order of detection; a family's module is imported when it is first asked."""

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from torch import nn

from engine.devices import Devices
from engine.problems import NodeFailure
from nodes.diffusion.families.elsewhere import likeness
from nodes.diffusion.tensors import Shapes, read_json, shapes

if TYPE_CHECKING:  # these are built on recipes, and recipes ask this package to build
    from nodes.diffusion.autoencoder import Vae
    from nodes.diffusion.model import Model
    from nodes.diffusion.text import Clip
    from nodes.diffusion.weights import Part

CHECKPOINTS = {
    "stable_diffusion": "Stable Diffusion 1.x, 2.x and SDXL, with their inpainting and editing "
    "variants, and the SDXL refiner (checkpoint file or diffusers folder)"
}
"""Families that come as a whole checkpoint, by the name of their module: what to call them."""


@dataclass(frozen=True)
class Found:
    """What a model file or folder shows before its weights are read.

    Args:
        shapes: Of the file's tensors; empty for a folder.
        index: A diffusers folder's `model_index.json`, or the `config.json` of one network; empty for a file.
    """

    path: Path
    shapes: Shapes
    index: Mapping[str, Any]

    @classmethod
    def at(cls, path: Path) -> "Found":
        """Look at a weight file or a diffusers folder.

        Raises:
            NodeFailure: It is neither.
        """
        if path.is_dir():
            whole = path / "model_index.json"
            return cls(path, {}, read_json(whole if whole.is_file() else path / "config.json"))
        return cls(path, shapes(path), {})


@dataclass(frozen=True)
class Checkpoint:
    """A diffusion model with the text encoder and the autoencoder that it was trained with."""

    model: "Model"
    clip: "Clip"
    vae: "Vae"


class Builder(Protocol):
    """A module that can build networks of one family."""

    def build(self, part: "Part", path: Path) -> nn.Module:
        """One network with its weights, on the host, in the type that the file has."""
        ...


class CheckpointFamily(Builder, Protocol):
    """A module of a family that comes as a whole checkpoint."""

    def recognises(self, found: Found) -> bool:
        """Whether the file or folder is of this family."""
        ...

    def checkpoint(self, found: Found, digest: str, devices: Devices) -> Checkpoint:
        """The parts of it, as recipes; reads no weights."""
        ...

    def part(self, found: Found, part: "Part", digest: str, devices: Devices) -> "Model | Clip | Vae | None":
        """One part of it, or of a file that holds nothing else; None where it is not there."""
        ...


def build(family: str, part: "Part", path: Path) -> nn.Module:
    """One network of a family with its weights, on the host.

    Raises:
        NodeFailure: The file does not hold what it should.
    """
    return _module(family).build(part, path)


def checkpoint(path: Path, digest: str, devices: Devices) -> Checkpoint:
    """The checkpoint in a file or a diffusers folder, by the first family that recognises it.

    Args:
        digest: The content hash that stands for it in recipes.

    Raises:
        NodeFailure: No family does, or the file is damaged.
    """
    found = Found.at(path)
    for family in _families():
        if family.recognises(found):
            return family.checkpoint(found, digest, devices)
    raise _unknown(found, "checkpoint")


def model(path: Path, digest: str, devices: Devices) -> "Model":
    """The diffusion model in a file or folder, which may hold nothing else.

    Raises:
        NodeFailure: No family knows it, or the file is damaged.
    """
    return cast("Model", _part(path, "unet", digest, devices))


def text_encoder(path: Path, digest: str, devices: Devices) -> "Clip":
    """The text encoder in a file or folder, which may hold nothing else.

    Raises:
        NodeFailure: No family knows it, or the file is damaged.
    """
    return cast("Clip", _part(path, "text_encoder", digest, devices))


def vae(path: Path, digest: str, devices: Devices) -> "Vae":
    """The autoencoder in a file or folder, which may hold nothing else.

    Raises:
        NodeFailure: No family knows it, or the file is damaged.
    """
    return cast("Vae", _part(path, "vae", digest, devices))


def _part(path: Path, part: "Part", digest: str, devices: Devices) -> "Model | Clip | Vae":
    found = Found.at(path)
    for family in _families():
        if (one := family.part(found, part, digest, devices)) is not None:
            return one
    raise _unknown(found, part.replace("_", " "))


def _families() -> Iterator[CheckpointFamily]:
    yield from (cast(CheckpointFamily, _module(name)) for name in CHECKPOINTS)


def _unknown(found: Found, wanted: str) -> NodeFailure:
    known = "; ".join(CHECKPOINTS.values())
    seen = likeness(found.shapes, found.index)
    return NodeFailure(f"{found.path.name} is no {wanted} of a known family: {seen}", f"known: {known}")


def _module(family: str) -> Builder:
    return cast(Builder, importlib.import_module(f"{__name__}.{family}"))
