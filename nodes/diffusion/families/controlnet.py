"""ControlNets of Stable Diffusion 1.x: diffusers folders, and single files in either key layout."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from engine.problems import NodeFailure
from nodes.diffusion.families import ldm
from nodes.diffusion.families.elsewhere import likeness
from nodes.diffusion.tensors import shapes, tensors
from nodes.diffusion.weights import Part

NAME = "controlnet"
_PREFIX = "control_model."


def check(path: Path) -> None:
    """Look at a ControlNet's keys, or at its folder's configuration, before it is used.

    Raises:
        NodeFailure: It is none that we can run.
    """
    if not path.is_dir():
        _layout(path)
    elif not (path / "config.json").is_file():
        raise NodeFailure(f"{path.name} is no ControlNet: the folder has no config.json")


def build(_part: Part, path: Path) -> nn.Module:
    """The network with its weights, on the host, in the type that the file has."""
    from nodes.diffusion.families import networks  # takes seconds to import, and a cached run builds nothing

    if path.is_dir():
        return networks.from_folder(NAME, path)
    config, names = _layout(path)
    state = {names[key]: value for key, value in tensors(path, names.__contains__).items()}
    return networks.assembled(NAME, config, state, path.name)


def _layout(path: Path) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """The configuration of a single file, and diffusers' name for each of its keys."""
    found = shapes(path)
    plain = {key: key.removeprefix(_PREFIX) for key in found}
    if "controlnet_cond_embedding.conv_in.weight" in found:
        plain = ldm.unet_keys(found)
    widths = {theirs: found[key] for key, theirs in plain.items()}
    if "input_hint_block.0.weight" not in widths or "label_emb.0.0.weight" in widths:
        raise NodeFailure(
            f"{path.name} is no ControlNet of Stable Diffusion 1.x: {likeness(found, {})}",
            "known: diffusers folders, and files in the key layout of diffusers or of lllyasviel's cldm",
        )
    config = ldm.unet_config(widths)
    names = ldm.unet_names(config)
    renamed = {key: ldm.unet_key(theirs, names) for key, theirs in plain.items()}
    config = {key: value for key, value in config.items() if key not in ("out_channels", "up_block_types")}
    config["conditioning_channels"] = widths["input_hint_block.0.weight"][1]
    config["conditioning_embedding_out_channels"] = [
        widths[f"input_hint_block.{i}.weight"][0] for i in (0, 4, 8, 12)
    ]
    return config, {key: name for key, name in renamed.items() if name is not None}
