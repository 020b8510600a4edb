"""Networks that steer and that diffusers has otherwise: ControlNet-Union, and T2I-Adapters for any size.

Importing this module takes seconds, so it is imported where a network is built and nowhere else.
"""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers.models.adapter import T2IAdapter
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.controlnets.controlnet_union import ResidualAttentionBlock
from diffusers.models.embeddings import TimestepEmbedding
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from nodes.diffusion.unclip import sinusoids

_HEADS = 8


def adapter(config: Mapping[str, Any]) -> nn.Module:
    """A T2I-Adapter that halves odd sides as UNets do: 13 to 7, with zeros around the picture."""
    net: T2IAdapter = T2IAdapter.from_config(config)
    for block in net.adapter.body:
        if block.downsample is not None:
            block.downsample = _Halved()
    return net


class _Halved(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return avg_pool2d(x, 2, padding=(x.shape[-2] % 2, x.shape[-1] % 2))


def union(config: Mapping[str, Any]) -> nn.Module:
    """A ControlNet whose embedding of the timestep and whose encoder of the hint know the hint's kind.

    xinsir's ControlNet++ (ControlNet-Union).

    Args:
        config: A ControlNetModel's, with `kinds`, how many kinds it knows, and `layers` of attention.
    """
    plain = {key: value for key, value in config.items() if key not in ("kinds", "layers")}
    net: nn.Module = ControlNetModel.from_config(plain)
    width = plain["block_out_channels"][0]
    net.time_embedding = _Clock(net.get_submodule("time_embedding"), config["kinds"], 4 * width)
    encoder = net.get_submodule("controlnet_cond_embedding")
    net.controlnet_cond_embedding = _Encoder(encoder, config["kinds"], width, config["layers"])
    return net


class _Clock(nn.Module):
    """Embeds the timestep, and which kind the hint is: a sinusoidal code of 0 or 1 for each kind."""

    told_kind: int | None = None

    def __init__(self, clock: nn.Module, kinds: int, width: int) -> None:
        super().__init__()
        self.clock = clock
        self.kinds = TimestepEmbedding(len(sinusoids(0.0)) * kinds, width)
        self.count = kinds

    def forward(self, time: Tensor, condition: Tensor | None = None) -> Tensor:
        codes = torch.cat([sinusoids(float(kind == self.told_kind)) for kind in range(self.count)])
        both: Tensor = self.clock(time, condition) + self.kinds(codes.to(time)[None])
        return both


class _Encoder(nn.Module):
    """Encodes the hint, and shifts each channel by what its mean and its kind say; untold it does not shift.

    The attention sees one token, as there is one hint.
    """

    told_kind: int | None = None

    def __init__(self, encoder: nn.Module, kinds: int, width: int, layers: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.tasks = nn.Parameter(torch.empty(kinds, width))
        self.layers = nn.ModuleList(ResidualAttentionBlock(width, _HEADS) for _ in range(layers))
        self.shift = nn.Linear(width, width)

    def forward(self, hint: Tensor) -> Tensor:
        features: Tensor = self.encoder(hint)
        if self.told_kind is None:
            return features
        token = (features.mean(dim=(2, 3)) + self.tasks[self.told_kind])[None]
        for layer in self.layers:
            token = layer(token)
        shift: Tensor = self.shift(token[0])
        return features + shift[:, :, None, None]
