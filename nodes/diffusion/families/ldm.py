"""The key layout of CompVis' latent-diffusion code, which single files use, in terms of diffusers'.

Names only: which module of a diffusers network a key belongs to, and the network's configuration as its
shapes tell it. Weights are the same tensors under another name, but for the 1x1 convolutions of a VAE's
attention, which diffusers holds as matrices.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nodes.diffusion.tensors import Shapes

_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_UNET_ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "class_embedding.linear_1",
    "label_emb.0.2": "class_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
    "middle_block.0": "mid_block.resnets.0",
    "middle_block.1": "mid_block.attentions.0",
    "middle_block.2": "mid_block.resnets.1",
}
_HINT_ENDS = {"input_hint_block.0": "conv_in", "input_hint_block.14": "conv_out"}
_VAE_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}


def unet_config(found: Shapes) -> dict[str, Any]:
    """The configuration of a UNet2DConditionModel with these tensors, in the latent-diffusion layout.

    Raises:
        KeyError: A tensor that decides is missing.
    """
    channels = found["input_blocks.0.0.weight"][1]
    depth = count(found, r"input_blocks\.(\d+)\.")
    layers = next(i for i in range(1, depth) if f"input_blocks.{i}.0.op.weight" in found) - 1
    firsts = range(1, depth, layers + 1)
    attends = [f"input_blocks.{i}.1.norm.weight" in found for i in firsts]
    middle = "middle_block.1"
    linear = {len(s) for key, s in found.items() if key.endswith(".proj_in.weight")} == {2}
    widths = [found[f"input_blocks.{i}.0.out_layers.3.weight"][0] for i in firsts]
    depths = [count(found, rf"input_blocks\.{i}\.1\.transformer_blocks\.(\d+)\.") for i in firsts]
    depths[-1] = depths[-1] or count(found, rf"{middle}\.transformer_blocks\.(\d+)\.")  # is the middle's too
    vector = found.get("label_emb.0.0.weight")
    return {
        "in_channels": channels,
        "out_channels": found["out.2.weight"][0] if "out.2.weight" in found else channels,
        "block_out_channels": widths,
        "layers_per_block": layers,
        "down_block_types": ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        "up_block_types": ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
        "mid_block_type": f"UNetMidBlock2D{'CrossAttn' if f'{middle}.norm.weight' in found else ''}",
        "cross_attention_dim": next(
            (s[1] for k, s in found.items() if k.endswith("attn2.to_k.weight")), 1280
        ),
        "transformer_layers_per_block": depths,
        # the field is misnamed in diffusers: it is the number of heads, 8 where projections are convolutions
        "attention_head_dim": [width // 64 for width in widths] if linear else 8,
        "use_linear_projection": linear,
        "class_embed_type": "projection" if vector else None,
        "projection_class_embeddings_input_dim": vector[1] if vector else None,
    }


def vae_levels(found: Shapes) -> int:
    """The number of resolutions of a VAE, in either layout."""
    return count(found, r"encoder\.down(?:_blocks)?\.(\d+)\.")


def vae_config(found: Shapes) -> dict[str, Any]:
    """The configuration of an AutoencoderKL with these tensors, under diffusers' names (`vae_key`).

    Raises:
        KeyError: A tensor that decides is missing.
    """
    levels = vae_levels(found)
    return {
        "in_channels": found["encoder.conv_in.weight"][1],
        "out_channels": found["decoder.conv_out.weight"][0],
        "latent_channels": found["decoder.conv_in.weight"][1],
        "block_out_channels": [
            found[f"encoder.down_blocks.{i}.resnets.0.conv1.weight"][0] for i in range(levels)
        ],
        "layers_per_block": count(found, r"encoder\.down_blocks\.0\.resnets\.(\d+)\."),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "use_quant_conv": "quant_conv.weight" in found,
        "use_post_quant_conv": "post_quant_conv.weight" in found,
    }


def text_config(found: Shapes) -> dict[str, Any]:
    """The configuration of a CLIP text model with these tensors, under transformers' names.

    Raises:
        KeyError: A tensor that decides is missing.
    """
    vocabulary, width = found["embeddings.token_embedding.weight"]
    projection = found.get("text_projection.weight") if width > 768 else None  # of ViT-L nobody uses it
    return {
        "architectures": ["CLIPTextModelWithProjection" if projection else "CLIPTextModel"],
        "projection_dim": projection[0] if projection else 512,
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": found["encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": count(found, r"encoder\.layers\.(\d+)\."),
        "num_attention_heads": max(width // 64, 1),
        "max_position_embeddings": found["embeddings.position_embedding.weight"][0],
        "hidden_act": "gelu" if width > 768 else "quick_gelu",  # OpenCLIP's larger ones use the former
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }


def unet_names(config: Mapping[str, Any]) -> dict[str, str]:
    """The diffusers module for each latent-diffusion module of a UNet, ControlNets' own modules included."""
    levels, layers = len(config["block_out_channels"]), config["layers_per_block"]
    names = dict(_UNET_ENDS)
    for level in range(levels):
        for i in range(layers):
            block, mine = f"input_blocks.{1 + level * (layers + 1) + i}", f"down_blocks.{level}"
            names |= {f"{block}.0": f"{mine}.resnets.{i}", f"{block}.1": f"{mine}.attentions.{i}"}
        names[f"input_blocks.{(level + 1) * (layers + 1)}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
        attends = config["up_block_types"][level].startswith("CrossAttn")
        for i in range(layers + 1):
            block, mine = f"output_blocks.{level * (layers + 1) + i}", f"up_blocks.{level}"
            names |= {f"{block}.0": f"{mine}.resnets.{i}"} | (
                {f"{block}.1": f"{mine}.attentions.{i}"} if attends else {}
            )
        names[f"{block}.{1 + attends}.conv"] = f"up_blocks.{level}.upsamplers.0.conv"
    return names | dict(_hint_names(config))


def unet_key(key: str, names: Mapping[str, str]) -> str | None:
    """The diffusers name of one tensor of a UNet or ControlNet, or None for what diffusers has not."""
    return _renamed(key, names, _RESNET)


def unet_keys(found: Iterable[str]) -> dict[str, str]:
    """The latent-diffusion name of each tensor of a UNet or ControlNet that goes by diffusers' names."""
    keys = list(found)
    levels = count(keys, r"down_blocks\.(\d+)\.")
    attends = [any(key.startswith(f"up_blocks.{i}.attentions.") for key in keys) for i in range(levels)]
    outline = {
        "block_out_channels": range(levels),
        "layers_per_block": count(keys, r"down_blocks\.0\.resnets\.(\d+)\."),
        "up_block_types": ["CrossAttn" if a else "" for a in attends],
    }
    theirs = {ours: name for name, ours in unet_names(outline).items()} if levels else {}
    resnet = {ours: name for name, ours in _RESNET.items()}
    return {key: name for key in keys if (name := _renamed(key, theirs, resnet)) is not None}


def vae_key(key: str, levels: int) -> str:
    """The diffusers name of one tensor of a VAE."""
    key = re.sub(r"^encoder\.down\.(\d+)\.", r"encoder.down_blocks.\1.", key)
    key = re.sub(r"^decoder\.up\.(\d+)\.", lambda m: f"decoder.up_blocks.{levels - 1 - int(m[1])}.", key)
    key = re.sub(r"\.mid\.block_(\d)\.", lambda m: f".mid_block.resnets.{int(m[1]) - 1}.", key)
    key = re.sub(
        r"\.mid\.attn_1\.(\w+)\.", lambda m: f".mid_block.attentions.0.{_VAE_ATTENTION.get(m[1], m[1])}.", key
    )
    for theirs, ours in (
        (".block.", ".resnets."),
        (".downsample.", ".downsamplers.0."),
        (".upsample.", ".upsamplers.0."),
        (".nin_shortcut.", ".conv_shortcut."),
        (".norm_out.", ".conv_norm_out."),
    ):
        key = key.replace(theirs, ours)
    return key


def _hint_names(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Of a ControlNet: its picture encoder and the zero convolutions at its outputs."""
    embedding = "controlnet_cond_embedding"
    yield from ((theirs, f"{embedding}.{ours}") for theirs, ours in _HINT_ENDS.items())
    yield from ((f"input_hint_block.{2 * i + 2}", f"{embedding}.blocks.{i}") for i in range(6))
    outputs = len(config["block_out_channels"]) * (config["layers_per_block"] + 1)
    yield from ((f"zero_convs.{i}.0", f"controlnet_down_blocks.{i}") for i in range(outputs))
    yield "middle_block_out.0", "controlnet_mid_block"


def _renamed(key: str, modules: Mapping[str, str], inner: Mapping[str, str]) -> str | None:
    """A tensor's name with its longest known beginning replaced, and what follows where that is known."""
    module, _, leaf = key.rpartition(".")
    head = next((h for h in _heads(module) if h in modules), None)
    if head is None:
        return None
    rest = module[len(head) + 1 :]
    return ".".join(part for part in (modules[head], inner.get(rest, rest), leaf) if part)


def _heads(module: str) -> Iterator[str]:
    """A dotted name and its beginnings, longest first."""
    while module:
        yield module
        module = module.rpartition(".")[0]


def count(found: Iterable[str], pattern: str) -> int:
    """How many numbers a pattern's group takes, counted from 0, over all keys."""
    return 1 + max((int(m[1]) for key in found if (m := re.match(pattern, key))), default=-1)
