"""Videos from files and from pictures, by OpenCV: pictures only, without sound."""

import io
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from comfy_api.latest._values import VideoCodec, VideoComponents, VideoContainer, VideoInput


class VideoFromFile(VideoInput):
    """A video in a file."""

    def __init__(self, file: str | io.BytesIO) -> None:
        self.file = file

    def get_stream_source(self) -> str | io.BytesIO:
        """Its file."""
        return self.file

    def get_components(self) -> VideoComponents:
        """Its pictures.

        Raises:
            ValueError: It cannot be read, or is in memory only.
        """
        if not isinstance(self.file, str):
            raise ValueError("a video is read from a file here, not from memory")
        stream = cv2.VideoCapture(self.file)
        try:
            rate, pictures = stream.get(cv2.CAP_PROP_FPS), []
            while (read := stream.read())[0]:
                pictures.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
        finally:
            stream.release()
        if not pictures:
            raise ValueError(f"{self.file} is no video that can be read")
        images = torch.from_numpy(np.stack(pictures).astype(np.float32) / 255)
        return VideoComponents(images, Fraction(rate).limit_denominator(1001))

    def save_to(
        self, path: str, format: VideoContainer = VideoContainer.AUTO, codec: VideoCodec = VideoCodec.AUTO,
        metadata: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Copy it."""
        del format, codec, metadata
        if isinstance(self.file, str):
            shutil.copyfile(self.file, path)
        else:
            Path(path).write_bytes(self.file.getvalue())


class VideoFromComponents(VideoInput):
    """A video of pictures."""

    def __init__(self, components: VideoComponents) -> None:
        self._components = components

    def get_components(self) -> VideoComponents:
        """Its pictures and its sound."""
        return self._components

    def save_to(
        self, path: str, format: VideoContainer = VideoContainer.AUTO, codec: VideoCodec = VideoCodec.AUTO,
        metadata: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Write its pictures as MP4.

        Raises:
            OSError: It cannot be written.
        """
        del format, codec, metadata
        size, rate = self.get_dimensions(), float(self._components.frame_rate)
        stream = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
        try:
            if not stream.isOpened():
                raise OSError(f"{path} cannot be written as a video")
            for picture in self._components.images:
                pixels = (picture.cpu().numpy() * 255).clip(0, 255).astype(np.uint8)
                stream.write(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        finally:
            stream.release()
