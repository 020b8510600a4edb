"""Train a style LoRA: the same scenes as pencil sketches.

python -m training.train_lora --data data --model model --minutes 8
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor

from training import diffusion, loop, parallel

TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "conv1", "conv2", "conv_shortcut"]
PAPER = (1.0, 0.98, 0.93)


def sketch(images: Tensor) -> Tensor:
    """Float [B, 3, H, W] pictures in [0, 1] as pencil on paper: light shading, dark outlines."""
    gray = images.mean(1, keepdim=True)
    local = F.avg_pool2d(F.pad(gray, (4, 4, 4, 4), mode="replicate"), 9, 1)
    lines = ((local - gray).abs() * 3.5).clamp(max=0.75)
    shading = 0.25 * (0.6 - gray).clamp(0, 1)
    return ((0.93 - shading - lines) * torch.tensor(PAPER).view(1, 3, 1, 1)).clamp(0, 1)


@torch.no_grad()
def sketch_latents(model: Path, images: np.ndarray) -> Tensor:
    """Scaled latents [N, 4, H/8, W/8] of the sketched pictures."""
    vae, out = diffusion.load_vae(model), []
    for i in range(0, len(images), 16):
        pixels = torch.from_numpy(images[i : i + 16].copy()).permute(0, 3, 1, 2).float() / 255
        with torch.autocast("cpu", torch.bfloat16):
            out.append(vae.encode(sketch(pixels) * 2 - 1).latent_dist.mean.float())
    return torch.cat(out) * vae.config.scaling_factor


def save_lora(unet: UNet2DConditionModel, path: Path) -> None:
    """Write the adapter under peft's names ("unet.….lora_A.weight")."""
    layers = {f"unet.{k}": v.half().contiguous() for k, v in get_peft_model_state_dict(unet).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".partial")
    save_file(layers, temporary, {"format": "pt"})
    temporary.replace(path)


def train(args: argparse.Namespace) -> None:
    """Train until the time is spent."""
    pictures = diffusion.load_set(args.data, "128")
    scenes = pictures.scenes[: args.pictures]
    latents = sketch_latents(args.model, pictures.images[: args.pictures])
    tokenizer, text = diffusion.load_text(args.model)
    unet = diffusion.load_unet(args.model).requires_grad_(False)
    torch.manual_seed(0)
    unet.add_adapter(LoraConfig(r=args.rank, lora_alpha=args.rank, target_modules=TARGETS))
    run = loop.Run("lora", unet, args)

    def loss(_step: int, _done: float) -> Tensor:
        r = loop.dice()
        picks = [r.randrange(len(latents)) for _ in range(args.batch)]
        x0, t = latents[picks], torch.randint(0, 1000, (args.batch,))
        noise = torch.randn_like(x0)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                texts = [diffusion.training_caption(scenes[i], r) for i in picks]
                context = diffusion.encode_texts(tokenizer, text, texts)
            prediction = unet(diffusion.add_noise(x0, noise, t), t, context).sample
        return diffusion.min_snr_loss(prediction, noise, t)

    run.fit(loss, lambda: save_lora(unet, args.model / "loras" / "storybook_sketch.safetensors"))


def main() -> None:
    """Read the command line and train."""
    parser = loop.options(__doc__, minutes=8, lr=2e-3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--rank", type=int, default=8)
    parallel.join_group()
    train(parser.parse_args())


if __name__ == "__main__":
    main()
