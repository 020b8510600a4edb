"""Networks of diffusers and transformers from a configuration and tensors, strictly and offline.

Importing this module takes seconds, so it is imported where a network is built and nowhere else.
"""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from transformers.models.clip.configuration_clip import CLIPTextConfig, CLIPVisionConfig
from transformers.models.clip.modeling_clip import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
)

from engine.problems import NodeFailure
from nodes.diffusion.families import steering
from nodes.diffusion.tensors import read_json, tensors

_WEIGHTS = ("diffusion_pytorch_model", "model", "pytorch_model")
_CONSTRUCTORS: Mapping[str, Callable[[Mapping[str, Any]], nn.Module]] = {
    "unet": UNet2DConditionModel.from_config,
    "vae": AutoencoderKL.from_config,
    "controlnet": ControlNetModel.from_config,
    "control_union": steering.union,
    "t2i_adapter": steering.adapter,
    "clip_vision": lambda config: CLIPVisionModelWithProjection(CLIPVisionConfig(**config)),
    "text_encoder": lambda config: _text_encoder(config),
    "text_encoder_2": lambda config: _text_encoder(config),
}
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def from_folder(part: str, folder: Path) -> nn.Module:
    """The network in a folder of the diffusers layout: `config.json` and a weight file.

    Raises:
        NodeFailure: Something is missing, damaged, or does not fit the configuration.
    """
    config = read_json(folder / "config.json")
    state = tensors(_weight_file(folder))
    if part == "vae":
        state = {_current_attention(key): value for key, value in state.items()}
    if config.get("addition_embed_type") == "text_time":  # we say all of it in one vector
        config |= {"addition_embed_type": None, "class_embed_type": "projection"}
        state = {key.replace("add_embedding.", "class_embedding."): value for key, value in state.items()}
    return assembled(part, config, state, f"{folder.parent.name}/{folder.name}")


def assembled(part: str, config: Mapping[str, Any], state: Mapping[str, Tensor], source: str) -> nn.Module:
    """A network that holds exactly these tensors, under its own names for them.

    Args:
        source: The file or folder, for messages.

    Raises:
        NodeFailure: The tensors do not fit the configuration.
    """
    try:
        with init_empty_weights():
            module = _CONSTRUCTORS[part](config)
    except (TypeError, ValueError, KeyError, ZeroDivisionError) as error:
        raise NodeFailure(f"{source}: no {part} can be made from its configuration: {error}") from error
    if part.startswith("text_encoder"):
        state = _text_state(state, module)
    expected = {name: tuple(value.shape) for name, value in module.named_parameters()}
    state = {name: _as_shaped(value, expected.get(name)) for name, value in state.items()}
    missing = sorted(expected.keys() - state.keys())
    unfit = [n for n, v in state.items() if n in expected and tuple(v.shape) != expected[n]]
    if missing or unfit:
        first = missing[0] if missing else unfit[0]
        raise NodeFailure(
            f"{source}: the {part} does not fit its configuration: {len(missing)} tensors are missing and "
            f"{len(unfit)} have another shape, first {first}",
            "the file is incomplete or of another model; download it again",
        )
    own = {name: value for name, value in state.items() if name in expected}
    check_numbers(own, part, source)
    module.load_state_dict(own, strict=False, assign=True)
    return module


def check_numbers(state: Mapping[str, Tensor], part: str, source: str) -> None:
    """Refuse weights that are no numbers.

    Raises:
        NodeFailure: Some are NaN or infinite; says which.
    """
    broken = [name for name, value in state.items() if not _finite(value)]
    if broken:
        raise NodeFailure(
            f"{source}: {len(broken)} tensors of the {part.replace('_', ' ')} hold NaN or infinite values, "
            f"first {broken[0]}",
            "the file is damaged, or was saved from a training that diverged; download it again",
        )


def _finite(value: Tensor) -> bool:
    """Whether a tensor holds numbers only, by its ends: they carry NaN, and are twenty times as fast."""
    if not value.is_floating_point() or not value.numel():
        return True
    ends = torch.aminmax(value.half() if value.itemsize == 1 else value)
    return math.isfinite(ends.min) and math.isfinite(ends.max)


def bare(name: str) -> str:
    """A text encoder's tensor without the prefix that releases of transformers put on and take off."""
    return name.removeprefix("text_model.")


def _text_encoder(config: Mapping[str, Any]) -> nn.Module:
    projects = config.get("architectures") == ["CLIPTextModelWithProjection"]
    return (CLIPTextModelWithProjection if projects else CLIPTextModel)(CLIPTextConfig(**config))


def _text_state(state: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    own = {bare(name): name for name, _ in module.named_parameters()}
    return {own.get(bare(key), key): value for key, value in state.items()}


def _as_shaped(value: Tensor, shape: tuple[int, ...] | None) -> Tensor:
    """A 1x1 convolution as a matrix, or a matrix as one, where the network wants the other; else as it is."""
    if shape and value.ndim != len(shape) and {value.ndim, len(shape)} == {2, 4}:
        return value.reshape(shape) if value.numel() == _size(shape) else value
    return value


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size


def _current_attention(key: str) -> str:
    """The name that a VAE's attention has in diffusers since 0.12."""
    return re.sub(
        r"(attentions\.\d+)\.(query|key|value|proj_attn)\.", lambda m: f"{m[1]}.{_OLD_ATTENTION[m[2]]}.", key
    )


def _weight_file(folder: Path) -> Path:
    for suffix in (".safetensors", ".fp16.safetensors", ".bin"):
        for stem in _WEIGHTS:
            if (folder / f"{stem}{suffix}").is_file():
                return folder / f"{stem}{suffix}"
    raise NodeFailure(
        f"no weight file in {folder}", f"expected {_WEIGHTS[0]}.safetensors or {_WEIGHTS[1]}.safetensors"
    )
