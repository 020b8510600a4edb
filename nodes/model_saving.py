"""Models to files: checkpoints, their parts, and LoRAs, in the ecosystem's own layouts."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Literal

from torch import Tensor

from engine.files import Files, SavedFile
from engine.node import node
from engine.ports import Given, Hint, Range, Shown
from engine.prefixes import expand_prefix
from engine.problems import NodeFailure
from nodes.diffusion import saving
from nodes.diffusion.autoencoder import Vae
from nodes.diffusion.extraction import extracted
from nodes.diffusion.lora import LoraWeights
from nodes.diffusion.model import Model
from nodes.diffusion.text import Clip
from nodes.image_files import ExtraInfo, Prompt, workflow_texts

_MERGING = "advanced/model_merging"


def _written(files: Files, prefix: str, tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> SavedFile:
    name = expand_prefix(prefix, 0, 0)
    return files.write("output", name, ".safetensors", lambda path: saving.write(path, tensors, texts))


def _title(prefix: str) -> str:
    return PurePosixPath(prefix.replace("\\", "/")).name


@node("CheckpointSave", category=_MERGING, title="Save Checkpoint", is_output=True, lane="device")
def checkpoint_save(
    *,
    model: Model,
    clip: Clip,
    vae: Vae,
    filename_prefix: str = "checkpoints/ComfyUI",
    prompt: Prompt = None,
    extra_pnginfo: ExtraInfo = None,
    files: Annotated[Files, Given()],
) -> Shown[None]:
    """Write a model with its text encoders and VAE as a numbered checkpoint file to the output folder.

    Args:
        model: Saved as it is, LoRAs and merges included, in the type that it is computed in.
        clip: Its text encoders, likewise.
        vae: Its autoencoder, likewise.
        filename_prefix: Start of the file name, with subfolders if wanted.
    """
    texts = saving.description(model, _title(filename_prefix)) | workflow_texts(prompt, extra_pnginfo)
    tensors = saving.checkpoint_tensors(model, clip, vae)
    return Shown(None, {"models": [_written(files, filename_prefix, tensors, texts).as_link()]})


@node("ModelSave", category=_MERGING, is_output=True, lane="device")
def model_save(
    *,
    model: Model,
    filename_prefix: str = "diffusion_models/ComfyUI",
    prompt: Prompt = None,
    extra_pnginfo: ExtraInfo = None,
    files: Annotated[Files, Given()],
) -> Shown[None]:
    """Write a model without text encoders and VAE as a numbered file to the output folder.

    Args:
        model: Saved as it is, LoRAs and merges included, in the type that it is computed in.
        filename_prefix: Start of the file name, with subfolders if wanted.
    """
    texts = saving.description(model, _title(filename_prefix)) | workflow_texts(prompt, extra_pnginfo)
    tensors = saving.checkpoint_tensors(model, None, None)
    return Shown(None, {"models": [_written(files, filename_prefix, tensors, texts).as_link()]})


@node("CLIPSave", category=_MERGING, is_output=True, lane="device")
def clip_save(
    *,
    clip: Clip,
    filename_prefix: str = "clip/ComfyUI",
    prompt: Prompt = None,
    extra_pnginfo: ExtraInfo = None,
    files: Annotated[Files, Given()],
) -> Shown[None]:
    """Write each text encoder of a model as a numbered file to the output folder.

    Args:
        clip: Saved as it is, LoRAs and merges included.
        filename_prefix: Start of the file names, with subfolders if wanted; "_clip_l", "_clip_g" or "_clip_h"
            follows.
    """
    texts = workflow_texts(prompt, extra_pnginfo)
    saved = [
        _written(files, f"{filename_prefix}_clip_{tower.name}", saving.encoder_tensors(clip, tower), texts)
        for tower in clip.towers
    ]
    return Shown(None, {"models": [file.as_link() for file in saved]})


@node("VAESave", category=_MERGING, is_output=True, lane="device")
def vae_save(
    *,
    vae: Vae,
    filename_prefix: str = "vae/ComfyUI_vae",
    prompt: Prompt = None,
    extra_pnginfo: ExtraInfo = None,
    files: Annotated[Files, Given()],
) -> Shown[None]:
    """Write a VAE as a numbered file to the output folder.

    Args:
        vae: Saved in the type that it is computed in.
        filename_prefix: Start of the file name, with subfolders if wanted.
    """
    texts = workflow_texts(prompt, extra_pnginfo)
    return Shown(
        None, {"models": [_written(files, filename_prefix, saving.vae_tensors(vae), texts).as_link()]}
    )


@node("LoraSave", category="_for_testing", title="Extract and Save Lora", is_output=True, lane="device")
def lora_save(
    *,
    filename_prefix: Annotated[str, Hint("multiline", False)] = "loras/ComfyUI_extracted_lora",
    rank: Annotated[int, Range(1, 4096, step=1)] = 8,
    lora_type: Literal["standard", "full_diff"],
    bias_diff: bool = True,
    model_diff: Model | None = None,
    text_encoder_diff: Clip | None = None,
    prompt: Prompt = None,
    extra_pnginfo: ExtraInfo = None,
    files: Annotated[Files, Given()],
) -> Shown[None]:
    """Write a difference of models as a LoRA file to the output folder.

    Args:
        filename_prefix: Start of the file name, with subfolders if wanted.
        rank: Of the change of each weight; higher is nearer and larger.
        lora_type: "standard" keeps the nearest change of that rank, "full_diff" the whole difference.
        bias_diff: Whether the differences of biases are in it.
        model_diff: What ModelMergeSubtract makes of two models.
        text_encoder_diff: What CLIPMergeSubtract makes of two text encoders.

    Raises:
        NodeFailure: No difference is given.
    """
    differences = saving.lora_names(model_diff, text_encoder_diff)
    if not differences:
        raise NodeFailure("there is no difference to save", "link model_diff or text_encoder_diff, or both")
    tensors = dict(extracted(differences, rank if lora_type == "standard" else None, bias_diff))
    texts = workflow_texts(prompt, extra_pnginfo)
    return Shown(None, {"models": [_written(files, filename_prefix, tensors, texts).as_link()]})


@node("SaveLoRANode", category="loaders", title="Save LoRA Weights", is_output=True)
def save_lora(
    *,
    lora: LoraWeights,
    prefix: str = "loras/ComfyUI_trained_lora",
    steps: Annotated[int | None, Hint("forceInput")] = None,
    files: Annotated[Files, Given()],
) -> Shown[None]:
    """Write a LoRA that lies in memory as a numbered file to the output folder.

    Args:
        lora: As training leaves it.
        prefix: Start of the file name, with subfolders if wanted.
        steps: How long it was trained; told in the file name.
    """
    name = prefix if steps is None else f"{prefix}_{steps}_steps"
    return Shown(None, {"models": [_written(files, name, lora.held, {}).as_link()]})
