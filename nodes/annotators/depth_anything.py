"""Depth Anything (Yang et al. 2024), versions 1 and 2: published weight files in transformers' network."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nodes.annotators.pictures import Draw, Pixels, rgb, scaled
from nodes.annotators.weights import Annotator, WeightFile, filled

PATCH, SIDE = 14, 518
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's."""


@dataclass(frozen=True)
class Size:
    """The sizes of a Depth Anything network.

    Args:
        taps: The layers of the vision transformer that the head sees, counted from 1, in version 1 and 2.
    """

    hidden: int
    layers: int
    heads: int
    fusion: int
    neck: tuple[int, int, int, int]
    taps: tuple[int, int, int, int]
    gated: bool = False


SIZES = {
    "s": Size(384, 12, 6, 64, (48, 96, 192, 384), (3, 6, 9, 12)),
    "b": Size(768, 12, 12, 128, (96, 192, 384, 768), (3, 6, 9, 12)),
    "l": Size(1024, 24, 16, 256, (256, 512, 1024, 1024), (5, 12, 18, 24)),
    "g": Size(1536, 40, 24, 384, (1536, 1536, 1536, 1536), (10, 20, 30, 40), gated=True),
}
FIRST = {f"depth_anything_vit{size}14.pth": size for size in "lbs"}
SECOND = {f"depth_anything_v2_vit{size}.pth": size for size in "glbs"}
_NAMES = {"s": "Small", "b": "Base", "l": "Large", "g": "Giant"}


class DepthNetwork(nn.Module):
    """Pictures [B, 3, H, W], normalised, sides multiples of 14, to nearness [B, H, W] of no fixed scale."""

    def __init__(self, size: Size, taps: tuple[int, ...]) -> None:
        super().__init__()
        from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

        stated: dict[str, Any] = {
            "hidden_size": size.hidden, "num_hidden_layers": size.layers, "num_attention_heads": size.heads,
            "image_size": SIDE, "patch_size": PATCH, "use_swiglu_ffn": size.gated, "out_indices": list(taps),
            "apply_layernorm": True, "reshape_hidden_states": False,
        }  # fmt: skip
        backbone = Dinov2Config(**stated)
        config = DepthAnythingConfig(
            backbone_config=backbone, reassemble_hidden_size=size.hidden, patch_size=PATCH,
            neck_hidden_sizes=list(size.neck), fusion_hidden_size=size.fusion,
        )  # fmt: skip
        self.model = DepthAnythingForDepthEstimation(config)
        embeddings: Any = self.model.backbone.embeddings
        embeddings.interpolate_pos_encoding = lambda _, height, width: positions(
            embeddings.position_embeddings, height // PATCH, width // PATCH
        )

    def forward(self, x: Tensor) -> Tensor:
        """The network's answer."""
        depth: Tensor = self.model(pixel_values=x).predicted_depth
        return depth


def positions(learnt: Tensor, height: int, width: int) -> Tensor:
    """The position embeddings [1, 1 + n², D] of DINOv2 for another number of patches.

    As they were computed in training: the factor of the enlargement is that to 0.1 patch more.
    """
    side = int((learnt.shape[1] - 1) ** 0.5)
    if (height, width) == (side, side):
        return learnt
    grid = learnt[:, 1:].reshape(1, side, side, -1).movedim(-1, 1)
    factors = ((height + 0.1) / side, (width + 0.1) / side)
    grid = F.interpolate(grid, scale_factor=factors, mode="bicubic")
    return torch.cat((learnt[:, :1], grid.flatten(2).movedim(1, -1)), dim=1)


def annotator(ckpt_name: str) -> Annotator:
    """The network of a published file."""
    letter = FIRST.get(ckpt_name) or SECOND[ckpt_name]
    size, second = SIZES[letter], ckpt_name in SECOND
    if second:
        weights = WeightFile(f"depth-anything/Depth-Anything-V2-{_NAMES[letter]}", ckpt_name)
        taps: tuple[int, ...] = size.taps
    else:
        weights = WeightFile("LiheYoung/Depth-Anything", f"checkpoints/{ckpt_name}")
        taps = tuple(range(size.layers - 3, size.layers + 1))

    def build(_: str, state: dict[str, Tensor]) -> nn.Module:
        network: nn.Module = filled(DepthNetwork(size, taps), renamed(state), may_lack="mask_token")
        return network

    return Annotator(f"Depth Anything {2 if second else 1}, ViT-{letter.upper()}", (weights,), build)


_RENAMED = (
    (r"^pretrained\.cls_token$", "model.backbone.embeddings.cls_token"),
    (r"^pretrained\.mask_token$", "model.backbone.embeddings.mask_token"),
    (r"^pretrained\.pos_embed$", "model.backbone.embeddings.position_embeddings"),
    (r"^pretrained\.patch_embed\.proj\.", "model.backbone.embeddings.patch_embeddings.projection."),
    (r"^pretrained\.norm\.", "model.backbone.layernorm."),
    (
        r"^pretrained\.blocks\.(\d+)\.ls([12])\.gamma$",
        r"model.backbone.encoder.layer.\1.layer_scale\2.lambda1",
    ),
    (r"^pretrained\.blocks\.(\d+)\.mlp\.w12\.", r"model.backbone.encoder.layer.\1.mlp.weights_in."),
    (r"^pretrained\.blocks\.(\d+)\.mlp\.w3\.", r"model.backbone.encoder.layer.\1.mlp.weights_out."),
    (r"^pretrained\.blocks\.(\d+)\.", r"model.backbone.encoder.layer.\1."),
    (r"^depth_head\.projects\.(\d)\.", r"model.neck.reassemble_stage.layers.\1.projection."),
    (r"^depth_head\.resize_layers\.(\d)\.", r"model.neck.reassemble_stage.layers.\1.resize."),
    (r"^depth_head\.scratch\.output_conv1\.", "model.head.conv1."),
    (r"^depth_head\.scratch\.output_conv2\.0\.", "model.head.conv2."),
    (r"^depth_head\.scratch\.output_conv2\.2\.", "model.head.conv3."),
)
_COUNTED = (
    (r"^depth_head\.scratch\.layer(\d)_rn\.", "model.neck.convs.{}.", -1, 1),
    (
        r"^depth_head\.scratch\.refinenet(\d)\.out_conv\.",
        "model.neck.fusion_stage.layers.{}.projection.",
        4,
        -1,
    ),
    (
        r"^depth_head\.scratch\.refinenet(\d)\.resConfUnit(\d)\.conv(\d)\.",
        "model.neck.fusion_stage.layers.{}.residual_layer{}.convolution{}.",
        4,
        -1,
    ),
)
"""Pattern, new name, and where and how its first number is counted."""


_ATTENTION = {
    "qkv": (("q_proj", "attention.query"), ("k_proj", "attention.key"), ("v_proj", "attention.value")),
    "proj": (("o_proj", "output.dense"),),
}
"""The names in transformers 5 and 4."""


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a published file, which joins queries, keys and values, by transformers' names."""
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        if hit := re.match(r"^pretrained\.blocks\.(\d+)\.attn\.(qkv|proj)\.(weight|bias)$", key):
            parts = value.chunk(3) if hit[2] == "qkv" else (value,)
            for names, part in zip(_ATTENTION[hit[2]], parts, strict=True):
                layer = f"model.backbone.encoder.layer.{hit[1]}.attention"
                found |= {f"{layer}.{name}.{hit[3]}": part for name in names}
        else:
            found[_renamed(key)] = value
    return found


def _renamed(key: str) -> str:
    for pattern, name in _RENAMED:
        if re.match(pattern, key):
            return re.sub(pattern, name, key)
    for pattern, name, start, step in _COUNTED:
        if hit := re.match(pattern, key):
            return name.format(start + step * int(hit[1]), *hit.groups()[1:]) + key[hit.end() :]
    return key


def nearness(network: nn.Module, picture: Pixels, align_corners: bool, size: tuple[int, int]) -> Pixels:
    """Nearness 0..255 of a picture at another size (height, width), seen with its shorter side at 518."""
    import cv2

    height, width = picture.shape[:2]
    factor = SIDE / min(height, width)
    fitted = (_fitted(width * factor), _fitted(height * factor))
    seen = cv2.resize(picture / 255.0, fitted, interpolation=cv2.INTER_CUBIC)
    x = torch.from_numpy(((seen - MEAN) / STD).astype(np.float32)).movedim(-1, 0)[None]
    depth = network(x.to(next(network.parameters()).device))
    depth = F.interpolate(depth[:, None], size, mode="bilinear", align_corners=align_corners)[0, 0]
    low, high = depth.min(), depth.max()
    span = (high - low).clamp(min=torch.finfo(torch.float32).tiny)
    found: Pixels = ((depth - low) / span * 255.0).cpu().numpy().astype(np.uint8)
    return found


def first_depth(network: nn.Module, resolution: int) -> Draw:
    """Version 1's depth: enlarged from the network's size to the result's at once."""

    def draw(picture: Pixels) -> Pixels:
        height, width = scaled(picture, resolution).shape[:2]
        return rgb(nearness(network, rgb(picture), False, (height, width)))

    return draw


def second_depth(network: nn.Module, resolution: int) -> Draw:
    """Version 2's depth: in bytes at the picture's own size, then scaled to the resolution."""

    def draw(picture: Pixels) -> Pixels:
        height, width = picture.shape[:2]
        return scaled(nearness(network, rgb(picture), True, (height, width)), resolution)

    return draw


def _fitted(length: float) -> int:
    """The multiple of 14 nearest to a length, and at least 518."""
    near = round(length / PATCH) * PATCH
    return near if near >= SIDE else int(np.ceil(length / PATCH)) * PATCH
