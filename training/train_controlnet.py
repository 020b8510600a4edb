"""Train a small Canny ControlNet on top of the finished pipeline (U-Net and text encoder frozen).

torchrun --nproc-per-node 2 -m training.train_controlnet --data data --model model --minutes 20
"""

import argparse
import random

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn

from nodes.preprocess import canny_edges
from training import diffusion, loop, parallel

SIZE_WEIGHTS = (0.86, 0.08, 0.06)
"""How often a step is of 128, 192 and 256 px."""


def make_controlnet(unet: UNet2DConditionModel) -> ControlNetModel:
    """2.1M parameters: the U-Net's way down without its attention, and as it is where weights fit.

    The embedding of the hint starts so that edges arrive at full strength: with the usual start they fade
    by four orders of magnitude on their way through seven layers, and 300 steps taught nothing.
    """
    control = ControlNetModel(
        block_out_channels=(96, 128, 128),
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * 3,
        mid_block_type="UNetMidBlock2D",
        cross_attention_dim=128,
        attention_head_dim=4,
        conditioning_embedding_out_channels=(8, 16, 32, 64),
    )
    own, theirs = control.state_dict(), unet.state_dict()
    own.update({k: v for k, v in theirs.items() if k in own and own[k].shape == v.shape})
    control.load_state_dict(own)
    for layer in control.controlnet_cond_embedding.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=2 / (9 * layer.in_channels) ** 0.5)
            nn.init.zeros_(layer.bias)
    return control


class Outline(nn.Module):
    """A head, thrown away afterwards, which asks the embedded hint for the clean latents.

    It teaches the embedding what the edges enclose before the zero convolutions have moved.
    """

    def __init__(self, control: ControlNetModel) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(96, 96, 3, 1, 1), nn.SiLU(), nn.Conv2d(96, 4, 3, 1, 1))
        self.embedded = torch.empty(0)
        control.controlnet_cond_embedding.register_forward_hook(lambda _m, _in, out: self.keep(out))

    def keep(self, embedded: Tensor) -> None:
        """Remember the embedding [B, 96, h, w] of a hint."""
        self.embedded = embedded

    def forward(self, x0: Tensor) -> Tensor:
        """The head's squared error on the hints of the last forward pass."""
        return (self.head(self.embedded.float()) - x0).pow(2).mean()


def edges(images: np.ndarray, low: float, high: float) -> Tensor:
    """Hints [B, 3, H, W] of uint8 pictures [B, H, W, 3]: white on black, as the node Canny draws them."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return canny_edges(pixels, low, high).expand(-1, 3, -1, -1)


def draw(pictures: diffusion.PictureSet, count: int, r: random.Random) -> tuple[Tensor, Tensor, list[str]]:
    """Latents, hints of random thresholds, and texts, which are often empty so that the hint must tell."""
    picks = sorted(r.randrange(len(pictures.latents)) for _ in range(count))
    low = r.uniform(0.1, 0.4)
    hints = edges(pictures.images[picks], low, low * r.uniform(2, 2.5))
    texts = ["" if r.random() < 0.3 else diffusion.training_caption(pictures.scenes[i], r) for i in picks]
    return pictures.latents[picks], hints, texts


def train(args: argparse.Namespace) -> None:
    """Train until the time is spent; the averaged weights are written with every checkpoint."""
    sets = [diffusion.load_set(args.data, name) for name in ("128", "192", "256")]
    out = args.model / "controlnet" / "storybook_canny"
    tokenizer, text = diffusion.load_text(args.model)
    unet = diffusion.load_unet(args.model).requires_grad_(False)
    torch.manual_seed(0)
    control = (ControlNetModel.from_pretrained(out) if args.init else make_controlnet(unet)).float().train()
    average = loop.averaged(control, 0.995)
    outline = Outline(control)
    run = loop.Run(
        "controlnet", nn.ModuleDict({"control": control, "outline": outline}), args, (average, control)
    )

    def loss(step: int, _done: float) -> Tensor:
        size = random.Random(step).choices((0, 1, 2), SIZE_WEIGHTS)[0]
        x0, hints, texts = draw(sets[size], (args.batch, args.batch // 2, args.batch // 4)[size], loop.dice())
        t, noise = (1000 * torch.rand(len(x0)).pow(0.8)).long(), torch.randn_like(x0)
        noisy = diffusion.add_noise(x0, noise, t)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                context = diffusion.encode_texts(tokenizer, text, texts)
            down, mid = control(noisy, t, context, controlnet_cond=hints, return_dict=False)
            residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
            prediction = unet(noisy, t, context, **residuals).sample
        return diffusion.min_snr_loss(prediction, noise, t) + 0.05 * outline(x0)

    run.fit(loss, lambda: diffusion.save_part(average.module, out))


def main() -> None:
    """Read the command line and train."""
    parser = loop.options(__doc__, minutes=20, lr=1e-3)
    parser.add_argument("--batch", type=int, default=16, help="pictures of 128 px per process and step")
    parser.add_argument("--init", action="store_true", help="start from the weights in --model")
    parallel.join_group()
    train(parser.parse_args())


if __name__ == "__main__":
    main()
