"""Stable Diffusion 1.x, 2.x and SDXL: single files, diffusers folders, and their networks alone."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from engine.devices import Devices
from engine.problems import NodeFailure
from nodes.diffusion.autoencoder import Vae
from nodes.diffusion.families import Checkpoint, Found, ldm, lines, towers
from nodes.diffusion.families.lines import Line, Unet
from nodes.diffusion.model import Model
from nodes.diffusion.tensors import Shapes, read_json, shapes, tensors
from nodes.diffusion.text import Clip, Encoder
from nodes.diffusion.weights import Part, Recipe

NAME = "stable_diffusion"

_CLASSES: Mapping[str, tuple[str, ...]] = {
    "unet": ("UNet2DConditionModel",),
    "text_encoder": ("CLIPTextModel",),
    "text_encoder_2": ("CLIPTextModelWithProjection",),
    "vae": ("AutoencoderKL",),
}
_PREFIXES: Mapping[str, tuple[str, ...]] = {
    "unet": ("model.diffusion_model.", ""),
    "vae": ("first_stage_model.", "vae.", ""),
}
_DIFFUSERS_UNET = "time_embedding.linear_1.weight"
_TELLING = {
    "unet": ("input_blocks.0.0.weight", _DIFFUSERS_UNET),
    "vae": ("decoder.conv_in.weight",),
}


def recognises(found: Found) -> bool:
    """Whether it is a diffusers folder or a file with a UNet, a VAE and the text encoders of its line."""
    if found.index:
        parts = {part for part in _CLASSES if (found.index.get(part) or [None, None])[1] in _CLASSES[part]}
        named = {"text_encoder", "text_encoder_2"} & parts
        line = _unet_of(found).line if {"unet", "vae"} <= parts else None
        return line is not None and named == {towers.PARTS[name] for name in line.towers}
    if any(_prefix(found.shapes, part) is None for part in _PREFIXES):
        return False
    try:
        line = _unet_of(found).line
    except KeyError:
        return False
    return line is not None and set(line.towers) == {place.name for place in towers.places(found.shapes)}


def checkpoint(found: Found, digest: str, devices: Devices) -> Checkpoint:
    """The model, text encoders and VAE of a file or folder, as recipes; reads next to no weights."""
    line = _line(found)
    return Checkpoint(
        _model(found, line, digest, devices),
        Clip(towers.clip(found, line.towers, digest, NAME), devices),
        Vae(_recipe(found, "vae", digest), devices),
    )


def part(found: Found, part: Part, digest: str, devices: Devices) -> Model | Clip | Vae | None:
    """One part of a checkpoint, or a network that lies alone; None where it is not there."""
    if part == "text_encoder":
        names = _encoders(found)
        return Clip(towers.clip(found, names, digest, NAME), devices) if names else None
    if found.index:
        named = (found.index.get(part) or [None, None])[1]
        alone = (found.index.get("_class_name"), *found.index.get("architectures", ()))
        if not {named, *alone} & set(_CLASSES[part]):
            return None
    elif _prefix(found.shapes, part) is None:
        return None
    if part == "vae":
        return Vae(_recipe(found, "vae", digest), devices)
    try:
        line = _unet_of(found).line
    except KeyError:
        return None
    return _model(found, line, digest, devices) if line else None


def _encoders(found: Found) -> tuple[Encoder, ...]:
    """The text encoders of a file or folder, or of a folder that is one."""
    if not found.index:
        here = {place.name for place in towers.places(found.shapes)}
    elif "unet" in found.index:
        return _line(found).towers
    elif not {"CLIPTextModel", "CLIPTextModelWithProjection"} & set(found.index.get("architectures", ())):
        return ()
    else:
        here = {towers.by_width(found.index.get("hidden_size", 768))}
    order: tuple[Encoder, ...] = ("l", "h", "g")
    return tuple(name for name in order if name in here)


def _line(found: Found) -> Line:
    line = _unet_of(found).line
    if line is None:
        raise NodeFailure(f"{found.path.name} is of no known line of Stable Diffusion")
    return line


def _unet_of(found: Found) -> Unet:
    if found.index:
        whole = "unet" in found.index
        return Unet.configured(read_json(found.path / "unet" / "config.json") if whole else found.index)
    return Unet.of(_part_shapes(found.shapes, "unet"))


def _model(found: Found, line: Line, digest: str, devices: Devices) -> Model:
    unet, recipe = _unet_of(found), _recipe(found, "unet", digest)
    added = unet.added(line, found)
    if "unet" in found.index:
        sampling, latent = lines.stated_sampling(found.path), lines.scaled_as(line.latent, found.path)
    else:
        sampling, latent = lines.shown_sampling(line, found, unet, _prefix(found.shapes, "unet") or "")
    return Model(recipe, devices, sampling, latent, added)


def _recipe(found: Found, part: Part, digest: str) -> Recipe:
    return Recipe(digest, part, NAME, found.path)


def build(part: Part, path: Path) -> nn.Module:
    """One network of a checkpoint, or a network that lies alone."""
    from nodes.diffusion.families import networks  # takes seconds to import, and a cached run builds nothing

    if path.is_dir():
        return networks.from_folder(part, path / part if (path / part).is_dir() else path)
    if part in ("text_encoder", "text_encoder_2"):
        return towers.build(part, path)
    found = shapes(path)
    prefix = _prefix(found, part)
    if prefix is None:
        raise NodeFailure(f"{path.name} holds no {part} of Stable Diffusion")
    try:
        config, rename = _layout(part, _part_shapes(found, part))
    except (KeyError, ValueError, StopIteration) as error:
        raise NodeFailure(f"{path.name}: the {part} is incomplete: {error} is missing") from error
    state: dict[str, Tensor] = {}
    for key, value in tensors(path, lambda key: key.startswith(prefix)).items():
        if (name := rename(key.removeprefix(prefix))) is not None:
            state[name] = value
    return networks.assembled(part, config, state, path.name)


def _layout(part: Part, found: Shapes) -> tuple[Mapping[str, Any], Callable[[str], str | None]]:
    """The configuration of one network of a single file, and diffusers' names for its tensors."""
    if part == "vae":
        levels = ldm.vae_levels(found)
        config = ldm.vae_config({ldm.vae_key(key, levels): shape for key, shape in found.items()})
        return config, lambda key: ldm.vae_key(key, levels)
    plain = ldm.unet_keys(found) if _DIFFUSERS_UNET in found else {key: key for key in found}
    config = ldm.unet_config({theirs: found[key] for key, theirs in plain.items()})
    names = ldm.unet_names(config)
    return config, lambda key: ldm.unet_key(plain[key], names) if key in plain else None


def _prefix(found: Shapes, part: str) -> str | None:
    """What stands before the keys of one network of a single file, or None where it is not there."""
    return next((p for p in _PREFIXES[part] for telling in _TELLING[part] if p + telling in found), None)


def _part_shapes(found: Shapes, part: str) -> Shapes:
    """The shapes of one network of a single file, without the prefix of their keys."""
    prefix = _prefix(found, part) or ""
    return {key.removeprefix(prefix): shape for key, shape in found.items() if key.startswith(prefix)}
