"""Train a tiny 2x SRVGGNetCompact (the Real-ESRGAN "compact" layout, loadable with spandrel).

python -m training.train_upscaler --data data --minutes 8
"""

import argparse
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from spandrel.architectures.Compact import Compact
from torch import Tensor

from training import loop, parallel

HALVINGS = ("area", "bicubic", "bilinear")


def halved(high: Tensor, r: random.Random) -> Tensor:
    """Pictures at half size by a random filter, with a little blur as an autoencoder leaves it."""
    mode = r.choice(HALVINGS)
    low = F.avg_pool2d(high, 2) if mode == "area" else F.interpolate(high, scale_factor=0.5, mode=mode)
    if r.random() < 0.3:
        smooth = F.avg_pool2d(F.pad(low, (1, 1, 1, 1), mode="replicate"), 3, 1)
        low = torch.lerp(low, smooth, r.random() * 0.6)
    return low.clamp(0, 1)


def crops(images: np.ndarray, count: int, r: random.Random, size: int = 96) -> Tensor:
    """Random squares [count, 3, size, size] in [0, 1] of uint8 pictures [N, H, W, 3]."""
    out, border = [], images.shape[1] - size
    for _ in range(count):
        x, y = r.randrange(border), r.randrange(border)
        out.append(images[r.randrange(len(images)), y : y + size, x : x + size])
    return torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2).float() / 255


def save_upscaler(model: torch.nn.Module, path: Path) -> None:
    """Write the weights as fp16, the file replaced in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".partial")
    save_file({k: v.half().contiguous() for k, v in model.state_dict().items()}, temporary)
    temporary.replace(path)


def train(args: argparse.Namespace) -> None:
    """Train until the time is spent."""
    torch.manual_seed(0)
    images = np.load(args.data / "images-256.npy")
    model = Compact(num_in_ch=3, num_out_ch=3, num_feat=24, num_conv=8, upscale=2)
    average = loop.averaged(model, 0.998)
    run = loop.Run("upscaler", model, args, (average, model))

    def loss(_step: int, _done: float) -> Tensor:
        r = loop.dice()
        high = crops(images, 4, r)
        error = model(halved(high, r)) - high
        return error.abs().mean() + 2 * error.pow(2).mean()

    path = args.model / "upscale_models" / "storybook_x2.safetensors"
    run.fit(loss, lambda: save_upscaler(average.module, path), report=500)


def main() -> None:
    """Read the command line and train."""
    parser = loop.options(__doc__, minutes=8, lr=2e-3)
    parallel.join_group()
    train(parser.parse_args())


if __name__ == "__main__":
    main()
