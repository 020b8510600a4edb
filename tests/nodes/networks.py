"""Tiny random networks in place of real ones, and recipes for them."""

import math
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import nn

from engine.devices import Devices
from nodes.diffusion.control import ControlNet
from nodes.diffusion.families.ldm import unet_keys
from nodes.diffusion.model import Model
from nodes.diffusion.weights import Structure, restructured

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
    """A recipe for a network that is already there; equal by its name and its structures."""

    name: str
    network: nn.Module = field(compare=False)
    structures: tuple[Structure, ...] = ()
    variants: dict[tuple[Structure, ...], nn.Module] = field(default_factory=dict, compare=False)

    def patched(self, *structures: Structure) -> "Ready":
        return replace(self, structures=(*self.structures, *structures))

    def module(self, devices: Devices) -> nn.Module:
        if not self.structures:
            return self.network
        if self.structures not in self.variants:
            self.variants[self.structures] = restructured(self.network, self.structures)
        return self.variants[self.structures]


def tiny_model(name: str = "tiny", **options: Any) -> Model:
    """A model of 60 thousand weights, the same at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            out_channels=4, up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), sample_size=8, **_SHAPE
        )
    return Model(cast(Any, Ready(name, unet.eval())), Devices("cpu"), **options)


def deep_model() -> Model:
    """A model with the depth of Stable Diffusion 1.5, a tenth as wide, the same at every call.

    Its weights are drawn in the order of their names in latent-diffusion code, so that other implementations
    can have them too.
    """
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(32, 64, 128, 128), cross_attention_dim=8, attention_head_dim=8
    )
    generator, named = torch.Generator().manual_seed(0), unet.state_dict()
    for ours, _ in sorted(unet_keys(named).items(), key=lambda pair: pair[1]):
        weight = named[ours]
        drawn = torch.randn(weight.shape, generator=generator)
        if weight.ndim > 1:
            weight.copy_(drawn / math.sqrt(weight[0].numel()))
        else:
            weight.copy_(drawn * 0.1 + ours.endswith("weight"))
    return Model(cast(Any, Ready("deep", unet.eval().requires_grad_(False))), Devices("cpu"))


def tiny_control(name: str = "control", seed: int = 1) -> ControlNet:
    """A ControlNet for `tiny_model` whose output layers are not zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ControlNetModel(conditioning_embedding_out_channels=(8, 8, 8, 8), **_SHAPE)
        for block in (*net.controlnet_down_blocks, net.controlnet_mid_block):
            nn.init.normal_(block.weight, std=0.1)
    return ControlNet(cast(Any, Ready(name, net.eval())), Devices("cpu"))
