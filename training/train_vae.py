"""Train the AutoencoderKL (4 latent channels, 8x), polish its decoder, and write latents of picture sets.

torchrun --nproc-per-node 2 -m training.train_vae --minutes 9                    # from nothing
python -m training.train_vae --init --anchor 0.1 --lr 1e-3 --minutes 14          # latents stay close
python -m training.train_vae --init --decoder-only --lr 8e-4 --minutes 9         # latents stay the same
python -m training.train_vae --init --decoder-only --rough --minutes 10          # after roughen.py
python -m training.train_vae --init --minutes 0 --encode 128 128-moved 192 256   # latents-*.npy
"""

import argparse
import copy
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from training import diffusion, loop, parallel

SCALING = 0.18215
"""Stable Diffusion 1.x's; `whiten` gives the latents the deviation 1 / SCALING."""


def make_vae() -> AutoencoderKL:
    """2.2M parameters; the same layout as Stable Diffusion 1.x, only narrower."""
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        sample_size=128,
        block_out_channels=(16, 48, 96, 96),
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        layers_per_block=1,
        norm_num_groups=8,
    )
    start_as_pooling(vae)
    return vae


@torch.no_grad()
def start_as_pooling(vae: AutoencoderKL) -> None:
    """Initialise as "average 8x8 pixels, repeat 8x8 pixels", so that colours need not be discovered.

    Each of R, G and B travels as a +/- pair of channels through the shortcuts (silu(x) - silu(-x) = x, and
    the pair's mean is zero under group norm); every residual branch starts at zero. From the usual random
    start it took 25 minutes to 22.5 dB without any object colours; from here 9 minutes to 27.8 dB.
    """
    one, corner = (slice(0, 1), slice(0, 1)), (slice(0, 2), slice(0, 2))
    for name, module in vae.named_modules():
        if name.endswith(("conv2", "to_out.0")):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
        elif name.endswith("conv_shortcut"):
            carry(module, 8 if name.startswith("encoder") else 6, one)
        elif name.endswith("downsamplers.0.conv"):
            carry(module, 8, corner)
        elif name.endswith("upsamplers.0.conv"):
            carry(module, 6, (slice(1, 2), slice(1, 2)))
        elif name.endswith("quant_conv"):
            module.weight.copy_(torch.eye(module.weight.shape[0])[..., None, None])
            nn.init.zeros_(module.bias)
    encoder, decoder = vae.encoder, vae.decoder
    for conv, gain, split in (
        (encoder.conv_in, 1, True),
        (encoder.conv_out, 0.5, False),
        (decoder.conv_in, 1, True),
        (decoder.conv_out, 0.6, False),
    ):
        pair_colors(conv, gain, split)
    encoder.conv_in.weight[6:8] = 0
    encoder.conv_in.bias[6], encoder.conv_in.bias[7] = 0.7, -0.7
    encoder.conv_in.weight[8:] *= 10
    decoder.conv_in.weight[6:] *= 10
    encoder.conv_out.weight[4:], encoder.conv_out.bias[4:] = 0, -4


def carry(conv: nn.Conv2d, count: int, taps: tuple[slice, slice]) -> None:
    """Let the first channels through unchanged, as the mean over some taps of the kernel."""
    conv.weight[:count] = 0
    assert conv.bias is not None
    conv.bias[:count] = 0
    for i in range(count):
        conv.weight[i, i][taps] = 1 / conv.weight[i, i][taps].numel()


def pair_colors(conv: nn.Conv2d, gain: float, split: bool) -> None:
    """Split three channels into +/- pairs, or join the pairs again."""
    conv.weight.mul_(0.1)
    for i in range(3):
        for j, sign in ((2 * i, gain), (2 * i + 1, -gain)):
            row = (j, i) if split else (i, j)
            conv.weight[row[0]] *= not split
            conv.weight[row][1, 1] = sign
    assert conv.bias is not None
    conv.bias.zero_()


def to_tensor(batch: np.ndarray) -> Tensor:
    """Uint8 [B, H, W, 3] as float [B, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(batch.copy()).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def sample_batch(sets: list[np.ndarray], rng: np.random.Generator, count: int) -> Tensor:
    """Whole pictures, or four times as many quarter-size crops; now and then one large picture."""
    images = sets[0]
    kind = rng.random()
    if kind < 0.12 and len(sets) > 1:
        large = sets[int(rng.integers(1, len(sets)))]
        return to_tensor(large[[rng.integers(len(large))]])
    if kind < 0.5:
        return to_tensor(images[np.sort(rng.choice(len(images), count, replace=False))])
    half = images.shape[1] // 2
    corners = rng.integers(0, half // 8 + 1, (4 * count, 2)) * 8
    picks = rng.choice(len(images), 4 * count, replace=False)
    crops = [images[i, y : y + half, x : x + half] for i, (y, x) in zip(picks, corners, strict=True)]
    return to_tensor(np.stack(crops))


def reconstruction_loss(x: Tensor, y: Tensor) -> Tensor:
    """L1, squared error and gradient L1 at several scales, on luma and (counting more) chroma.

    Pixels unlike the rest of their row count up to four times: they are the objects, which a plain mean
    over these mostly smooth pictures is slow to notice, and their colour slower still.
    """
    mix = x.new_tensor([[0.6, 1.18, 0.22], [1.0, -1.0, 0.0], [-0.5, -0.5, 1.0]])
    x, y = (torch.einsum("oc,bchw->bohw", mix, v) for v in (x, y))
    weight = 1 + (x - x.mean(-1, keepdim=True)).abs().mean(1, keepdim=True).mul(4).clamp(max=3)
    loss = x.new_zeros(())
    for scale in (1, 2, 4, 8):
        d, w = (F.avg_pool2d(v, scale) if scale > 1 else v for v in (x - y, weight))
        loss = loss + (w * (d.abs() + d.pow(2))).mean()
        if scale < 4:
            loss = loss + 0.3 * (d.diff(dim=-1).abs().mean() + d.diff(dim=-2).abs().mean())
    return loss


@torch.no_grad()
def psnr(vae: AutoencoderKL, x: Tensor) -> float:
    """Mean over pictures of the peak signal to noise ratio in dB after coding and decoding."""
    y = torch.cat([vae.decode(vae.encode(v).latent_dist.mean).sample for v in x.split(16)])
    return float(10 * torch.log10(4 / (y.clamp(-1, 1) - x).pow(2).mean((1, 2, 3))).mean())


@torch.no_grad()
def encode(vae: AutoencoderKL, images: np.ndarray) -> np.ndarray:
    """Unscaled latents [N, 4, H/8, W/8] of pictures."""
    out = []
    for i in range(0, len(images), 16):
        with torch.autocast("cpu", torch.bfloat16):
            out.append(vae.encode(to_tensor(images[i : i + 16])).latent_dist.mean.half().numpy())
    return np.concatenate(out)


@torch.no_grad()
def whiten(vae: AutoencoderKL, latents: np.ndarray) -> None:
    """Fold a linear map into the 1x1 convolutions around the latents; pictures are unchanged.

    It makes the four channels zero-mean, uncorrelated and of Stable Diffusion 1.x's scale, so that chroma
    counts as much as luma in the U-Net's loss.
    """
    z = torch.from_numpy(latents).float().transpose(0, 1).reshape(4, -1)
    mean, (values, vectors) = z.mean(1), torch.linalg.eigh(z.cov())
    to_white = torch.diag(values.rsqrt()) @ vectors.t() / SCALING
    quant, post = vae.quant_conv, vae.post_quant_conv
    weight, bias = quant.weight[:, :, 0, 0].clone(), quant.bias.clone()
    quant.weight[:4, :, 0, 0], quant.bias[:4] = to_white @ weight[:4], to_white @ (bias[:4] - mean)
    # Encoding is all but deterministic: deviation 2 % of that of the latents.
    quant.weight[4:], quant.bias[4:] = 0, 2 * math.log(0.02 / SCALING)
    post.bias += post.weight[:, :, 0, 0] @ mean
    post.weight[:, :, 0, 0] = post.weight[:, :, 0, 0] @ torch.linalg.inv(to_white)
    vae.register_to_config(scaling_factor=SCALING)


class Batches:
    """Pictures with the latents to decode, where these are not the encoder's own."""

    def __init__(self, data: Path, rough: bool) -> None:
        paths = sorted(data.glob("images-[0-9][0-9][0-9].npy"))
        self.sets = [np.load(path, mmap_mode="r") for path in paths]
        self.held_out, self.sets[0] = to_tensor(self.sets[0][-64:]), self.sets[0][:-64]
        self.rough = np.load(data / "rough-128.npy") if rough else None

    def draw(self, count: int) -> tuple[Tensor, Tensor | None]:
        """Pictures, and in every other batch their rough latents (unscaled)."""
        rng = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        if self.rough is None or rng.random() < 0.5:
            return sample_batch(self.sets, rng, count), None
        picks = rng.integers(0, len(self.rough), count)
        return to_tensor(self.sets[0][picks]), torch.from_numpy(self.rough[picks]).float() / SCALING


def train(args: argparse.Namespace) -> AutoencoderKL:
    """Train until the time is spent; returns the averaged model."""
    batches, out = Batches(args.data, args.rough), args.model / "vae"
    torch.manual_seed(0)
    vae = AutoencoderKL.from_pretrained(out).float() if args.init else make_vae()
    before = copy.deepcopy(vae).requires_grad_(False)
    if args.decoder_only:
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    average = loop.averaged(vae, 0.995)
    run = loop.Run("vae", vae, args, (average, vae))

    def loss(_step: int, _done: float) -> Tensor:
        x, given = batches.draw(args.batch)
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(x).latent_dist
            z = posterior.mode()
            slightly = z + 0.02 * z.std().detach() * torch.randn_like(z)
            y = vae.decode(slightly if given is None else given).sample
        loss = reconstruction_loss(y.float(), x) + 5e-5 * posterior.kl().float().mean() / 1024
        if args.anchor:
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                old = before.encode(x).latent_dist.mode()
            loss = loss + args.anchor * ((z - old).float() * SCALING).pow(2).mean()
        return loss

    run.fit(loss, lambda: diffusion.save_part(average.module, out))
    final: AutoencoderKL = average.module.eval()
    if run.rank == 0 and not args.init:
        whiten(final, encode(final, batches.sets[0][:4000]))
    if run.rank == 0:
        diffusion.save_part(final, out)
        print(f"{psnr(final, batches.held_out):.2f} dB on 64 held-out pictures")
    return final


def main() -> None:
    """Train, write the weights, then the latents asked for."""
    parser = loop.options(__doc__, minutes=20, lr=1e-3)
    parser.add_argument("--batch", type=int, default=2, help="whole pictures per process and step")
    parser.add_argument("--init", action="store_true", help="start from the weights in --model")
    parser.add_argument("--anchor", type=float, default=0, help="weight that keeps latents where they were")
    parser.add_argument("--decoder-only", action="store_true", help="cached latents stay valid")
    parser.add_argument("--rough", action="store_true", help="decode also the latents of roughen.py")
    parser.add_argument("--encode", nargs="*", default=[], help="write latents of these picture sets")
    parser.add_argument("--limit", type=int, default=16000, help="pictures of a set to encode")
    args = parser.parse_args()
    parallel.join_group()
    vae = train(args)
    for name in args.encode if parallel.rank() == 0 else ():
        images = np.load(args.data / f"images-{name}.npy", mmap_mode="r")[: args.limit]
        np.save(args.data / f"latents-{name}.npy", encode(vae, images))


if __name__ == "__main__":
    main()
