"""CLIP's picture encoders: files in transformers' or OpenCLIP's key layout, folders, and in checkpoints."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from engine.problems import NodeFailure
from nodes.diffusion.families import ldm, open_clip
from nodes.diffusion.families.elsewhere import likeness
from nodes.diffusion.tensors import Shapes, read_json, shapes, tensors
from nodes.diffusion.weights import Part

NAME = "vision"
_PREFIXES = ("", "embedder.model.", "visual.")
_HUGGING, _OPENED = "vision_model.embeddings.patch_embedding.weight", "visual.conv1.weight"
_HEADS = {768: 12}
"""Attention heads by width, where they are not 16."""


def check(path: Path) -> None:
    """Look at a picture encoder's keys, or at its folder's configuration, before it is used.

    Raises:
        NodeFailure: It is none.
    """
    if path.is_dir():
        config = read_json(path / "config.json")
        if "vision" not in str(config.get("model_type", "")):
            raise NodeFailure(f"{path.name} is no picture encoder: {likeness({}, config)}")
    elif _prefix(found := shapes(path)) is None:
        raise NodeFailure(
            f"{path.name} holds no CLIP picture encoder: {likeness(found, {})}",
            "known: files in the key layout of transformers or OpenCLIP, unCLIP checkpoints",
        )


def build(_part: Part, path: Path) -> nn.Module:
    """The network with its weights, on the host, in the type that the file has."""
    from nodes.diffusion.families import networks  # takes seconds to import, and a cached run builds nothing

    if path.is_dir():
        return networks.from_folder("clip_vision", path)
    found = shapes(path)
    prefix = _prefix(found) or ""
    held = tensors(path, lambda key: key.startswith(prefix))
    state = {key.removeprefix(prefix): value for key, value in held.items()}
    if prefix + _OPENED in found:
        visual = {key.removeprefix("visual."): v for key, v in state.items() if key.startswith("visual.")}
        state = {_named(key): value for key, value in open_clip.renamed(visual).items()}
    own = {key: tuple(value.shape) for key, value in state.items()}
    try:
        config = _config(own)
    except KeyError as error:
        raise NodeFailure(f"{path.name}: the picture encoder is incomplete: {error} is missing") from error
    return networks.assembled("clip_vision", config, state, path.name)


def _prefix(found: Shapes) -> str | None:
    return next((p for p in _PREFIXES for key in (_HUGGING, _OPENED) if p + key in found), None)


def _named(key: str) -> str:
    return key if key.startswith("visual_projection") else f"vision_model.{key}"


def _config(found: Shapes) -> Mapping[str, Any]:
    """The configuration of a network with these tensors, under transformers' names."""
    width, _, patch, _ = found[_HUGGING]
    side = round((found["vision_model.embeddings.position_embedding.weight"][0] - 1) ** 0.5)
    layer = "vision_model.encoder.layers"
    return {
        "hidden_size": width,
        "intermediate_size": found[f"{layer}.0.mlp.fc1.weight"][0],
        "projection_dim": found["visual_projection.weight"][0],
        "num_hidden_layers": ldm.count(found, r"vision_model\.encoder\.layers\.(\d+)\."),
        "num_attention_heads": _HEADS.get(width, 16),
        "image_size": side * patch,
        "patch_size": patch,
        "hidden_act": "quick_gelu" if width <= 1024 else "gelu",  # OpenCLIP's larger ones use the latter
    }
