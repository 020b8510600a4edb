"""Loaders: files in the model folders to recipes; weights are read when they are first used."""

from dataclasses import replace
from typing import Annotated, Literal

from engine.devices import Devices
from engine.files import WEIGHT_SUFFIXES, Files
from engine.node import node
from engine.ports import Env, Given, OneOf, Range
from engine.problems import NodeFailure
from nodes.diffusion import families
from nodes.diffusion.autoencoder import Vae
from nodes.diffusion.control import ControlNet
from nodes.diffusion.families import controlnet
from nodes.diffusion.lora import LoraPatch, LoraWeights
from nodes.diffusion.model import Model
from nodes.diffusion.text import Clip
from nodes.diffusion.upscaler import UpscaleModel
from nodes.diffusion.weights import Recipe

Strength = Annotated[float, Range(-100.0, 100.0, step=0.01)]


def weights_of(role: str) -> OneOf:
    """The weight files and model folders of a role."""

    def names(env: Env) -> list[str]:
        return env[Files].names(role, WEIGHT_SUFFIXES)

    return OneOf(names, role)


def diffusers_folders(env: Env) -> list[str]:
    """The folders of the diffusers layout."""
    files = env[Files]
    return [
        name for name in files.names("diffusers", WEIGHT_SUFFIXES) if files.find("diffusers", name).is_dir()
    ]


def checkpoint_digest(*, ckpt_name: str, files: Files) -> str:
    """The content of a checkpoint."""
    return files.digest("checkpoints", ckpt_name)


@node("CheckpointLoaderSimple", category="loaders", title="Load Checkpoint", fingerprint=checkpoint_digest)
def checkpoint_loader_simple(
    *,
    ckpt_name: Annotated[str, weights_of("checkpoints")],
    files: Annotated[Files, Given()],
    devices: Annotated[Devices, Given()],
) -> tuple[Model, Clip, Vae]:
    """Load a diffusion model with its text encoder and its VAE.

    Args:
        ckpt_name: A file or a diffusers folder in the checkpoints folder.
    """
    digest = files.digest("checkpoints", ckpt_name)
    found = families.checkpoint(files.find("checkpoints", ckpt_name), digest, devices)
    return found.model, found.clip, found.vae


def diffusers_digest(*, model_path: str, files: Files) -> str:
    """The content of a diffusers folder."""
    return files.digest("diffusers", model_path)


@node(
    "DiffusersLoader",
    category="advanced/loaders/deprecated",
    title="DiffusersLoader",
    fingerprint=diffusers_digest,
)
def diffusers_loader(
    *,
    model_path: Annotated[str, OneOf(diffusers_folders, "diffusers")],
    files: Annotated[Files, Given()],
    devices: Annotated[Devices, Given()],
) -> tuple[Model, Clip, Vae]:
    """Load a diffusion model with its text encoder and its VAE from a diffusers folder.

    Args:
        model_path: A folder with a `model_index.json`.
    """
    digest = files.digest("diffusers", model_path)
    found = families.checkpoint(files.find("diffusers", model_path), digest, devices)
    return found.model, found.clip, found.vae


def unet_digest(*, unet_name: str, files: Files) -> str:
    """The content of a diffusion model."""
    return files.digest("diffusion_models", unet_name)


@node("UNETLoader", category="advanced/loaders", title="Load Diffusion Model", fingerprint=unet_digest)
def unet_loader(
    *,
    unet_name: Annotated[str, weights_of("diffusion_models")],
    weight_dtype: Literal["default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"],
    files: Annotated[Files, Given()],
    devices: Annotated[Devices, Given()],
) -> Model:
    """Load a diffusion model that comes without text encoder and VAE.

    Args:
        unet_name: A file in the diffusion_models or unet folder.
        weight_dtype: Only "default": weights are kept in the type that they are computed in.
    """
    if weight_dtype != "default":
        raise NodeFailure(f"weights cannot be kept as {weight_dtype}", "choose weight_dtype 'default'")
    return families.model(
        files.find("diffusion_models", unet_name), unet_digest(unet_name=unet_name, files=files), devices
    )


def vae_digest(*, vae_name: str, files: Files) -> str:
    """The content of a VAE."""
    return files.digest("vae", vae_name)


@node("VAELoader", category="loaders", title="Load VAE", fingerprint=vae_digest)
def vae_loader(
    *,
    vae_name: Annotated[str, weights_of("vae")],
    files: Annotated[Files, Given()],
    devices: Annotated[Devices, Given()],
) -> Vae:
    """Load a VAE that comes alone.

    Args:
        vae_name: A file or a diffusers folder in the vae folder.
    """
    return families.vae(files.find("vae", vae_name), files.digest("vae", vae_name), devices)


def control_net_digest(*, control_net_name: str, files: Files) -> str:
    """The content of a ControlNet."""
    return files.digest("controlnet", control_net_name)


@node("ControlNetLoader", category="loaders", title="Load ControlNet Model", fingerprint=control_net_digest)
def control_net_loader(
    *,
    control_net_name: Annotated[str, weights_of("controlnet")],
    files: Annotated[Files, Given()],
    devices: Annotated[Devices, Given()],
) -> ControlNet:
    """Load a network that steers a model by a picture.

    Args:
        control_net_name: A file or a diffusers folder in the controlnet folder.
    """
    path, digest = files.find("controlnet", control_net_name), files.digest("controlnet", control_net_name)
    return controlnet.control_net(path, digest, devices)


@node(
    "DiffControlNetLoader",
    category="loaders",
    title="Load ControlNet Model (diff)",
    fingerprint=control_net_digest,
)
def diff_control_net_loader(
    *,
    model: Model,
    control_net_name: Annotated[str, weights_of("controlnet")],
    files: Annotated[Files, Given()],
    devices: Annotated[Devices, Given()],
) -> ControlNet:
    """Load a network that steers a model by a picture, and that may be kept as differences from the model.

    Args:
        model: The model whose weights, LoRAs included, are added.
        control_net_name: A file or a diffusers folder in the controlnet folder.
    """
    path, digest = files.find("controlnet", control_net_name), files.digest("controlnet", control_net_name)
    return controlnet.control_net(path, digest, devices, model.recipe)


def lora_digest(*, lora_name: str, files: Files) -> str:
    """The content of a LoRA."""
    return files.digest("loras", lora_name)


@node("LoraLoader", category="loaders", title="Load LoRA", fingerprint=lora_digest, version=2)
def lora_loader(
    *,
    model: Model,
    clip: Clip,
    lora_name: Annotated[str, weights_of("loras")],
    strength_model: Strength = 1.0,
    strength_clip: Strength = 1.0,
    files: Annotated[Files, Given()],
) -> tuple[Model, Clip]:
    """Change a model and its text encoder by a LoRA; several can follow each other.

    Args:
        model: The model to change; others that use it keep it as it was.
        clip: The text encoder to change.
        lora_name: A file in the loras folder.
        strength_model: How much of the model's change; 0 none, negative the opposite.
        strength_clip: How much of the text encoder's change.
    """
    alone = len(clip.towers) == 1
    unet, text = (_lora(lora_name, strength, files, alone) for strength in (strength_model, strength_clip))
    return replace(model, recipe=unet.on(model.recipe)), clip.recipes(text.on)


@node(
    "LoraLoaderModelOnly",
    category="loaders",
    title="LoraLoaderModelOnly",
    fingerprint=lora_digest,
    version=2,
)
def lora_loader_model_only(
    *,
    model: Model,
    lora_name: Annotated[str, weights_of("loras")],
    strength_model: Strength = 1.0,
    files: Annotated[Files, Given()],
) -> Model:
    """Change a model by a LoRA, but not its text encoder.

    Args:
        model: The model to change; others that use it keep it as it was.
        lora_name: A file in the loras folder.
        strength_model: How much of the change; 0 none, negative the opposite.
    """
    return replace(model, recipe=_lora(lora_name, strength_model, files).on(model.recipe))


@node("LoraModelLoader", category="loaders", title="Load LoRA Model")
def lora_model_loader(*, model: Model, lora: LoraWeights, strength_model: Strength = 1.0) -> Model:
    """Change a model by a LoRA that lies in memory, as training leaves it.

    Args:
        model: The model to change; others that use it keep it as it was.
        lora: The LoRA.
        strength_model: How much of the change; 0 none, negative the opposite.
    """
    patch = LoraPatch(lora.digest, "LoRA in memory", strength_model, lora.held)
    return replace(model, recipe=patch.on(model.recipe))


def upscaler_digest(*, model_name: str, files: Files) -> str:
    """The content of an upscaling network."""
    return files.digest("upscale_models", model_name)


@node("UpscaleModelLoader", category="loaders", title="Load Upscale Model", fingerprint=upscaler_digest)
def upscale_model_loader(
    *,
    model_name: Annotated[str, weights_of("upscale_models")],
    files: Annotated[Files, Given()],
    devices: Annotated[Devices, Given()],
) -> UpscaleModel:
    """Load a network that enlarges pictures.

    Args:
        model_name: A file of any architecture that spandrel knows.
    """
    digest, path = files.digest("upscale_models", model_name), files.find("upscale_models", model_name)
    return UpscaleModel(Recipe(digest, "upscaler", "upscaler", path), devices)


def _lora(name: str, strength: float, files: Files, alone: bool = False) -> LoraPatch:
    return LoraPatch(files.digest("loras", name), name, strength, files.find("loras", name), alone)
