"""Train the U-Net and the text encoder together on cached latents (epsilon prediction, SD 1.x schedule).

    torchrun --nproc-per-node 2 -m training.train_unet --data data --model model --minutes 60

Two things make "left" and "right" learnable, which plain training left at chance: pairs of pictures that
differ in the object's position alone share noise, timestep and wording; and small heads, thrown away
afterwards, ask the hidden features where they are and where the object stands.
"""

import argparse
import random
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from training import diffusion, loop, parallel
from training.painting import object_x
from training.scenes import Scene

# Pictures a process takes in one step, and how often a step is of that size.
SIZES = {"192": (8, 0.08), "256": (5, 0.07)}


def make_unet() -> UNet2DConditionModel:
    """6.8M parameters; no attention at the full latent size, where it costs most; residuals start at zero."""
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(96, 128, 128),
        layers_per_block=1,
        cross_attention_dim=128,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )
    for name, module in unet.named_modules():
        if name.endswith(("conv2", "proj_out")) or name == "conv_out":
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    return unet


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """0.5M parameters: two layers of width 128."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        projection_dim=128,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config._attn_implementation = "eager"
    return CLIPTextModel(config)


class Whereabouts(nn.Module):
    """Heads on hidden features: how far left am I, how far from the middle, does the object stand here?

    Without them the layout is a saddle: a feature that knows its column is worth nothing before the text
    is heard, and hearing "left" is worth nothing before some feature knows its column.
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        down, up = unet.down_blocks, unet.up_blocks
        places = (
            down[1].attentions[-1],
            down[2].attentions[-1],
            unet.mid_block,
            up[0].resnets[-1],
            up[1].attentions[-1],
        )
        self.features: dict[int, Tensor] = {}
        self.heads = nn.ModuleList(nn.Conv2d(128, 3, 1) for _ in places)
        for i, module in enumerate(places):
            module.register_forward_hook(lambda _m, _in, out, i=i: self.keep(i, out))

    def keep(self, i: int, out: object) -> None:
        """Remember what the i-th place put out."""
        feature = out[0] if isinstance(out, tuple) else out
        assert isinstance(feature, Tensor)
        self.features[i] = feature

    def forward(self, scenes: list[Scene]) -> Tensor:
        """The heads' loss on the features of the last forward pass."""
        at = torch.tensor([object_x(s) if s.object != "none" else 9.0 for s in scenes])
        losses = []
        for i, head in enumerate(self.heads):
            out = head(self.features[i].float())
            x = (torch.arange(out.shape[-1]) + 0.5) / out.shape[-1]
            here = torch.exp(-(((x - at[:, None]) / 0.14) ** 2))[:, None].expand_as(out[:, 0])
            stands = F.binary_cross_entropy_with_logits(out[:, 0], here)
            column = (out[:, 1] - 2 * (x - 0.5)).pow(2).mean()
            middle = (out[:, 2] - (4 * (x - 0.5).abs() - 1)).pow(2).mean()
            losses.append(stands + 0.5 * (column + middle))
        return torch.stack(losses).mean()


class Batches:
    """Random batches: mostly 128 px with a share of pairs, now and then 192 or 256 px."""

    def __init__(self, data: Path, batch: int, pairs: int) -> None:
        self.single, self.moved = (diffusion.load_set(data, name) for name in ("128", "128-moved"))
        self.large = {name: diffusion.load_set(data, name) for name in SIZES}
        number = {scene.seed: i for i, scene in enumerate(self.single.scenes)}
        self.partner = [number[scene.seed] for scene in self.moved.scenes]
        self.batch, self.pairs = batch, pairs

    def draw(self, step: int) -> tuple[Tensor, list[Scene], list[str], int]:
        """Latents, scenes, texts; the last number says how many at the front have their pair at the end.

        All processes draw the same size in the same step, so that none waits for another.
        """
        r = loop.dice()
        u = random.Random(step).random()
        for name, (count, share) in SIZES.items():
            if u < share:
                large = self.large[name]
                picks = [r.randrange(len(large.latents)) for _ in range(count)]
                scenes = [large.scenes[i] for i in picks]
                return large.latents[picks], scenes, [diffusion.training_caption(s, r) for s in scenes], 0
            u -= share
        return self.draw_small(r)

    def draw_small(self, r: random.Random) -> tuple[Tensor, list[Scene], list[str], int]:
        """A batch of 128 px: first of pairs, singles, second of pairs."""
        second = [r.randrange(len(self.partner)) for _ in range(self.pairs)]
        picks = [self.partner[i] for i in second]
        picks += [r.randrange(len(self.single.latents)) for _ in range(self.batch - 2 * self.pairs)]
        scenes = [self.single.scenes[i] for i in picks] + [self.moved.scenes[i] for i in second]
        latents = torch.cat([self.single.latents[picks], self.moved.latents[second]])
        wordings = [r.randrange(2**62) for _ in second]
        texts = [diffusion.training_caption(s, r) for s in scenes]
        for i, wording in enumerate(wordings):
            for j in (i, self.batch - self.pairs + i):
                texts[j] = diffusion.training_caption(scenes[j], random.Random(wording), place=True)
        return latents, scenes, texts, self.pairs


def draw_noise(latents: Tensor, pairs: int, power: float) -> tuple[Tensor, Tensor]:
    """Noise and timesteps; the second pictures of pairs have those of the first.

    Args:
        latents: What the noise is for.
        pairs: How many pairs there are.
        power: 1 draws timesteps evenly, less draws more noisy ones.
    """
    t = (1000 * torch.rand(len(latents)).pow(power)).long().clamp(max=999)
    noise = torch.randn_like(latents)
    if pairs:
        t[-pairs:], noise[-pairs:] = t[:pairs], noise[:pairs]
    return noise, t


def write(average: AveragedModel, model: Path) -> None:
    """Write the averaged weights to a pipeline folder."""
    diffusion.save_part(average.module["unet"], model / "unet")
    diffusion.save_part(average.module["text"], model / "text_encoder")


def train(args: argparse.Namespace) -> None:
    """Train until the time is spent; the averaged weights are written with every checkpoint."""
    tokenizer = CLIPTokenizer.from_pretrained(args.model / "tokenizer")
    torch.manual_seed(0)
    if args.init:
        unet, text = diffusion.load_unet(args.init), diffusion.load_text(args.init)[1]
    else:
        unet, text = make_unet(), make_text_encoder(tokenizer)
        unet.set_attn_processor(AttnProcessor())
    both = nn.ModuleDict({"unet": unet.train(), "text": text.train()})
    average = loop.averaged(both, args.average)
    heads, batches = Whereabouts(unet), Batches(args.data, args.batch, args.pairs)
    run = loop.Run("unet", nn.ModuleDict({"both": both, "heads": heads}), args, (average, both))
    first, last = args.power

    def loss(step: int, done: float) -> Tensor:
        x0, scenes, texts, pairs = batches.draw(step)
        noise, t = draw_noise(x0, pairs, first + (last - first) * done)
        with torch.autocast("cpu", torch.bfloat16):
            context = diffusion.encode_texts(tokenizer, text, texts)
            prediction = unet(diffusion.add_noise(x0, noise, t), t, context).sample
        return diffusion.min_snr_loss(prediction, noise, t) + args.heads * (1 - 0.67 * done) * heads(scenes)

    run.fit(loss, lambda: write(average, args.model))


def main() -> None:
    """Read the command line and train."""
    parser = loop.options(__doc__, minutes=60, lr=1e-3)
    parser.add_argument("--batch", type=int, default=20, help="pictures of 128 px per process and step")
    parser.add_argument("--pairs", type=int, default=5, help="pairs among them")
    parser.add_argument(
        "--power", type=float, nargs=2, default=(0.5, 1.0), help="of the timesteps, at the start and the end"
    )
    parser.add_argument("--heads", type=float, default=0.1, help="weight of the heads, falls to a third")
    parser.add_argument("--average", type=float, default=0.998, help="decay of the averaged weights")
    parser.add_argument("--init", type=Path, help="start from the unet/ and text_encoder/ of this folder")
    parallel.join_group()
    train(parser.parse_args())


if __name__ == "__main__":
    main()
