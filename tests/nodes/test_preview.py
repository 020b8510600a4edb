"""Previews: a latent estimate looks like the picture that it decodes to."""

from pathlib import Path

import PIL.Image
import torch
from diffusers import AutoencoderKL

from nodes.diffusion.preview import Estimate
from nodes.diffusion.tensors import read_json

STORYBOOK = Path(__file__).parents[2] / "nodes" / "storybook"


def test_the_embedded_model_is_previewed_in_its_own_colours() -> None:
    vae = AutoencoderKL.from_pretrained(STORYBOOK / "vae").eval()
    with PIL.Image.open(STORYBOOK / "input" / "castle.png") as file:
        picture = file.convert("RGB")
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    image = pixels.view(1, picture.height, picture.width, 3).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        latent = vae.encode(image * 2 - 1).latent_dist.mean * vae.config.scaling_factor
    rows = read_json(STORYBOOK / "vae" / "latent_rgb.json")["rows"]
    shown = Estimate(latent, tuple(map(tuple, rows))).picture()
    assert shown.shape == image[0].permute(1, 2, 0).shape
    blurred = torch.nn.functional.avg_pool2d(image, 8).repeat_interleave(8, 2).repeat_interleave(8, 3)
    error = (shown.permute(2, 0, 1).float() / 255 - blurred[0]).square().mean().sqrt()
    assert error < 0.06
    assert error < 0.3 * image.std()


def test_a_latent_of_an_unknown_kind_is_shown_in_grey() -> None:
    shown = Estimate(torch.randn(2, 16, 4, 5)).picture()
    assert shown.shape == (32, 40, 3)
    assert (shown[..., 0] == shown[..., 2]).all()
