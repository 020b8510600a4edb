"""Tiny random picture encoders of CLIP in the layouts that people have them in, and unCLIP checkpoints."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from tests.nodes.ldm_files import vae
from tests.nodes.xl_files import as_open_clip, text_encoder, unet

SIZES: dict[str, dict[str, Any]] = {
    "B": {"hidden_size": 768, "num_attention_heads": 12, "hidden_act": "quick_gelu", "projection_dim": 512},
    "L": {"hidden_size": 1024, "num_attention_heads": 16, "hidden_act": "quick_gelu", "projection_dim": 768},
    "H": {"hidden_size": 1280, "num_attention_heads": 16, "hidden_act": "gelu", "projection_dim": 1024},
    "bigG": {"hidden_size": 1664, "num_attention_heads": 16, "hidden_act": "gelu", "projection_dim": 1280},
}


def network(size: str) -> CLIPVisionModelWithProjection:
    """A picture encoder with the widths of a published one, two layers deep, for pictures of 28 pixels."""
    config = CLIPVisionConfig(
        **SIZES[size], image_size=28, patch_size=14, intermediate_size=64, num_hidden_layers=2
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = CLIPVisionModelWithProjection(config).eval()
        for name, value in made.named_parameters():
            if "norm" in name or name.endswith("bias"):
                value.data += 0.1 * torch.randn_like(value)
            else:
                value.data *= 3  # so large that the heads and the activation matter
    return made


def vision_as_open_clip(made: CLIPVisionModelWithProjection) -> dict[str, Tensor]:
    """Its tensors under OpenCLIP's names, with joint projections."""
    held = made.state_dict()
    state = {key.removeprefix("vision_model."): value for key, value in held.items()}
    named = {
        "class_embedding": state["embeddings.class_embedding"],
        "conv1.weight": state["embeddings.patch_embedding.weight"],
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "proj": state["visual_projection.weight"].T,
    }
    for kind in ("weight", "bias"):
        named |= {f"ln_pre.{kind}": state[f"pre_layrnorm.{kind}"]}
        named |= {f"ln_post.{kind}": state[f"post_layernorm.{kind}"]}
        for i in range(2):
            layer, block = f"encoder.layers.{i}", f"transformer.resblocks.{i}"
            joint = [state[f"{layer}.self_attn.{x}_proj.{kind}"] for x in "qkv"]
            named[f"{block}.attn.in_proj_{kind}"] = torch.cat(joint)
            named[f"{block}.attn.out_proj.{kind}"] = state[f"{layer}.self_attn.out_proj.{kind}"]
            named[f"{block}.ln_1.{kind}"] = state[f"{layer}.layer_norm1.{kind}"]
            named[f"{block}.ln_2.{kind}"] = state[f"{layer}.layer_norm2.{kind}"]
            named[f"{block}.mlp.c_fc.{kind}"] = state[f"{layer}.mlp.fc1.{kind}"]
            named[f"{block}.mlp.c_proj.{kind}"] = state[f"{layer}.mlp.fc2.{kind}"]
    return {key: value.contiguous() for key, value in named.items()}


def save_vision(path: Path, made: CLIPVisionModelWithProjection, layout: str) -> None:
    """Write a picture encoder: "transformers", "both encoders", "OpenCLIP", "unCLIP checkpoint", "folder"."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if layout == "folder":
        made.save_pretrained(path)
        return
    prefix = "embedder.model." if layout == "unCLIP checkpoint" else ""
    held = {key: value.contiguous() for key, value in made.state_dict().items()}
    if layout in ("OpenCLIP", "unCLIP checkpoint"):
        held = {f"{prefix}visual.{key}": value for key, value in vision_as_open_clip(made).items()}
    if layout != "transformers":
        held |= {f"{prefix}logit_scale": torch.ones(()), f"{prefix}token_embedding.weight": torch.zeros(9, 4)}
    save_file(held, path)


def save_unclip(path: Path, size: str = "H", *, spread: float = 0.3) -> None:
    """Write an unCLIP checkpoint; `spread` is that of the bias by which v prediction shows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = unet(1024, 2 * SIZES[size]["projection_dim"])
    made["output_blocks.11.1.transformer_blocks.0.norm1.bias"] = torch.tensor([-spread, spread])
    parts = {
        "model.diffusion_model.": made,
        "first_stage_model.": vae(),
        "cond_stage_model.model.": as_open_clip(text_encoder(1024, projects=True)),  # type: ignore[arg-type]
        "embedder.model.visual.": vision_as_open_clip(network(size)),
        "noise_augmentor.": {"betas": torch.zeros(1000), "alphas_cumprod": torch.zeros(1000)},
    }
    save_file({p + k: v.half().contiguous() for p, part in parts.items() for k, v in part.items()}, path)
