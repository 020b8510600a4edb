"""Writing pictures and sounds of nodes into the output and temporary folders."""

import json
import wave
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from comfy_api.latest._ports import FolderType


class SavedResult(dict[str, str]):
    """A file, as the editor asks for it."""

    def __init__(self, filename: str, subfolder: str, type: FolderType) -> None:
        super().__init__(filename=filename, subfolder=subfolder, type=FolderType(type).value)

    @property
    def filename(self) -> str:
        """Its name."""
        return self["filename"]

    @property
    def subfolder(self) -> str:
        """The folder within `type` that it is in."""
        return self["subfolder"]

    @property
    def type(self) -> FolderType:
        """Which folder that is."""
        return FolderType(self["type"])


class ImageSaveHelper:
    """Writes pictures [B, H, W, C]."""

    @staticmethod
    def save_images(
        images: Tensor, filename_prefix: str, folder_type: FolderType, cls: Any, compress_level: int = 4
    ) -> list[SavedResult]:
        """One PNG each, with the workflow in it."""
        folder, stem, number, subfolder = _place(filename_prefix, folder_type, images)
        texts = PngInfo()
        for name, value in _metadata(cls).items():
            texts.add_text(name, json.dumps(value))
        saved = []
        for i, picture in enumerate(_pictures(images)):
            name = f"{stem.replace('%batch_num%', str(i))}_{number + i:05}_.png"
            picture.save(folder / name, pnginfo=texts, compress_level=compress_level)
            saved.append(SavedResult(name, subfolder, folder_type))
        return saved

    @staticmethod
    def get_save_images_ui(images: Tensor, filename_prefix: str, cls: Any, compress_level: int = 4) -> Any:
        """The same into the output folder, to show."""
        from comfy_api.latest._ui import SavedImages

        return SavedImages(
            ImageSaveHelper.save_images(images, filename_prefix, FolderType.output, cls, compress_level)
        )

    @staticmethod
    def save_animated_png(
        images: Tensor, filename_prefix: str, folder_type: FolderType, cls: Any, fps: float,
        compress_level: int,
    ) -> SavedResult:  # fmt: skip
        """One PNG of all."""
        options = {"format": "png", "compress_level": compress_level}
        return _animation(images, filename_prefix, folder_type, fps, ".png", options, cls)

    @staticmethod
    def get_save_animated_png_ui(
        images: Tensor, filename_prefix: str, cls: Any, fps: float, compress_level: int
    ) -> Any:
        """The same into the output folder, to show."""
        from comfy_api.latest._ui import SavedImages

        saved = ImageSaveHelper.save_animated_png(
            images, filename_prefix, FolderType.output, cls, fps, compress_level
        )
        return SavedImages([saved], is_animated=len(images) > 1)

    @staticmethod
    def save_animated_webp(
        images: Tensor, filename_prefix: str, folder_type: FolderType, cls: Any, fps: float, lossless: bool,
        quality: int, method: int,
    ) -> SavedResult:  # fmt: skip
        """One WebP of all."""
        options = {"format": "webp", "lossless": lossless, "quality": quality, "method": method}
        return _animation(images, filename_prefix, folder_type, fps, ".webp", options, cls)

    @staticmethod
    def get_save_animated_webp_ui(
        images: Tensor, filename_prefix: str, cls: Any, fps: float, lossless: bool, quality: int, method: int
    ) -> Any:
        """The same into the output folder, to show."""
        from comfy_api.latest._ui import SavedImages

        saved = ImageSaveHelper.save_animated_webp(
            images, filename_prefix, FolderType.output, cls, fps, lossless, quality, method
        )
        return SavedImages([saved], is_animated=len(images) > 1)


class AudioSaveHelper:
    """Writes sounds: `waveform` [B, channels, samples] in -1..1, and its `sample_rate`."""

    @staticmethod
    def save_audio(
        audio: dict[str, Any], filename_prefix: str, folder_type: FolderType, cls: Any, format: str = "wav",
        quality: str = "128k",
    ) -> list[SavedResult]:  # fmt: skip
        """One file each; only WAV can be written.

        Raises:
            ValueError: Another format is wanted.
        """
        del cls, quality
        if format != "wav":
            raise ValueError(f"sounds cannot be written as {format} here; use wav")
        folder, stem, number, subfolder = _place(filename_prefix, folder_type, None)
        saved = []
        for i, channels in enumerate(audio["waveform"].cpu()):
            name = f"{stem}_{number + i:05}_.wav"
            with wave.open(str(folder / name), "wb") as file:
                file.setnchannels(channels.shape[0])
                file.setsampwidth(2)
                file.setframerate(int(audio["sample_rate"]))
                samples = (channels.clamp(-1, 1).numpy().T * 32767).round().astype("<i2")
                file.writeframes(samples.tobytes())
            saved.append(SavedResult(name, subfolder, folder_type))
        return saved

    @staticmethod
    def get_save_audio_ui(
        audio: dict[str, Any], filename_prefix: str, cls: Any, format: str = "wav", quality: str = "128k"
    ) -> Any:
        """The same into the output folder, to show."""
        from comfy_api.latest._ui import SavedAudios

        return SavedAudios(
            AudioSaveHelper.save_audio(audio, filename_prefix, FolderType.output, cls, format, quality)
        )


def _place(prefix: str, folder_type: FolderType, images: Tensor | None) -> tuple[Path, str, int, str]:
    root = folder_paths.get_directory_by_type(FolderType(folder_type).value)
    assert root is not None
    height, width = images.shape[1:3] if images is not None else (0, 0)
    folder, stem, number, subfolder, _ = folder_paths.get_save_image_path(prefix, root, width, height)
    return Path(folder), stem, number, subfolder


def _pictures(images: Tensor) -> list[Image.Image]:
    return [Image.fromarray((i.cpu().numpy() * 255).clip(0, 255).astype(np.uint8)) for i in images]


def _metadata(cls: Any) -> dict[str, Any]:
    """What is saved within a picture: the prompt, and what came with it."""
    hidden: Any = getattr(cls, "hidden", None)
    found = {} if getattr(hidden, "prompt", None) is None else {"prompt": hidden.prompt}
    return found | dict(getattr(hidden, "extra_pnginfo", None) or {})


def _animation(
    images: Tensor, prefix: str, folder_type: FolderType, fps: float, suffix: str, options: dict[str, Any],
    cls: Any,
) -> SavedResult:  # fmt: skip
    folder, stem, number, subfolder = _place(prefix, folder_type, images)
    first, *others = _pictures(images)
    exif = first.getexif()
    for i, (name, value) in enumerate(_metadata(cls).items()):
        exif[0x0110 - i] = f"{name}:{json.dumps(value)}"
    name = f"{stem}_{number:05}_{suffix}"
    shown: dict[str, Any] = {
        "save_all": True,
        "append_images": others,
        "duration": int(1000 / fps),
        "exif": exif,
    }
    first.save(folder / name, **shown, **options)
    return SavedResult(name, subfolder, folder_type)
