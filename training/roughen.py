"""Latents as the U-Net leaves them, for the decoder's polish: true ones, noised and denoised again.

    python -m training.roughen --data data --model model --count 4000      # data/rough-128.npy

Trained on these beside true latents, the decoder learns to smooth the blotches that a small U-Net leaves in
flat areas and to redraw its edges.
"""

import argparse
import random
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from training import diffusion
from training.captions import caption

STRIDE = 50


def denoise(unet: UNet2DConditionModel, x: Tensor, start: int, context: Tensor, guidance: float) -> Tensor:
    """DDIM steps of 50 from a timestep to 0; the context holds the empty text's half first."""
    alphas = diffusion.ALPHAS
    for t in range(start, 0, -STRIDE):
        noise = unet(torch.cat([x, x]), t, context).sample.float()
        free, told = noise.chunk(2)
        noise = free + guidance * (told - free)
        a, b = alphas[t], alphas[max(t - STRIDE, 0)]
        clean = (x - (1 - a).sqrt() * noise) / a.sqrt()
        x = b.sqrt() * clean + (1 - b).sqrt() * noise
    return x


@torch.no_grad()
def rough_latents(args: argparse.Namespace) -> Tensor:
    """Scaled latents [count, 4, 16, 16] of the first pictures of 128 px, roughened."""
    pictures = diffusion.load_set(args.data, "128")
    tokenizer, text = diffusion.load_text(args.model)
    unet, r, out = diffusion.load_unet(args.model), random.Random(0), []
    for i in range(0, args.count, 16):
        x0 = pictures.latents[i : i + 16]
        start = STRIDE * r.randint(2, 6)
        noisy = diffusion.add_noise(x0, torch.randn_like(x0), torch.full((len(x0),), start))
        texts = [caption(scene, r, keep=0.95) for scene in pictures.scenes[i : i + 16]]
        with torch.autocast("cpu", torch.bfloat16):
            context = diffusion.encode_texts(tokenizer, text, [""] * len(x0) + texts)
            out.append(denoise(unet, noisy, start, context, r.uniform(1, 5)))
    return torch.cat(out)


def main() -> None:
    """Write rough-128.npy."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--model", type=Path, default=Path("model"))
    parser.add_argument("--count", type=int, default=4000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    np.save(args.data / "rough-128.npy", rough_latents(args).half().numpy())


if __name__ == "__main__":
    main()
