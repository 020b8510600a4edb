"""Pictures from and to files: loading with masks, saving with the workflow inside."""

import io
import json
import random
import string
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, TypeAlias

import numpy as np
import PIL.Image
import PIL.ImageOps
import PIL.PngImagePlugin
import torch
from torch import Tensor

from engine.files import Files
from engine.node import node
from engine.ports import Env, Given, Hidden, Hint, OneOf, Shown, Written
from engine.prefixes import expand_prefix
from engine.problems import NodeFailure, Wrong, nearest
from engine.steps import Progress, Steps
from nodes.ports import Image, Json, Mask

MAX_PIXELS = 100_000_000
"""The most pixels, over all frames, that a picture may have; what claims more is refused before decoding."""

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jfif", ".ico")
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
_FOLDER_SUFFIXES = {" [input]": "input", " [output]": "output", " [temp]": "temp"}


def input_images(env: Env) -> list[str]:
    """The pictures in the input folder."""
    return env[Files].names("input", _SUFFIXES)


def folder_and_name(image: str) -> tuple[str, str]:
    """The folder role and the file name that a workflow means: "a.png", or "a.png [output]" of editors."""
    for suffix, role in _FOLDER_SUFFIXES.items():
        if image.endswith(suffix):
            return role, image.removesuffix(suffix)
    return "input", image


def _image_missing(*, image: str, files: Files) -> Iterator[Wrong]:
    role, name = folder_and_name(image)
    try:
        files.find(role, name)
    except NodeFailure as failure:
        yield Wrong(
            "image",
            failure.message,
            f"put it in the {role} folder",
            "value_not_in_list",
            lambda: nearest(name, files.names(role, _SUFFIXES)),
        )


def _image_digest(*, image: str, files: Files) -> str:
    return files.digest(*folder_and_name(image))


@node(
    "LoadImage",
    category="image",
    title="Load Image",
    check=_image_missing,
    fingerprint=_image_digest,
    version=2,
)
def load_image(
    *,
    image: Annotated[str, OneOf(input_images, role="input"), Hint("image_upload")],
    files: Annotated[Files, Given()],
) -> tuple[Image, Mask]:
    """Read one picture from the input folder; the frames of an animation become a batch.

    Args:
        image: A file in the input folder.

    Returns:
        The picture [frames, H, W, 3], and 1 - alpha [frames, H, W], or zeros [frames, 64, 64] without alpha.

    Raises:
        NodeFailure: The file is no picture, is damaged, or has more than `MAX_PIXELS` pixels.
    """
    frames = _frames(files, image)
    rgba = torch.cat([_tensor(frame) for frame in frames])
    transparent = any(_has_alpha(frame) for frame in frames)
    mask = 1 - rgba[..., 3] if transparent else torch.zeros(len(frames), 64, 64)
    return rgba[..., :3].contiguous(), mask


@node(
    "LoadImageMask",
    category="mask",
    title="Load Image (as Mask)",
    check=_image_missing,
    fingerprint=_image_digest,
)
def load_image_mask(
    *,
    image: Annotated[str, OneOf(input_images, role="input"), Hint("image_upload")],
    channel: Literal["alpha", "red", "green", "blue"],
    files: Annotated[Files, Given()],
) -> Mask:
    """Read one channel of a picture as a mask [1, H, W].

    Args:
        image: A file in the input folder.
        channel: What becomes the mask; alpha is inverted, so that what is transparent is masked.

    Raises:
        NodeFailure: As for LoadImage.
    """
    rgba = _tensor(_frames(files, image)[0])
    if channel == "alpha":
        return 1 - rgba[..., 3]
    return rgba[..., ("red", "green", "blue").index(channel)].clone()


def _frames(files: Files, image: str) -> list[PIL.Image.Image]:
    """The upright frames of a file that have the size of its first one."""
    path = files.find(*folder_and_name(image))
    try:
        with PIL.Image.open(path) as picture:
            count = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
            if picture.width * picture.height * count > MAX_PIXELS:
                raise NodeFailure(
                    f"{image!r} has {picture.width} x {picture.height} pixels in {count} frames",
                    f"at most {MAX_PIXELS:,} pixels are read; scale it down",
                )
            frames = []
            for index in range(count):
                picture.seek(index)
                frames.append(_upright(picture))
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as bomb:
        raise NodeFailure(f"{image!r} is too large: {bomb}", "scale it down") from bomb
    except PIL.UnidentifiedImageError as error:  # its own words would show where the folder is
        raise NodeFailure(
            f"{image!r} is no picture of a kind that can be read", "save it anew, e.g. as PNG"
        ) from error
    except _UNREADABLE as error:
        raise NodeFailure(
            f"{image!r} is no picture that can be read: {error}", "save it anew, e.g. as PNG"
        ) from error
    return [frame for frame in frames if frame.size == frames[0].size]


def _upright(picture: PIL.Image.Image) -> PIL.Image.Image:
    frame = PIL.ImageOps.exif_transpose(picture)
    if frame.mode.startswith("I"):  # 16 and 32 bits of grey: PIL's own conversion clips instead of scaling
        return PIL.Image.fromarray((np.asarray(frame) / 255).clip(0, 255).astype(np.uint8))
    return frame


def _has_alpha(frame: PIL.Image.Image) -> bool:
    return "A" in frame.getbands() or (frame.mode == "P" and "transparency" in frame.info)


def _tensor(frame: PIL.Image.Image) -> Tensor:
    """RGBA [1, H, W, 4] in 0..1."""
    return torch.from_numpy(np.array(frame.convert("RGBA"), dtype=np.float32) / 255)[None]


Prompt: TypeAlias = Annotated[Json, Hidden("PROMPT")]
ExtraInfo: TypeAlias = Annotated[Json, Hidden("EXTRA_PNGINFO")]


@node("SaveImage", category="image", title="Save Image", is_output=True)
def save_image(
    *,
    images: Image,
    filename_prefix: str = "ComfyUI",
    prompt: Prompt = None,
    extra_pnginfo: ExtraInfo = None,
    files: Annotated[Files, Given()],
) -> Shown[None]:
    """Write pictures as numbered PNG files to the output folder, with the workflow that made them inside.

    Args:
        images: The pictures; each becomes a file.
        filename_prefix: Start of the file names, with subfolders if wanted; `%width%`, `%height%`, `%year%`,
            `%month%`, `%day%`, `%hour%`, `%minute%`, `%second%`, `%date:yyyy-MM-dd%` and `%batch_num%` are
            filled in.
    """
    texts = workflow_texts(prompt, extra_pnginfo)
    return Shown(None, {"images": _write_pngs(files, "output", filename_prefix, images, texts, level=4)})


@node("PreviewImage", category="image", title="Preview Image", is_output=True)
def preview_image(
    *, images: Image, prompt: Prompt = None, extra_pnginfo: ExtraInfo = None, files: Annotated[Files, Given()]
) -> Shown[None]:
    """Show pictures without keeping them: they are written to the temporary folder.

    Args:
        images: The pictures to show.
    """
    return Shown(None, {"images": write_preview(files, images, workflow_texts(prompt, extra_pnginfo))})


@node(
    "SaveImageWebsocket", category="api/image", title="Save Image (Websocket)", is_output=True, volatile=True
)
def save_image_websocket(*, images: Image) -> Steps[None]:
    """Send pictures to the client's socket as PNG, one binary message each, and write nothing.

    Args:
        images: The pictures to send.
    """
    for number, picture in enumerate(pictures(images)):
        yield Progress(number + 1, len(images), preview=("PNG", picture, None))


def write_preview(files: Files, images: Tensor, texts: Mapping[str, str]) -> list[dict[str, str]]:
    """Write pictures [B, H, W, C] to the temporary folder, under names that no earlier preview had."""
    prefix = "ComfyUI_temp_" + "".join(random.choices(string.ascii_lowercase, k=5))
    return _write_pngs(files, "temp", prefix, images, texts, level=1)


def workflow_texts(prompt: Json, extra: Json) -> dict[str, str]:
    """What a file says about its making, as JSON texts: `prompt`, and the keys of `extra` ("workflow")."""
    return {
        key: value.text if isinstance(value, Written) else json.dumps(value)
        for key, value in {"prompt": prompt, **(extra or {})}.items()
        if value is not None
    }


def _write_pngs(
    files: Files, role: str, prefix: str, images: Tensor, texts: Mapping[str, str], level: int
) -> list[dict[str, str]]:
    info = PIL.PngImagePlugin.PngInfo()
    for key, text in texts.items():
        info.add_text(key, text)
    links = []
    for number, picture in enumerate(pictures(images)):
        encoded = io.BytesIO()
        picture.save(encoded, "PNG", pnginfo=info, compress_level=level)
        name = expand_prefix(prefix, picture.width, picture.height).replace("%batch_num%", str(number))
        links.append(files.write(role, name, ".png", encoded.getvalue()).as_link())
    return links


def pictures(images: Tensor) -> Iterator[PIL.Image.Image]:
    """The pictures [B, H, W, C] with 8 bits a channel, cut and not rounded, as the ecosystem's files are."""
    for image in images:
        pixels = (image * 255).clamp(0, 255).to("cpu", torch.uint8).numpy()
        yield PIL.Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
