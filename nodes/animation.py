"""Saving batches of pictures as animations, with the workflow inside."""

import io
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

import PIL.Image
import PIL.PngImagePlugin
from torch import Tensor

from engine.files import Files
from engine.node import node
from engine.ports import Given, Range, Shown
from engine.prefixes import expand_prefix
from nodes.image_files import ExtraInfo, Prompt, pictures, workflow_texts
from nodes.ports import Image

FrameRate: TypeAlias = Annotated[float, Range(0.01, 1000.0, step=0.01)]


@node("SaveAnimatedPNG", category="image/animation", is_output=True)
def save_animated_png(
    *,
    images: Image,
    filename_prefix: str = "ComfyUI",
    fps: FrameRate = 6.0,
    compress_level: Annotated[int, Range(0, 9)] = 4,
    prompt: Prompt = None,
    extra_pnginfo: ExtraInfo = None,
    files: Annotated[Files, Given()],
) -> Shown[None]:
    """Write a batch as one animated PNG to the output folder, with the workflow inside.

    Args:
        images: The frames.
        filename_prefix: As for SaveImage.
        fps: Frames in a second.
        compress_level: 0 writes fastest, 9 smallest.
    """
    info = PIL.PngImagePlugin.PngInfo()
    for key, text in workflow_texts(prompt, extra_pnginfo).items():
        info.add(b"comf", key.encode("latin-1") + b"\0" + text.encode("latin-1"), after_idat=True)
    options = {"pnginfo": info, "compress_level": compress_level}
    return _animated(files, filename_prefix, images, fps, ".png", options)


@node("SaveAnimatedWEBP", category="image/animation", is_output=True)
def save_animated_webp(
    *,
    images: Image,
    filename_prefix: str = "ComfyUI",
    fps: FrameRate = 6.0,
    lossless: bool = True,
    quality: Annotated[int, Range(0, 100)] = 80,
    method: Literal["default", "fastest", "slowest"],
    prompt: Prompt = None,
    extra_pnginfo: ExtraInfo = None,
    files: Annotated[Files, Given()],
) -> Shown[None]:
    """Write a batch as one animated WebP to the output folder, with the workflow in its EXIF data.

    Args:
        images: The frames.
        filename_prefix: As for SaveImage.
        fps: Frames in a second.
        lossless: Whether the pixels are kept exactly.
        quality: 0 is smallest; where lossless, how hard to compress.
        method: How much time to spend on compression.
    """
    exif = PIL.Image.Exif()
    texts = workflow_texts(prompt, extra_pnginfo)
    tags = [0x0110, *range(0x010F, 0x010F - len(texts), -1)] if "prompt" in texts else range(0x010F, 0, -1)
    for tag, (key, text) in zip(tags, texts.items(), strict=False):
        exif[tag] = f"{key}:{text}"
    speed = {"default": 4, "fastest": 0, "slowest": 6}[method]
    options = {"exif": exif, "lossless": lossless, "quality": quality, "method": speed}
    return _animated(files, filename_prefix, images, fps, ".webp", options)


def _animated(
    files: Files, prefix: str, images: Tensor, fps: float, suffix: str, options: Mapping[str, Any]
) -> Shown[None]:
    first, *others = pictures(images)
    encoded = io.BytesIO()
    first.save(
        encoded,
        suffix[1:].upper(),
        save_all=True,
        append_images=others,
        duration=int(1000 / fps),
        **options,
    )
    saved = files.write(
        "output", expand_prefix(prefix, first.width, first.height), suffix, encoded.getvalue()
    )
    return Shown(None, {"images": [saved.as_link()], "animated": [True]})
