"""Tiny random networks in place of real ones, and recipes for them."""

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import nn

from engine.devices import Devices
from nodes.diffusion.control import ControlNet
from nodes.diffusion.model import Model

_SHAPE = {
    "in_channels": 4,
    "block_out_channels": (32, 32),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "layers_per_block": 1,
    "cross_attention_dim": 8,
    "attention_head_dim": 4,
    "norm_num_groups": 8,
}


@dataclass(frozen=True)
class Ready:
    """A recipe for a network that is already there; equal by its name."""

    name: str
    network: nn.Module = field(compare=False)

    def module(self, devices: Devices) -> nn.Module:
        return self.network


def tiny_model(name: str = "tiny", **options: Any) -> Model:
    """A model of 60 thousand weights, the same at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            out_channels=4, up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), sample_size=8, **_SHAPE
        )
    return Model(cast(Any, Ready(name, unet.eval())), Devices("cpu"), **options)


def tiny_control(name: str = "control", seed: int = 1) -> ControlNet:
    """A ControlNet for `tiny_model` whose output layers are not zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ControlNetModel(conditioning_embedding_out_channels=(8, 8, 8, 8), **_SHAPE)
        for block in (*net.controlnet_down_blocks, net.controlnet_mid_block):
            nn.init.normal_(block.weight, std=0.1)
    return ControlNet(cast(Any, Ready(name, net.eval())), Devices("cpu"))
