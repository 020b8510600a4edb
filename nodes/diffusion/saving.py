"""Networks as the tensors of single files, in the key layout that the ecosystem's loaders read.

The inverse of what the families do when they load: the same tensors under their first names, as they are held
(patched weights are saved merged), and the marker keys that tell a model's noise levels.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from engine.problems import NodeFailure
from nodes.diffusion.autoencoder import Vae
from nodes.diffusion.families import open_clip
from nodes.diffusion.families.ldm import unet_keys, vae_levels
from nodes.diffusion.families.lines import SDXL_BASE, Unet
from nodes.diffusion.levels import Continuous, Discrete
from nodes.diffusion.model import Model
from nodes.diffusion.text import Clip, Tower
from nodes.diffusion.weights import Recipe

Tensors = dict[str, Tensor]

UNET = "model.diffusion_model."
VAE = "first_stage_model."

_ARCHITECTURES = {
    "Stable Diffusion 1.x": "stable-diffusion-v1",
    "SDXL": "stable-diffusion-xl-v1-base",
    "the SDXL refiner": "stable-diffusion-xl-v1-refiner",
}
_VAE_NAMES = (
    (r"^encoder\.down_blocks\.", "encoder.down."),
    (r"\.mid_block\.attentions\.0\.", ".mid.attn_1."),
    (r"\.group_norm\.", ".norm."),
    (r"\.to_out\.0\.", ".proj_out."),
    (r"\.to_([qkv])\.", r".\1."),
    (r"\.resnets\.", ".block."),
    (r"\.(down|up)samplers\.0\.", r".\1sample."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.conv_norm_out\.", ".norm_out."),
)
_OPEN_CLIP = ("token_embedding.weight", "positional_embedding", "ln_final.weight", "ln_final.bias")
_OPEN_CLIP_MODULES = ("ln_1.", "ln_2.", "mlp.c_fc.", "mlp.c_proj.", "attn.out_proj.", "attn.in_proj_")


def checkpoint_tensors(model: Model, clip: Clip | None, vae: Vae | None) -> Tensors:
    """A model, with its text encoders and VAE where they are given, as one file holds them.

    Raises:
        NodeFailure: A network has tensors that this layout has no names for.
    """
    network = model.recipe.module(model.devices)
    held = _prefixed(UNET, unet_tensors(network)) | _markers(model, network)
    if clip is not None:
        for prefix, tensors in _embedders(clip):
            held |= _prefixed(prefix, tensors)
    if vae is not None:
        held |= _prefixed(VAE, vae_tensors(vae))
    return held


def unet_tensors(network: nn.Module) -> Tensors:
    """The tensors of a UNet in the latent-diffusion layout.

    Raises:
        NodeFailure: One of them has no name there.
    """
    held = dict(network.named_parameters())
    names = unet_keys(held)
    if unnamed := held.keys() - names.keys():
        raise NodeFailure(
            f"the UNet cannot be saved as a single file: the layout has no name for {min(unnamed)}",
            "only UNets of the Stable Diffusion kind have such files",
        )
    return {names[name]: value for name, value in held.items()}


def vae_tensors(vae: Vae) -> Tensors:
    """The tensors of an autoencoder in the latent-diffusion layout; its attention is of 1x1 convolutions."""
    held = dict(vae.recipe.module(vae.devices).named_parameters())
    levels = vae_levels({name: tuple(value.shape) for name, value in held.items()})
    named = {_vae_name(name, levels): value for name, value in held.items()}
    attention = re.compile(r"\.attn_1\.(q|k|v|proj_out)\.weight$")
    return {
        name: value[..., None, None] if attention.search(name) and value.ndim == 2 else value
        for name, value in named.items()
    }


def encoder_tensors(clip: Clip, tower: Tower) -> Tensors:
    """The tensors of one text encoder alone, in transformers' layout."""
    bare = _bare(tower.recipe, clip)
    return {
        name if name.startswith("text_projection") else f"text_model.{name}": v for name, v in bare.items()
    }


def lora_names(model: Model | None, clip: Clip | None) -> Tensors:
    """The weights of a model and of text encoders by the names that LoRA files have for them.

    Raises:
        NodeFailure: The UNet has tensors that the latent-diffusion layout has no names for.
    """
    held: Tensors = {}
    if model is not None:
        held |= _prefixed("diffusion_model.", unet_tensors(model.recipe.module(model.devices)))
    if clip is not None:
        for tower in clip.towers:
            prefix = f"text_encoders.clip_{tower.name}.transformer."
            held |= _prefixed(prefix, encoder_tensors(clip, tower))
    return held


def description(model: Model, title: str) -> dict[str, str]:
    """What a checkpoint says of itself (Stability AI's model metadata specification 1.0.0)."""
    network = model.recipe.module(model.devices)
    line = Unet.configured(getattr(network, "config", {})).line
    architecture = _ARCHITECTURES.get(line.name if line else "")
    is_v = model.sampling.prediction == "v_prediction"
    if line and line.name.endswith("2.x"):
        architecture = "stable-diffusion-v2-768-v" if is_v else "stable-diffusion-v2-512"
    found = {
        "sai_model_spec": "1.0.0" if architecture else None,
        "architecture": architecture,
        "implementation": "https://github.com/Stability-AI/generative-models" if architecture else None,
        "title": title,
        "predict_key": "v" if is_v else "epsilon",
    }
    return {f"modelspec.{key}": value for key, value in found.items() if value is not None}


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file.

    Raises:
        OSError: The disk is full, or the folder cannot be written to.
    """
    held = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    try:
        safetensors.torch.save_file(held, path, {"format": "pt", **metadata})
    except SafetensorError as error:
        raise OSError(str(error)) from error


def _prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + key: value for key, value in tensors.items()}


def _embedders(clip: Clip) -> Iterator[tuple[str, Tensors]]:
    """The text encoders of a checkpoint, each with its prefix; all but CLIP-L have OpenCLIP's names."""
    sdxl = any(tower.name == "g" for tower in clip.towers)
    for i, tower in enumerate(clip.towers):
        start = f"conditioner.embedders.{i}." if sdxl else "cond_stage_model."
        bare = _bare(tower.recipe, clip)
        if tower.name == "l":
            bare.pop("text_projection.weight", None)
            yield f"{start}transformer.text_model.", bare
        else:
            yield f"{start}model.", _open_clip(bare)


def _bare(recipe: Recipe, clip: Clip) -> Tensors:
    held = recipe.module(clip.devices).named_parameters()
    return {name.removeprefix("text_model."): value for name, value in held}


def _open_clip(held: Tensors) -> Tensors:
    """A text encoder's tensors under OpenCLIP's names, its projections joined and the last one turned."""
    layers = 1 + max(int(m[1]) for name in held if (m := re.match(r"encoder\.layers\.(\d+)\.", name)))
    keys = [
        f"transformer.resblocks.{i}.{module}{leaf}"
        for i in range(layers)
        for module in _OPEN_CLIP_MODULES
        for leaf in ("weight", "bias")
    ]
    made: Tensors = {}
    for key in (*_OPEN_CLIP, *keys):
        parts = [held[name] for name in open_clip.names(key)]
        made[key] = parts[0] if len(parts) == 1 else torch.cat(parts)
    if "text_projection.weight" in held:
        made["text_projection"] = held["text_projection.weight"].T
    return made


def _vae_name(name: str, levels: int) -> str:
    """The latent-diffusion name of one tensor of an AutoencoderKL; the inverse of `ldm.vae_key`."""
    name = re.sub(r"^decoder\.up_blocks\.(\d+)\.", lambda m: f"decoder.up.{levels - 1 - int(m[1])}.", name)
    name = re.sub(r"\.mid_block\.resnets\.(\d)\.", lambda m: f".mid.block_{int(m[1]) + 1}.", name)
    for ours, theirs in _VAE_NAMES:
        name = re.sub(ours, theirs, name)
    return name


def _markers(model: Model, network: nn.Module) -> Tensors:
    """The keys by which a file of SDXL tells what it predicts, and from which noise levels."""
    sampling, line = model.sampling, Unet.configured(getattr(network, "config", {})).line
    if line is not SDXL_BASE or sampling.prediction != "v_prediction":
        return {}
    if isinstance(sampling.levels, Continuous):
        ends = {"sigma_min": sampling.levels.lowest, "sigma_max": sampling.levels.highest}
        return {f"edm_vpred.{name}": torch.tensor(value) for name, value in ends.items()}
    shifted = isinstance(sampling.levels, Discrete) and sampling.levels.zero_snr
    return {name: torch.zeros(0) for name in (("v_pred", "ztsnr") if shifted else ("v_pred",))}
