"""Tiny random networks that steer, as diffusers builds them, and their tensors as files have them."""

from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, ControlNetUnionModel, T2IAdapter, UNet2DConditionModel
from torch import Tensor, nn

from nodes.diffusion.families.ldm import unet_keys

Tensors = dict[str, Tensor]
CONTEXT, POOLED = 24, 8
VECTOR = POOLED + 6 * 256
TRUNK: dict[str, Any] = {
    "block_out_channels": (64, 64, 128),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "layers_per_block": 1,
    "transformer_layers_per_block": [0, 1, 2],
    "attention_head_dim": (1, 1, 2),
    "cross_attention_dim": CONTEXT,
    "use_linear_projection": True,
}
"""As in SDXL, where there are two layers more of everything."""

SDXL = {
    **TRUNK,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": VECTOR,
}


def random(network: nn.Module, seed: int = 0) -> Any:
    """The network with weights of a size that lets each of its layers matter."""
    draw = torch.Generator().manual_seed(seed)
    for name, weight in network.named_parameters():
        scale = 0.1 if weight.ndim < 2 else weight[0].numel() ** -0.5
        norm = weight.ndim == 1 and name.endswith("weight")
        weight.data = torch.randn(weight.shape, generator=draw) * scale + norm
    return network.eval().requires_grad_(False)


def sdxl_control(seed: int = 0, **changes: Any) -> Any:
    """A ControlNet with a vector."""
    return random(ControlNetModel(**{**SDXL, **changes}), seed)


def plain_control(seed: int = 0, **changes: Any) -> Any:
    """A ControlNet as of Stable Diffusion 2.x, with linear projections and no vector."""
    return random(ControlNetModel(**{**TRUNK, **changes}), seed)


def union_control(kinds: int) -> Any:
    """A union ControlNet with a vector."""
    given = {**SDXL, "num_trans_channel": 64, "num_proj_channel": 64}
    return random(ControlNetUnionModel(**given, num_control_type=kinds))


def unet(seed: int = 1, **changes: Any) -> Any:
    """The UNet that these ControlNets are for."""
    ups = ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")
    return random(UNet2DConditionModel(sample_size=8, **{**TRUNK, "up_block_types": ups, **changes}), seed)


def adapter(**changes: Any) -> Any:
    """A full adapter of Stable Diffusion 1.x, or another."""
    given = {"channels": [32, 64, 128, 128], **changes}
    return random(T2IAdapter(**given))


def as_cldm(network: nn.Module) -> Tensors:
    """A ControlNet's tensors under the names of lllyasviel's code."""
    held = {key.replace("add_embedding.", "class_embedding."): v for key, v in network.state_dict().items()}
    return {name: held[key].contiguous() for key, name in unet_keys(held).items()}


def as_low_rank(network: nn.Module, rank: int, seed: int = 5) -> Tensors:
    """A Control-LoRA: factors of random changes for the trunk's matrices, and the rest whole."""
    draw = torch.Generator().manual_seed(seed)
    made: Tensors = {"lora_controlnet": torch.tensor([])}
    for key, value in as_cldm(network).items():
        if value.ndim < 2 or key.startswith(("input_hint", "zero_convs", "middle_block_out")):
            made[key] = value
            continue
        stem, ones = key.removesuffix(".weight"), (1,) * (value.ndim - 2)
        made[f"{stem}.up"] = 0.1 * torch.randn(len(value), rank, *ones, generator=draw)
        made[f"{stem}.down"] = 0.1 * torch.randn(rank, *value.shape[1:], generator=draw)
    return made


def as_tencent(network: nn.Module, light: bool) -> Tensors:
    """An adapter's tensors under the names of TencentARC's code, which counts blocks through the levels."""
    made: Tensors = {}
    for key, value in network.state_dict().items():
        path = key.removeprefix("adapter.").split(".")
        if light and path[2] == "resnets":
            path[2] = "body"
        elif not light and path[0] == "body":
            inside = path[2] == "resnets"
            path[1] = str(2 * int(path[1]) + (int(path[3]) if inside else 0))
            path[2:] = path[4:] if inside else path[2:]
        made[".".join(path)] = value
    return made


def folder(network: Any, path: Path) -> Path:
    """The network as a diffusers folder."""
    network.save_pretrained(path)
    return path
