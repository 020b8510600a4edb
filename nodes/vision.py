"""Nodes that show pictures to a model: CLIP's picture encoder, and unCLIP models."""

from pathlib import Path
from typing import Annotated, Literal

from engine.devices import Devices
from engine.files import Files
from engine.node import node
from engine.ports import Given, Range
from engine.problems import NodeFailure
from engine.steps import Steps
from nodes.diffusion import families
from nodes.diffusion.autoencoder import Vae
from nodes.diffusion.families import vision
from nodes.diffusion.model import Model
from nodes.diffusion.text import Clip
from nodes.diffusion.unclip import PictureUse
from nodes.diffusion.vision import ClipVision, VisionOutput
from nodes.diffusion.weights import Recipe
from nodes.loaders import checkpoint_digest, weights_of
from nodes.ports import Conditioning, Fraction, Image


def vision_digest(*, clip_name: str, files: Files) -> str:
    """The content of a picture encoder."""
    return files.digest("clip_vision", clip_name)


@node("CLIPVisionLoader", category="loaders", title="Load CLIP Vision", fingerprint=vision_digest)
def clip_vision_loader(
    *,
    clip_name: Annotated[str, weights_of("clip_vision")],
    files: Annotated[Files, Given()],
    devices: Annotated[Devices, Given()],
) -> ClipVision:
    """Load a picture encoder.

    Args:
        clip_name: A file or folder in the clip_vision folder.
    """
    path = files.find("clip_vision", clip_name)
    vision.check(path)
    return _encoder(files.digest("clip_vision", clip_name), path, devices)


@node("CLIPVisionEncode", category="conditioning", title="CLIP Vision Encode")
def clip_vision_encode(
    *, clip_vision: ClipVision, image: Image, crop: Literal["center", "none"]
) -> Steps[VisionOutput]:
    """Encode pictures as CLIP sees them.

    Args:
        clip_vision: The picture encoder.
        image: The pictures.
        crop: "center" cuts a square from the middle, "none" squeezes the picture into one.
    """
    return (yield from clip_vision.encoded(image, crop=crop == "center"))


@node(
    "unCLIPCheckpointLoader",
    category="loaders",
    title="unCLIPCheckpointLoader",
    fingerprint=checkpoint_digest,
)
def unclip_checkpoint_loader(
    *,
    ckpt_name: Annotated[str, weights_of("checkpoints")],
    files: Annotated[Files, Given()],
    devices: Annotated[Devices, Given()],
) -> tuple[Model, Clip, Vae, ClipVision]:
    """Load an unCLIP model with its text encoder, its VAE and its picture encoder.

    Args:
        ckpt_name: A file in the checkpoints folder.
    """
    digest, path = files.digest("checkpoints", ckpt_name), files.find("checkpoints", ckpt_name)
    found = families.checkpoint(path, digest, devices)
    if found.model.added.vector != "unclip":
        raise NodeFailure(f"{ckpt_name} is no unCLIP checkpoint", "load it with CheckpointLoaderSimple")
    vision.check(path)
    return found.model, found.clip, found.vae, _encoder(digest, path, devices)


@node("unCLIPConditioning", category="conditioning", title="unCLIPConditioning")
def unclip_conditioning(
    *,
    conditioning: Conditioning,
    clip_vision_output: VisionOutput,
    strength: Annotated[float, Range(-10.0, 10.0, step=0.01)] = 1.0,
    noise_augmentation: Fraction = 0.0,
) -> Conditioning:
    """Show an unCLIP model a picture; several can follow each other.

    Args:
        conditioning: What to paint besides.
        clip_vision_output: The picture.
        strength: How much it counts; 0 leaves it out.
        noise_augmentation: How far to stray from it.
    """
    if strength == 0:
        return conditioning
    use = PictureUse(clip_vision_output, strength, noise_augmentation)
    return conditioning.mapped(
        lambda entry: entry.with_options(unclip_conditioning=(*entry.get("unclip_conditioning", ()), use))
    )


def _encoder(digest: str, path: Path, devices: Devices) -> ClipVision:
    return ClipVision(Recipe(digest, "clip_vision", vision.NAME, path), devices)
