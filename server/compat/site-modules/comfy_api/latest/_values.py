"""What inputs hold: tensors, sounds, latents, videos."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import Any, NotRequired, TypeAlias, TypedDict

from torch import Tensor

ImageInput: TypeAlias = Tensor
MaskInput: TypeAlias = Tensor


class AudioInput(TypedDict):
    """A sound: [B, channels, samples] in -1..1, and samples a second."""

    waveform: Tensor
    sample_rate: int


class LatentInput(TypedDict):
    """A latent, as plain values."""

    samples: Tensor
    noise_mask: NotRequired[Tensor | None]
    batch_index: NotRequired[list[int] | None]


class VideoCodec(str, Enum):
    """How pictures are packed."""

    AUTO = "auto"
    H264 = "h264"

    @classmethod
    def as_input(cls) -> list[str]:
        """The choices."""
        return [member.value for member in cls]


class VideoContainer(str, Enum):
    """The form of the file."""

    AUTO = "auto"
    MP4 = "mp4"

    @classmethod
    def as_input(cls) -> list[str]:
        """The choices."""
        return [member.value for member in cls]

    @classmethod
    def get_extension(cls, value: Any) -> str:
        """The ending of such a file."""
        return "mp4" if cls(value) in (cls.MP4, cls.AUTO) else ""


@dataclass
class VideoComponents:
    """A video as its pictures [B, H, W, C], its sound, and pictures a second."""

    images: Tensor
    frame_rate: Fraction
    audio: AudioInput | None = None
    metadata: dict[str, Any] | None = None


class VideoInput(ABC):
    """A video."""

    @abstractmethod
    def get_components(self) -> VideoComponents:
        """Its pictures and its sound."""

    @abstractmethod
    def save_to(
        self, path: str, format: VideoContainer = VideoContainer.AUTO, codec: VideoCodec = VideoCodec.AUTO,
        metadata: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Write it to a file."""

    def get_stream_source(self) -> Any:
        """Its file."""
        raise NotImplementedError("this video is in no file")

    def get_dimensions(self) -> tuple[int, int]:
        """Its width and height."""
        height, width = self.get_components().images.shape[1:3]
        return width, height

    def get_duration(self) -> float:
        """Seconds that it takes."""
        parts = self.get_components()
        return float(parts.images.shape[0] / parts.frame_rate)

    def get_container_format(self) -> str:
        """The form of its file."""
        return "mp4"
