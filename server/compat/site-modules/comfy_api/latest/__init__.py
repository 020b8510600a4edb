"""The newest form of the API: nodes with a schema, what they show, what they may tell."""

from typing import Any

from comfy_api.latest import _io, _ui
from comfy_api.latest import _io as comfy_io
from comfy_api.latest import _io as io
from comfy_api.latest import _ui as ui
from comfy_api.latest._calls import ComfyAPI, ComfyAPISync
from comfy_api.latest._values import (
    AudioInput,
    ImageInput,
    LatentInput,
    MaskInput,
    VideoCodec,
    VideoComponents,
    VideoContainer,
    VideoInput,
)
from comfy_api.latest._videos import VideoFromComponents, VideoFromFile

IO, UI = _io, _ui
ComfyAPI_latest = ComfyAPI


class ComfyExtension:
    """A pack: extend it with `get_node_list`."""

    async def on_load(self) -> None:
        """Called once, before the nodes are asked for."""

    async def get_node_list(self) -> list[Any]:
        """The classes of its nodes."""
        raise NotImplementedError(f"{type(self).__name__} has no get_node_list")


class Input:
    """What inputs hold, by type."""

    Image = ImageInput
    Audio = AudioInput
    Mask = MaskInput
    Latent = LatentInput
    Video = VideoInput


class InputImpl:
    """Videos."""

    VideoFromFile = VideoFromFile
    VideoFromComponents = VideoFromComponents


class Types:
    """What videos are made of."""

    VideoCodec = VideoCodec
    VideoContainer = VideoContainer
    VideoComponents = VideoComponents


__all__ = [
    "IO",
    "UI",
    "ComfyAPI",
    "ComfyAPISync",
    "ComfyExtension",
    "Input",
    "InputImpl",
    "Types",
    "comfy_io",
    "io",
    "ui",
]
