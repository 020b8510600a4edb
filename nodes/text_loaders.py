"""Loaders of text encoders that come in files of their own."""

from typing import Annotated, Literal

from engine.devices import Devices
from engine.files import Files
from engine.node import node
from engine.ports import Given, Hint, Omittable
from engine.problems import NodeFailure
from nodes.diffusion import families
from nodes.diffusion.families import towers
from nodes.diffusion.text import Clip
from nodes.loaders import weights_of

ClipType = Literal[
    "stable_diffusion", "stable_cascade", "sd3", "stable_audio", "mochi", "ltxv", "pixart", "cosmos",
    "lumina2", "wan", "hidream", "chroma", "ace", "omnigen2", "qwen_image", "hunyuan_image",
]  # fmt: skip
DualClipType = Literal["sdxl", "sd3", "flux", "hunyuan_video", "hidream", "hunyuan_image"]
Device = Annotated[Literal["default", "cpu"], Omittable(), Hint("advanced")]
ClipFile = Annotated[str, weights_of("text_encoders")]


def clip_digest(*, clip_name: str, files: Files) -> str:
    """The content of a text encoder."""
    return files.digest("text_encoders", clip_name)


@node("CLIPLoader", category="advanced/loaders", title="Load CLIP", fingerprint=clip_digest)
def clip_loader(
    *,
    clip_name: ClipFile,
    type: ClipType,
    device: Device = "default",
    files: Annotated[Files, Given()],
    devices: Annotated[Devices, Given()],
) -> Clip:
    """Load a text encoder that comes alone: CLIP-L, OpenCLIP-H or OpenCLIP-bigG.

    Args:
        clip_name: A file in the text_encoders or clip folder.
        type: The model family that it is for; "stable_diffusion" is known.
        device: "cpu" computes off the GPU.
    """
    if type != "stable_diffusion":
        raise NodeFailure(f"text encoders of type {type!r} are not known", "known: 'stable_diffusion'")
    return _read(clip_name, files, _where(device, devices))


def dual_clip_digest(*, clip_name1: str, clip_name2: str, files: Files) -> str:
    """The content of two text encoders."""
    return f"{files.digest('text_encoders', clip_name1)} {files.digest('text_encoders', clip_name2)}"


@node("DualCLIPLoader", category="advanced/loaders", title="DualCLIPLoader", fingerprint=dual_clip_digest)
def dual_clip_loader(
    *,
    clip_name1: ClipFile,
    clip_name2: ClipFile,
    type: DualClipType,
    device: Device = "default",
    files: Annotated[Files, Given()],
    devices: Annotated[Devices, Given()],
) -> Clip:
    """Load the two text encoders of SDXL from files of their own, in either order.

    Args:
        clip_name1: A file in the text_encoders or clip folder.
        clip_name2: Another one.
        type: The model family that they are for; "sdxl" is known.
        device: "cpu" computes off the GPU.
    """
    if type != "sdxl":
        raise NodeFailure(f"pairs of text encoders of type {type!r} are not known", "known: 'sdxl'")
    where = _where(device, devices)
    return towers.sdxl(_read(clip_name1, files, where), _read(clip_name2, files, where))


def _read(name: str, files: Files, devices: Devices) -> Clip:
    return families.text_encoder(
        files.find("text_encoders", name), files.digest("text_encoders", name), devices
    )


def _where(device: str, devices: Devices) -> Devices:
    return Devices("cpu") if device == "cpu" and devices.device != "cpu" else devices
