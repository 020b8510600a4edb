"""What is read back of a saved file is what was saved."""

import io

import numpy as np
import PIL.Image
import pytest
import safetensors.torch
import torch

from nodes.reading import saved_values

PIXELS = np.arange(2 * 5 * 7 * 3, dtype=np.uint8).reshape(2, 5, 7, 3)


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_the_frames_of_a_picture(format: str) -> None:
    first, second = map(PIL.Image.fromarray, PIXELS)
    file = io.BytesIO()
    first.save(file, format, save_all=True, append_images=[second], lossless=True)
    values = saved_values(file.getvalue())
    assert values is not None
    assert torch.equal(values[..., :3] * 255, torch.from_numpy(PIXELS).float())


def test_a_latent() -> None:
    latent = torch.randn(1, 4, 3, 3)
    values = saved_values(safetensors.torch.save({"latent_tensor": latent}))
    assert values is not None
    assert torch.equal(values, latent)


@pytest.mark.parametrize(
    "data", [b"", b"text", b"\x89PNG\r\n\x1a\n", safetensors.torch.save({"a": torch.zeros(1)})]
)
def test_anything_else_is_nothing(data: bytes) -> None:
    assert saved_values(data) is None
