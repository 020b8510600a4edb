"""Tiny random checkpoints of Stable Diffusion 2.x and SDXL, in the layouts that people have them in."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tests.nodes.ldm_files import vae

Tensors = dict[str, Tensor]
WIDTH = 64


def text_encoder(width: int, *, projects: bool) -> CLIPTextModel | CLIPTextModelWithProjection:
    """A text encoder of two layers with CLIP's vocabulary, the same at every call."""
    config = CLIPTextConfig(
        vocab_size=49408, hidden_size=width, intermediate_size=64, num_hidden_layers=2, projection_dim=width,
        num_attention_heads=width // 64, hidden_act="gelu" if projects else "quick_gelu",
        bos_token_id=49406, eos_token_id=49407, pad_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(width)
        return (CLIPTextModelWithProjection if projects else CLIPTextModel)(config).eval()


def as_open_clip(network: CLIPTextModelWithProjection) -> Tensors:
    """Its tensors under OpenCLIP's names, with joint projections."""
    state = {key.removeprefix("text_model."): value for key, value in network.state_dict().items()}
    made = {
        "token_embedding.weight": state["embeddings.token_embedding.weight"],
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "ln_final.weight": state["final_layer_norm.weight"],
        "ln_final.bias": state["final_layer_norm.bias"],
        "text_projection": state["text_projection.weight"].T.contiguous(),
        "logit_scale": torch.tensor(4.6),
    }
    for i in range(2):
        layer, block = f"encoder.layers.{i}", f"transformer.resblocks.{i}"
        for kind in ("weight", "bias"):
            joint = [state[f"{layer}.self_attn.{x}_proj.{kind}"] for x in "qkv"]
            made[f"{block}.attn.in_proj_{kind}"] = torch.cat(joint)
            made[f"{block}.attn.out_proj.{kind}"] = state[f"{layer}.self_attn.out_proj.{kind}"]
            for theirs, ours in (("ln_1", "layer_norm1"), ("ln_2", "layer_norm2")):
                made[f"{block}.{theirs}.{kind}"] = state[f"{layer}.{ours}.{kind}"]
            for theirs, ours in (("c_fc", "fc1"), ("c_proj", "fc2")):
                made[f"{block}.mlp.{theirs}.{kind}"] = state[f"{layer}.mlp.{ours}.{kind}"]
    return made


def unet(context: int, vector: int | None, channels: int = 4) -> Tensors:
    """A UNet with SDXL's outline: three levels, the first without attention; all 64 wide."""
    made = _linear("time_embed.0", 4 * WIDTH, WIDTH) | _linear("time_embed.2", 4 * WIDTH, 4 * WIDTH)
    if vector:
        made |= _linear("label_emb.0.0", 4 * WIDTH, vector) | _linear("label_emb.0.2", 4 * WIDTH, 4 * WIDTH)
    made |= _conv("input_blocks.0.0", WIDTH, channels, 3)
    for i in (1, 2, 4, 5, 7, 8):
        made |= _resnet(f"input_blocks.{i}.0", WIDTH)
        made |= _attention(f"input_blocks.{i}.1", context, 2 if i < 7 else 3) if i > 2 else {}
    for i in (3, 6):
        made |= _conv(f"input_blocks.{i}.0.op", WIDTH, WIDTH, 3)
    made |= _resnet("middle_block.0", WIDTH) | _resnet("middle_block.2", WIDTH)
    made |= _attention("middle_block.1", context, 3)
    for i in range(9):
        made |= _resnet(f"output_blocks.{i}.0", 2 * WIDTH)
        made |= _attention(f"output_blocks.{i}.1", context, 3 if i < 3 else 2) if i < 6 else {}
    for i in (2, 5):
        made |= _conv(f"output_blocks.{i}.2.conv", WIDTH, WIDTH, 3)
    return made | _norm("out.0", WIDTH) | _conv("out.2", 4, WIDTH, 3)


def save_sdxl(path: Path, channels: int = 4, **more: Tensor) -> Tensors:
    """Write a base checkpoint with both text encoders; returns what it holds."""
    large, small = text_encoder(1280, projects=True), text_encoder(768, projects=False)
    clip_l = {key.removeprefix("text_model."): value for key, value in small.state_dict().items()}
    return _saved(
        path,
        {
            "model.diffusion_model.": unet(2048, 2816, channels),
            "first_stage_model.": vae(),
            "conditioner.embedders.0.transformer.text_model.": clip_l,
            "conditioner.embedders.1.model.": as_open_clip(large),  # type: ignore[arg-type]
            "": more,
        },
    )


def save_refiner(path: Path) -> Tensors:
    """Write a checkpoint of the refiner."""
    large = text_encoder(1280, projects=True)
    return _saved(
        path,
        {
            "model.diffusion_model.": unet(1280, 2560),
            "first_stage_model.": vae(),
            "conditioner.embedders.0.model.": as_open_clip(large),  # type: ignore[arg-type]
        },
    )


def save_sd2(path: Path, *, spread: float | None = None) -> Tensors:
    """Write a checkpoint of 2.x; with `spread`, that of the bias by which v prediction shows."""
    made = unet(1024, None)
    if spread is not None:
        made["output_blocks.11.1.transformer_blocks.0.norm1.bias"] = torch.tensor([-spread, spread])
    large = text_encoder(1024, projects=True)
    return _saved(
        path,
        {
            "model.diffusion_model.": made,
            "first_stage_model.": vae(),
            "cond_stage_model.model.": as_open_clip(large),  # type: ignore[arg-type]
        },
    )


def _saved(path: Path, parts: dict[str, Tensors]) -> Tensors:
    held = {p + key: value.half().contiguous() for p, part in parts.items() for key, value in part.items()}
    save_file(held, path)
    return held


def _draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def _linear(name: str, out: int, into: int, *, bias: bool = True) -> Tensors:
    made = {f"{name}.weight": _draw(out, into) / into**0.5}
    return made | ({f"{name}.bias": _draw(out) * 0.02} if bias else {})


def _conv(name: str, out: int, into: int, size: int) -> Tensors:
    weight = _draw(out, into, size, size) / (into * size * size) ** 0.5
    return {f"{name}.weight": weight, f"{name}.bias": _draw(out) * 0.02}


def _norm(name: str, width: int) -> Tensors:
    return {f"{name}.weight": 1 + 0.05 * _draw(width), f"{name}.bias": 0.02 * _draw(width)}


def _resnet(name: str, into: int) -> Tensors:
    made = _norm(f"{name}.in_layers.0", into) | _conv(f"{name}.in_layers.2", WIDTH, into, 3)
    made |= _linear(f"{name}.emb_layers.1", WIDTH, 4 * WIDTH)
    made |= _norm(f"{name}.out_layers.0", WIDTH) | _conv(f"{name}.out_layers.3", WIDTH, WIDTH, 3)
    return made | ({} if into == WIDTH else _conv(f"{name}.skip_connection", WIDTH, into, 1))


def _attention(name: str, context: int, depth: int) -> Tensors:
    made = _norm(f"{name}.norm", WIDTH)
    for end in ("proj_in", "proj_out"):
        made |= _linear(f"{name}.{end}", WIDTH, WIDTH)
    for i in range(depth):
        block = f"{name}.transformer_blocks.{i}"
        for attention, width in (("attn1", WIDTH), ("attn2", context)):
            made |= _linear(f"{block}.{attention}.to_q", WIDTH, WIDTH, bias=False)
            made |= _linear(f"{block}.{attention}.to_k", WIDTH, width, bias=False)
            made |= _linear(f"{block}.{attention}.to_v", WIDTH, width, bias=False)
            made |= _linear(f"{block}.{attention}.to_out.0", WIDTH, WIDTH)
        made |= _linear(f"{block}.ff.net.0.proj", 8 * WIDTH, WIDTH)
        made |= _linear(f"{block}.ff.net.2", WIDTH, 4 * WIDTH)
        made |= {k: v for n in (1, 2, 3) for k, v in _norm(f"{block}.norm{n}", WIDTH).items()}
    return made
