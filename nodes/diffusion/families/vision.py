"""CLIP's picture encoders: files in transformers' or OpenCLIP's key layout, folders, and in checkpoints."""

import math
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
_PREFIXES = ("", "embedder.model.")
_HUGGING, _OPENED = "vision_model.embeddings.patch_embedding.weight", "visual.conv1.weight"
_HEADS = {768: 12}
"""Attention heads by width, where they are not 16."""
_KNOWN = "known: files in the key layout of transformers or OpenCLIP, unCLIP checkpoints"


def check(path: Path) -> None:
    """Look at a picture encoder's keys, or at its folder's configuration, before it is used.

    Raises:
        NodeFailure: It is none.
    """
    if path.is_dir():
        config = read_json(path / "config.json")
        if config.get("model_type") != "clip_vision_model":
            raise NodeFailure(f"{path.name} is no CLIP picture encoder: {likeness({}, config)}", _KNOWN)
        return
    found = shapes(path)
    prefix = _prefix(found)
    if prefix is None:
        raise NodeFailure(f"{path.name} holds no CLIP picture encoder: {likeness(found, {})}", _KNOWN)
    _config(_shapes(found, prefix), path)


def build(_part: Part, path: Path) -> nn.Module:
    """The network with its weights, on the host, in the type that the file has."""
    from nodes.diffusion.families import networks  # takes seconds to import, and a cached run builds nothing

    if path.is_dir():
        return networks.from_folder("clip_vision", path)
    found = shapes(path)
    prefix = _prefix(found) or ""
    held = tensors(path, lambda key: key.startswith(prefix))
    state = {key.removeprefix(prefix): value for key, value in held.items()}
    if _OPENED in state:
        visual = {key.removeprefix("visual."): v for key, v in state.items() if key.startswith("visual.")}
        state = {_named(key): value for key, value in open_clip.renamed(visual).items()}
    return networks.assembled("clip_vision", _config(_shapes(found, prefix), path), state, path.name)


def _shapes(found: Shapes, prefix: str) -> Shapes:
    """The shapes of the encoder alone, under transformers' names."""
    own = {key.removeprefix(prefix): shape for key, shape in found.items() if key.startswith(prefix)}
    if _OPENED not in own:
        return own
    visual = {key.removeprefix("visual."): shape for key, shape in own.items() if key.startswith("visual.")}
    return {_named(key): shape for key, shape in open_clip.plain_shapes(visual).items()}


def _prefix(found: Shapes) -> str | None:
    return next((p for p in _PREFIXES for key in (_HUGGING, _OPENED) if p + key in found), None)


def _named(key: str) -> str:
    return key if key.startswith("visual_projection") else f"vision_model.{key}"


def _config(found: Shapes, path: Path) -> Mapping[str, Any]:
    """The configuration of a network with these tensors, under transformers' names."""
    layers = "vision_model.encoder.layers"
    needed = (
        _HUGGING,
        "vision_model.embeddings.position_embedding.weight",
        f"{layers}.0.mlp.fc1.weight",
        "visual_projection.weight",
    )
    missing = [key for key in needed if key not in found]
    if missing:
        raise NodeFailure(f"{path.name} holds no whole CLIP picture encoder: {missing[0]} is missing", _KNOWN)
    (width, _, patch, _), (places, _), (inner, _), (projected, _) = (found[key] for key in needed)
    return {
        "hidden_size": width,
        "intermediate_size": inner,
        "projection_dim": projected,
        "num_hidden_layers": ldm.count(found, r"vision_model\.encoder\.layers\.(\d+)\."),
        "num_attention_heads": _HEADS.get(width, 16),
        "image_size": math.isqrt(places - 1) * patch,
        "patch_size": patch,
        "hidden_act": "quick_gelu" if width <= 1024 else "gelu",  # OpenCLIP's larger ones use the latter
    }
