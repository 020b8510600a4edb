"""What a file seems to be when no family takes it: models known by a telling key or width."""

from collections.abc import Mapping
from typing import Any

from nodes.diffusion.tensors import Shapes

_BY_KEY = {
    "lora_up.weight": "a LoRA",
    "lora_A.weight": "a LoRA",
    "control_model.zero_convs.0.0.weight": "a ControlNet",
    "controlnet_cond_embedding.conv_in.weight": "a ControlNet",
    "joint_blocks.0.context_block.attn.qkv.weight": "Stable Diffusion 3",
    "double_blocks.0.img_attn.norm.key_norm.scale": "Flux",
    "clf.1.weight": "Stable Cascade",
    "double_layers.0.attn.w1q.weight": "AuraFlow",
    "mlp_t5.0.weight": "HunyuanDiT",
    "t5_yproj.weight": "Mochi",
    "cap_embedder.1.weight": "Lumina 2",
    "head.modulation": "Wan",
    "t_block.1.weight": "PixArt",
    "txt_norm.weight": "Qwen Image",
}
"""Models by the end of a key that only they have."""

_BY_CONTEXT = {
    768: "Stable Diffusion 1.x",
    1024: "Stable Diffusion 2.x",
    1280: "the SDXL refiner",
    2048: "SDXL",
}


def likeness(found: Shapes, index: Mapping[str, Any]) -> str:
    """A few words on what a file's tensors, or a folder's index, look like."""
    if index:
        return f"the folder holds a {index.get('_class_name') or index.get('architectures')}"
    ends = {end: name for end, name in _BY_KEY.items() if any(key.endswith(end) for key in found)}
    if ends:
        return f"it looks like {next(iter(ends.values()))}"
    widths = [s[1] for key, s in found.items() if key.endswith("attn2.to_k.weight") and len(s) == 2]
    if widths and widths[0] in _BY_CONTEXT:
        return f"it looks like a part of {_BY_CONTEXT[widths[0]]}"
    if found and all(
        key.startswith(("encoder.", "decoder.", "first_stage_model.", "quant", "post_")) for key in found
    ):
        return "it looks like a VAE alone"
    first = ", ".join(sorted(found)[:3])
    return f"it holds {len(found)} tensors" + (f", first {first}" if found else "")
