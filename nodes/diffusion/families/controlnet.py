"""ControlNets of Stable Diffusion: plain and union ones, differences, Control-LoRAs, and T2I-Adapters.

Single files come in the key layout of lllyasviel's cldm or in that of diffusers; folders are diffusers'.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from engine.devices import Devices
from engine.problems import NodeFailure
from nodes.diffusion.control import ControlNet
from nodes.diffusion.families import ldm, t2i_adapter
from nodes.diffusion.families.elsewhere import likeness
from nodes.diffusion.tensors import Shapes, read_json, shapes, tensors
from nodes.diffusion.weights import Part, Recipe

NAME = "controlnet"

_PREFIX = "control_model."
_PLAIN = "ControlNetModel"
_POOLING = ("_shuffle", "_shuffle_fp16")
"""Ends of the names of files whose network is to be averaged over the picture; nothing in them says so."""

_HINT, _CLOCK = "controlnet_cond_embedding.", "time_embedding."
_UNION = {
    "task_embedding": f"{_HINT}tasks",
    "transformer_layes.": f"{_HINT}layers.",
    "spatial_ch_projs.": f"{_HINT}shift.",
    "control_add_embedding.": f"{_CLOCK}kinds.",
    _HINT: f"{_HINT}encoder.",
    _CLOCK: f"{_CLOCK}clock.",
}
"""The modules of a union network: the beginnings of their names in files, and of ours."""


@dataclass(frozen=True)
class _Layout:
    """What a single file holds.

    Args:
        config: Of a `ControlNetModel`.
        names: Our name for each of its keys.
        low: Of weights that it holds as two factors, our name and the beginning of their keys.
    """

    config: Mapping[str, Any]
    names: Mapping[str, str]
    low: Mapping[str, str]

    @property
    def context(self) -> int | None:
        """Width of the text embeddings that it reads."""
        read = any(name.endswith("attn2.to_k.weight") for name in (*self.names.values(), *self.low))
        return int(self.config["cross_attention_dim"]) if read else None

    @property
    def trunk(self) -> frozenset[str]:
        """The weights that the model has too."""
        return frozenset(name for name in self.names.values() if not name.startswith("controlnet_"))


def control_net(path: Path, digest: str, devices: Devices, base: Recipe | None = None) -> ControlNet:
    """The network in a file or folder, by what it shows before its weights are read.

    Args:
        digest: The content hash that stands for it in recipes.
        base: The model whose weights a file of differences is added to.

    Raises:
        NodeFailure: It is none that we can run, or holds differences and there is no base.
    """
    if path.is_dir() and not (path / "config.json").is_file():
        raise NodeFailure(f"{path.name} is no ControlNet: the folder has no config.json")
    config = read_json(path / "config.json") if path.is_dir() else {}
    found = {} if config else shapes(path)
    if t2i_adapter.recognises(found, config):
        return t2i_adapter.control_net(path, digest, devices)
    recipe, pools = Recipe(digest, "controlnet", NAME, path), path.stem.endswith(_POOLING)
    if config.get("_class_name") == _PLAIN:
        channels, context = config.get("conditioning_channels", 3), config.get("cross_attention_dim")
        pools = config.get("global_pool_conditions", False) or pools
        return ControlNet(recipe, devices, channels=channels, context=context, pools=pools)
    layout = _layout(path)
    channels, kinds = layout.config["conditioning_channels"], layout.config.get("kinds", 0)
    differs = "difference" in found
    relative = layout.trunk if differs else frozenset(layout.low)
    net = ControlNet(
        recipe, devices, False, channels, context=layout.context, kinds=kinds, pools=pools, relative=relative
    )
    if differs and base is None:
        raise NodeFailure(
            f"{path.name} holds a ControlNet as differences from a model's weights",
            "load it with DiffControlNetLoader ('Load ControlNet Model (diff)')",
        )
    return net.upon(base) if differs and base else net


def build(_part: Part, path: Path) -> nn.Module:
    """The network with its weights, on the host, in the type that the file has."""
    from nodes.diffusion.families import networks  # takes seconds to import, and a cached run builds nothing

    if path.is_dir() and read_json(path / "config.json").get("_class_name") == _PLAIN:
        return networks.from_folder(NAME, path)
    layout = _layout(path)
    wanted = {*layout.names, *(f"{stem}.{way}" for stem in layout.low.values() for way in ("up", "down"))}
    held = tensors(_file(path), wanted.__contains__)
    state = {name: held[key] for key, name in layout.names.items()}
    state |= {name: _product(held[f"{stem}.up"], held[f"{stem}.down"]) for name, stem in layout.low.items()}
    return networks.assembled(
        "control_union" if "kinds" in layout.config else NAME, layout.config, state, path.name
    )


def _product(up: Tensor, down: Tensor) -> Tensor:
    """The change of a weight that its factors [out, r] and [r, in, …] stand for."""
    return (up.float().flatten(1) @ down.float().flatten(1)).reshape(up.shape[0], *down.shape[1:])


def _file(path: Path) -> Path:
    """The weight file of a folder, or the file itself."""
    if not path.is_dir():
        return path
    files = [file for suffix in ("safetensors", "bin") for file in sorted(path.glob(f"*.{suffix}"))]
    if not files:
        raise NodeFailure(f"no weight file in {path}", "expected diffusion_pytorch_model.safetensors")
    return files[0]


def _layout(path: Path) -> _Layout:
    found = shapes(_file(path))
    inside = {key: shape for key, shape in found.items() if key.startswith(_PREFIX)}
    try:
        return _named(inside or found)  # the first releases have a whole checkpoint beside it
    except (KeyError, IndexError, ValueError, StopIteration) as error:
        raise NodeFailure(
            f"{path.name} is no ControlNet of Stable Diffusion, or incomplete: {likeness(found, {})}",
            "known: diffusers folders, files in the key layout of diffusers or of lllyasviel's cldm, "
            "Control-LoRAs, T2I-Adapters",
        ) from error


def _named(found: Shapes) -> _Layout:
    """A file's layout.

    Raises:
        KeyError: A tensor that decides is missing; so does StopIteration tell.
    """
    factors = [key.removesuffix(".up") for key in found if key.endswith(".up") and "lora_controlnet" in found]
    low = {f"{stem}.weight": stem for stem in factors}
    whole = {key: shape for key, shape in found.items() if not (low and key.endswith((".up", ".down")))}
    whole |= {key: (found[f"{s}.up"][0], *found[f"{s}.down"][1:]) for key, s in low.items()}
    plain = {key: key.removeprefix(_PREFIX) for key in whole}
    if f"{_HINT}conv_in.weight" in found:
        plain = {key: re.sub("^add_embedding", "class_embedding", key) for key in whole}
        theirs = ldm.unet_keys(plain.values())
        plain = {key: theirs[name] for key, name in plain.items() if name in theirs}
    widths = {theirs: whole[key] for key, theirs in plain.items()}
    config = ldm.unet_config(widths)
    names = ldm.unet_names(config)
    config = {key: value for key, value in config.items() if key not in ("out_channels", "up_block_types")}
    config["conditioning_channels"] = widths["input_hint_block.0.weight"][1]
    config["conditioning_embedding_out_channels"] = [
        widths[f"input_hint_block.{i}.weight"][0] for i in (0, 4, 8, 12)
    ]
    renamed = {key: name for key, theirs in plain.items() if (name := ldm.unet_key(theirs, names))}
    if "task_embedding" in found:
        layers = {key.split(".")[1] for key in found if key.startswith("transformer_layes.")}
        config |= {"kinds": found["task_embedding"][0], "layers": len(layers)}
        renamed = {key: _of_union(renamed.get(key, key)) for key in found}
    kept = {key: name for key, name in renamed.items() if key not in low}
    return _Layout(config, kept, {renamed[key]: stem for key, stem in low.items()})


def _of_union(name: str) -> str:
    """The name that a module of a plain ControlNet, or one that union files add, has in our union network."""
    start = next((start for start in _UNION if name.startswith(start)), "")
    return _UNION.get(start, "") + name.removeprefix(start)
