"""What nodes show: pictures, sounds, texts, models; saved where the server finds them."""

import random
import string
from typing import Any

from torch import Tensor

from comfy_api.latest._ports import FolderType
from comfy_api.latest._saving import AudioSaveHelper, ImageSaveHelper, SavedResult

__all__ = ["AudioSaveHelper", "ImageSaveHelper", "SavedResult"]


class UIOutput:
    """Something to show."""

    def as_dict(self) -> dict[str, Any]:
        """As the editor takes it."""
        raise NotImplementedError


class SavedImages(UIOutput):
    """Pictures that are saved."""

    def __init__(self, results: list[SavedResult], is_animated: bool = False) -> None:
        self.results, self.is_animated = results, is_animated

    def as_dict(self) -> dict[str, Any]:
        """As the editor takes it."""
        return {"images": self.results, **({"animated": (True,)} if self.is_animated else {})}


class SavedAudios(UIOutput):
    """Sounds that are saved."""

    def __init__(self, results: list[SavedResult]) -> None:
        self.results = results

    def as_dict(self) -> dict[str, Any]:
        """As the editor takes it."""
        return {"audio": self.results}


class PreviewImage(UIOutput):
    """Pictures [B, H, W, C], saved among the temporary files."""

    def __init__(self, image: Tensor, animated: bool = False, cls: Any = None, **_: Any) -> None:
        prefix = "ComfyUI_temp_" + _letters()
        self.values = ImageSaveHelper.save_images(image, prefix, FolderType.temp, cls, compress_level=1)
        self.animated = animated

    def as_dict(self) -> dict[str, Any]:
        """As the editor takes it."""
        return {"images": self.values, "animated": (self.animated,)}


class PreviewMask(PreviewImage):
    """Masks [B, H, W] as grey pictures."""

    def __init__(self, mask: Tensor, animated: bool = False, cls: Any = None, **_: Any) -> None:
        grey = mask.reshape((-1, 1, *mask.shape[-2:])).movedim(1, -1).expand(-1, -1, -1, 3)
        super().__init__(grey, animated, cls)


class PreviewAudio(UIOutput):
    """Sounds, saved among the temporary files."""

    def __init__(self, audio: dict[str, Any], cls: Any = None, **_: Any) -> None:
        prefix = "ComfyUI_temp_" + _letters()
        self.values = AudioSaveHelper.save_audio(audio, prefix, FolderType.temp, cls, "wav")

    def as_dict(self) -> dict[str, Any]:
        """As the editor takes it."""
        return {"audio": self.values}


class PreviewVideo(UIOutput):
    """Videos that are saved."""

    def __init__(self, values: list[Any], **_: Any) -> None:
        self.values = values

    def as_dict(self) -> dict[str, Any]:
        """As the editor takes it."""
        return {"images": self.values, "animated": (True,)}


class PreviewUI3D(UIOutput):
    """A model in space."""

    def __init__(self, model_file: Any, camera_info: Any, **_: Any) -> None:
        self.model_file, self.camera_info = model_file, camera_info

    def as_dict(self) -> dict[str, Any]:
        """As the editor takes it."""
        return {"result": [self.model_file, self.camera_info]}


class PreviewText(UIOutput):
    """A text."""

    def __init__(self, value: str, **_: Any) -> None:
        self.value = value

    def as_dict(self) -> dict[str, Any]:
        """As the editor takes it."""
        return {"text": (self.value,)}


def _letters() -> str:
    return "".join(random.choices(string.ascii_lowercase, k=5))
