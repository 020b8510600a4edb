"""Tiny random checkpoints in the latent-diffusion key layout, with every key of Stable Diffusion 1.5."""

from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

WIDTH, CONTEXT = 32, 64
Tensors = dict[str, Tensor]


def save_sd1(path: Path, seed: int = 0) -> Tensors:
    """Write a checkpoint of the full depth, all levels 32 wide; returns what it holds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        held = {
            **_under("model.diffusion_model.", unet()),
            **_under("first_stage_model.", vae()),
            **_under("cond_stage_model.transformer.text_model.", text_encoder()),
        }
    held = {key: value.half() for key, value in held.items()}
    save_file(held, path)
    return held


def unet(outputs: bool = True) -> Tensors:
    """A UNet of 4 levels with 2 blocks each; without its output half it is the trunk of a ControlNet."""
    made = {**_linear("time_embed.0", 4 * WIDTH, WIDTH), **_linear("time_embed.2", 4 * WIDTH, 4 * WIDTH)}
    made |= _conv("input_blocks.0.0", WIDTH, 4, 3)
    for i in (1, 2, 4, 5, 7, 8, 10, 11):
        made |= _resnet(f"input_blocks.{i}.0", WIDTH) | (_attention(f"input_blocks.{i}.1") if i < 9 else {})
    for i in (3, 6, 9):
        made |= _conv(f"input_blocks.{i}.0.op", WIDTH, WIDTH, 3)
    made |= _resnet("middle_block.0", WIDTH) | _attention("middle_block.1") | _resnet("middle_block.2", WIDTH)
    if not outputs:
        return made
    for i in range(12):
        made |= _resnet(f"output_blocks.{i}.0", 2 * WIDTH) | (
            _attention(f"output_blocks.{i}.1") if i > 2 else {}
        )
    for i in (2, 5, 8):
        made |= _conv(f"output_blocks.{i}.{1 if i == 2 else 2}.conv", WIDTH, WIDTH, 3)
    return made | _norm("out.0") | _conv("out.2", 4, WIDTH, 3)


def control() -> Tensors:
    """A ControlNet for `unet`, in the layout of lllyasviel's cldm, its zero convolutions not zero."""
    widths = [3, 16, 16, 32, 32, 96, 96, 256, WIDTH]
    made = unet(outputs=False)
    for i, (before, after) in enumerate(pairwise(widths)):
        made |= _conv(f"input_hint_block.{2 * i}", after, before, 3)
    for i in range(12):
        made |= _conv(f"zero_convs.{i}.0", WIDTH, WIDTH, 1)
    return _under("control_model.", made | _conv("middle_block_out.0", WIDTH, WIDTH, 1))


def vae() -> Tensors:
    """An autoencoder of 4 levels with 2 blocks each."""
    made = {**_conv("encoder.conv_in", WIDTH, 3, 3), **_conv("encoder.conv_out", 8, WIDTH, 3)}
    made |= _conv("decoder.conv_in", WIDTH, 4, 3) | _conv("decoder.conv_out", 3, WIDTH, 3)
    made |= _conv("quant_conv", 8, 8, 1) | _conv("post_quant_conv", 4, 4, 1)
    for half, way, blocks in (("encoder", "down", 2), ("decoder", "up", 3)):
        for level in range(4):
            for i in range(blocks):
                made |= _vae_resnet(f"{half}.{way}.{level}.block.{i}")
        for level in (0, 1, 2) if half == "encoder" else (1, 2, 3):
            made |= _conv(f"{half}.{way}.{level}.{way}sample.conv", WIDTH, WIDTH, 3)
        made |= (
            _vae_resnet(f"{half}.mid.block_1")
            | _vae_resnet(f"{half}.mid.block_2")
            | _norm(f"{half}.norm_out")
        )
        made |= _norm(f"{half}.mid.attn_1.norm")
        for name in ("q", "k", "v", "proj_out"):
            made |= _conv(f"{half}.mid.attn_1.{name}", WIDTH, WIDTH, 1)
    return made


def text_encoder() -> Tensors:
    """A CLIP text model of 2 layers with OpenAI's vocabulary."""
    made = {
        "embeddings.token_embedding.weight": torch.randn(49408, CONTEXT) * 0.02,
        "embeddings.position_embedding.weight": torch.randn(77, CONTEXT) * 0.02,
        **_norm("final_layer_norm", CONTEXT),
    }
    for i in range(2):
        layer = f"encoder.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            made |= _linear(f"{layer}.self_attn.{name}", CONTEXT, CONTEXT)
        made |= _linear(f"{layer}.mlp.fc1", 128, CONTEXT) | _linear(f"{layer}.mlp.fc2", CONTEXT, 128)
        made |= _norm(f"{layer}.layer_norm1", CONTEXT) | _norm(f"{layer}.layer_norm2", CONTEXT)
    return made


def _under(prefix: str, made: Tensors) -> Tensors:
    return {prefix + key: value for key, value in made.items()}


def _linear(name: str, out: int, into: int, bias: bool = True) -> Tensors:
    made = {f"{name}.weight": torch.randn(out, into) / into**0.5}
    return made | ({f"{name}.bias": torch.randn(out) * 0.02} if bias else {})


def _conv(name: str, out: int, into: int, size: int) -> Tensors:
    weight = torch.randn(out, into, size, size) / (into * size * size) ** 0.5
    return {f"{name}.weight": weight, f"{name}.bias": torch.randn(out) * 0.02}


def _norm(name: str, width: int = WIDTH) -> Tensors:
    return {f"{name}.weight": 1 + 0.05 * torch.randn(width), f"{name}.bias": 0.02 * torch.randn(width)}


def _resnet(name: str, into: int) -> Tensors:
    made = {**_norm(f"{name}.in_layers.0", into), **_conv(f"{name}.in_layers.2", WIDTH, into, 3)}
    made |= _linear(f"{name}.emb_layers.1", WIDTH, 4 * WIDTH)
    made |= _norm(f"{name}.out_layers.0") | _conv(f"{name}.out_layers.3", WIDTH, WIDTH, 3)
    return made | ({} if into == WIDTH else _conv(f"{name}.skip_connection", WIDTH, into, 1))


def _vae_resnet(name: str) -> Tensors:
    made = {**_norm(f"{name}.norm1"), **_conv(f"{name}.conv1", WIDTH, WIDTH, 3)}
    return made | _norm(f"{name}.norm2") | _conv(f"{name}.conv2", WIDTH, WIDTH, 3)


def _attention(name: str) -> Tensors:
    block = f"{name}.transformer_blocks.0"
    made = {**_norm(f"{name}.norm"), **_conv(f"{name}.proj_in", WIDTH, WIDTH, 1)}
    made |= _conv(f"{name}.proj_out", WIDTH, WIDTH, 1)
    for attention, context in (("attn1", WIDTH), ("attn2", CONTEXT)):
        made |= _linear(f"{block}.{attention}.to_q", WIDTH, WIDTH, bias=False)
        made |= _linear(f"{block}.{attention}.to_k", WIDTH, context, bias=False)
        made |= _linear(f"{block}.{attention}.to_v", WIDTH, context, bias=False)
        made |= _linear(f"{block}.{attention}.to_out.0", WIDTH, WIDTH)
    made |= _linear(f"{block}.ff.net.0.proj", 8 * WIDTH, WIDTH) | _linear(
        f"{block}.ff.net.2", WIDTH, 4 * WIDTH
    )
    return made | _norm(f"{block}.norm1") | _norm(f"{block}.norm2") | _norm(f"{block}.norm3")
