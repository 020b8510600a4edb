"""T2I-Adapters and CoAdapters (Mou et al. 2023): full, light, of SDXL; in either key layout, and folders."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from engine.devices import Devices
from engine.problems import NodeFailure
from nodes.diffusion.control import ControlNet
from nodes.diffusion.tensors import Shapes, read_json, shapes, tensors
from nodes.diffusion.weights import Part, Recipe

NAME = "t2i_adapter"

_CLASS = "T2IAdapter"
_PREFIX = "adapter."
_ENTRIES = ("conv_in.weight", "body.0.in_conv.weight")
"""What sees the picture, in a full adapter and in a light one."""

_LEAF = "(weight|bias)"
_BLOCKS = 2  # residual blocks in a level of a full adapter, which TencentARC's layout counts through


def recognises(found: Shapes, config: Mapping[str, Any]) -> bool:
    """Whether a file's tensors, or a folder's configuration, are an adapter's."""
    keys = {key.removeprefix(_PREFIX) for key in found}
    blocks = any(re.match(r"body\.0\.(body|resnets)\.0\.block1\.|body\.0\.block1\.", key) for key in keys)
    return config.get("_class_name") == _CLASS or (blocks and any(entry in keys for entry in _ENTRIES))


def control_net(path: Path, digest: str, devices: Devices) -> ControlNet:
    """The adapter in a file or folder, by what it shows before its weights are read.

    Raises:
        NodeFailure: It is none that we can run.
    """
    config = read_json(path / "config.json") if path.is_dir() else _layout(path)[0]
    channels, cell = config.get("in_channels", 3), config.get("downscale_factor", 8)
    return ControlNet(Recipe(digest, "controlnet", NAME, path), devices, True, channels, cell)


def build(_part: Part, path: Path) -> nn.Module:
    """The network with its weights, on the host, in the type that the file has."""
    from nodes.diffusion.families import networks  # takes seconds to import, and a cached run builds nothing

    if path.is_dir():
        return networks.from_folder(NAME, path)
    config, names = _layout(path)
    state = {names[key]: value for key, value in tensors(path, names.__contains__).items()}
    return networks.assembled(NAME, config, state, path.name)


def _layout(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The configuration of a single file, and diffusers' name for each of its keys."""
    found = shapes(path)
    plain = {key: key.removeprefix(_PREFIX) for key in found}
    names = {key: _renamed(name, "body.0.block1.weight" in plain.values()) for key, name in plain.items()}
    unknown = sorted(key for key, name in names.items() if name is None and plain[key].startswith("body."))
    shown = {name: found[key] for key, name in names.items() if name is not None}
    light = f"{_PREFIX}body.0.out_conv.weight" in shown
    widths = _widths(shown, "out_conv" if light else "resnets.0.block1")
    if unknown or len(widths) < 2 or 0 in widths or _PREFIX + _ENTRIES[light] not in shown:
        raise NodeFailure(
            f"{path.name} is no T2I-Adapter that is known, or incomplete: "
            + (f"it has {unknown[0]}" if unknown else f"its levels are {widths} wide"),
            "known: the full, light and SDXL adapters of TencentARC, in their layout or that of diffusers",
        )
    entry = shown[_PREFIX + _ENTRIES[light]][1]
    cell = 16 if entry % 256 == 0 else 8  # those of SDXL see 16 x 16 pixels as a cell
    config = {
        "in_channels": entry // cell**2,
        "channels": widths[:-1] if light else widths,
        "num_res_blocks": _count(shown, r"adapter\.body\.0\.resnets\.(\d+)\."),
        "downscale_factor": cell,
        "adapter_type": "light_adapter" if light else "full_adapter_xl" if cell == 16 else "full_adapter",
    }
    return config, {key: name for key, name in names.items() if name is not None}


def _renamed(name: str, counted: bool) -> str | None:
    """Diffusers' name for a tensor of an adapter, or None for what it has not.

    Args:
        counted: Whether blocks are counted through the levels.
    """
    if counted and (m := re.fullmatch(rf"body\.(\d+)\.(\w+)\.{_LEAF}", name)):
        level, block = divmod(int(m[1]), _BLOCKS)
        inner = m[2] if m[2] == "in_conv" else f"resnets.{block}.{m[2]}"
        name = f"body.{level}.{inner}.{m[3]}"
    name = re.sub(r"^(body\.\d+)\.body\.", r"\1.resnets.", name)
    known = rf"(conv_in|body\.\d+\.(resnets\.\d+\.block[12]|in_conv|out_conv))\.{_LEAF}"
    return _PREFIX + name if re.fullmatch(known, name) else None


def _widths(shown: Shapes, last: str) -> list[int]:
    """How wide the levels are; 0 where the file does not say."""
    levels = _count(shown, r"adapter\.body\.(\d+)\.")
    return [shown.get(f"{_PREFIX}body.{i}.{last}.weight", (0,))[0] for i in range(levels)]


def _count(shown: Shapes, pattern: str) -> int:
    return 1 + max((int(m[1]) for key in shown if (m := re.match(pattern, key))), default=-1)
