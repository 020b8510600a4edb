"""Diffusers folders of Stable Diffusion's shapes with random weights, and diffusers' own pipeline on them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

CLIP_L: Mapping[str, Any] = {
    **{"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
    **{"projection_dim": 768, "hidden_act": "quick_gelu"},
}
CLIP_G: Mapping[str, Any] = {
    **{"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20},
    **{"projection_dim": 1280, "hidden_act": "gelu"},
}
SD1_UNET: Mapping[str, Any] = {"cross_attention_dim": 768, "attention_head_dim": 8}
SDXL_UNET: Mapping[str, Any] = {
    **{
        "block_out_channels": (320, 640, 1280),
        "cross_attention_dim": 2048,
        "attention_head_dim": (5, 10, 20),
    },
    **{"down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D")},
    **{"up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")},
    **{"transformer_layers_per_block": (1, 2, 10), "use_linear_projection": True},
    **{"addition_embed_type": "text_time", "addition_time_embed_dim": 256},
    **{"projection_class_embeddings_input_dim": 2816},
}


@dataclass(frozen=True)
class Shape:
    """The sizes of one model; `size` and `cpu_size` are the pictures, in pixels, that it is measured at."""

    unet: Mapping[str, Any]
    size: int
    cpu_size: int
    xl: bool = False
    encoders: Mapping[str, str] = field(default_factory=lambda: {"text_encoder": "CLIPTextModel"})


XL_ENCODERS = {"text_encoder": "CLIPTextModel", "text_encoder_2": "CLIPTextModelWithProjection"}
MODELS = {
    "sd15_narrow": Shape({**SD1_UNET, "block_out_channels": (320, 320, 320, 320)}, 512, 256),
    "sd15": Shape({**SD1_UNET, "block_out_channels": (320, 640, 1280, 1280)}, 512, 512),
    "sdxl": Shape(SDXL_UNET, 1024, 512, True, XL_ENCODERS),
}


def write_folder(folder: Path, shape: Shape) -> None:
    """Write the folder in half precision, as checkpoints are kept; nothing where it is there."""
    if (folder / "model_index.json").is_file():
        return
    import diffusers
    import transformers

    torch.manual_seed(0)
    level = {"in_channels": 4, "out_channels": 4, "sample_size": shape.size // 8}
    diffusers.UNet2DConditionModel(**level, **shape.unet).half().save_pretrained(folder / "unet")
    diffusers.AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        scaling_factor=0.13025 if shape.xl else 0.18215,
    ).half().save_pretrained(folder / "vae")
    diffusers.EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="epsilon"
    ).save_pretrained(folder / "scheduler")
    for part, name in shape.encoders.items():
        config = transformers.CLIPTextConfig(**(CLIP_G if part.endswith("_2") else CLIP_L))
        getattr(transformers, name)(config).half().save_pretrained(folder / part)
    index: dict[str, Any] = {
        "_class_name": "StableDiffusionXLPipeline" if shape.xl else "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        **{part: ["transformers", name] for part, name in shape.encoders.items()},
    }
    (folder / "model_index.json").write_text(json.dumps(index))


def pipeline(folder: Path, shape: Shape, device: str) -> Any:
    """The peer, loaded by diffusers and transformers from the same folder; Euler, as ours."""
    import diffusers
    import transformers

    kind = torch.float16 if device.startswith("cuda") else torch.float32
    parts: dict[str, Any] = {
        "unet": diffusers.UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=kind),
        "vae": diffusers.AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32),
        "scheduler": diffusers.EulerDiscreteScheduler.from_pretrained(folder / "scheduler"),
        "tokenizer": None,
    }
    for part, name in shape.encoders.items():
        parts[part] = getattr(transformers, name).from_pretrained(folder / part, dtype=torch.float32)
    extra = {"tokenizer_2": None} if shape.xl else {"safety_checker": None, "feature_extractor": None}
    kinds = diffusers.StableDiffusionXLPipeline if shape.xl else diffusers.StableDiffusionPipeline
    pipe = kinds(**parts, **extra, **({} if shape.xl else {"requires_safety_checker": False}))
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)


def embeddings(pipe: Any, shape: Shape) -> dict[str, Tensor]:
    """What the pipeline is given in place of prompts, made by its own text encoders from fixed tokens."""
    tokens = torch.arange(77)[None].to(pipe.device)
    kind = pipe.unet.dtype
    with torch.inference_mode():
        states = [getattr(pipe, part)(tokens, output_hidden_states=True) for part in shape.encoders]
    if not shape.xl:
        text = states[0].last_hidden_state.to(kind)
        return {"prompt_embeds": text, "negative_prompt_embeds": text}
    text = torch.cat([state.hidden_states[-2] for state in states], dim=-1).to(kind)
    pooled = states[1].text_embeds.to(kind)
    return {
        **{"prompt_embeds": text, "negative_prompt_embeds": text},
        **{"pooled_prompt_embeds": pooled, "negative_pooled_prompt_embeds": pooled},
    }


def piped(
    pipe: Any, given: dict[str, Tensor], cfg: float, size: int, steps: int, seed: int, kind: str = "latent"
) -> Any:
    """Run it."""
    return pipe(
        **given,
        num_inference_steps=steps,
        guidance_scale=cfg,
        height=size,
        width=size,
        generator=torch.Generator().manual_seed(seed),
        output_type=kind,
    ).images
