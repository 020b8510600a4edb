"""Version 0_0_2 of the API: the same as the newest."""

from comfy_api.latest import (
    ComfyAPI,
    ComfyAPISync,
    ComfyExtension,
    Input,
    InputImpl,
    Types,
    comfy_io,
    io,
    ui,
)

__all__ = [
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
