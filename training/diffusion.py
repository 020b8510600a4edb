"""What the trainers share: picture sets, captions for training, text encoding, the noise and its loss."""

import dataclasses
import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from training.scenes import Scene, caption
from training.tokenizer import PROMPT_WORDS

NEGATIVE = (
    "text",
    "watermark",
    "blurry",
    "low quality",
    "worst quality",
    "ugly",
    "deformed",
    "bad anatomy",
    "jpeg artifacts",
    "signature",
)
ALPHABET = "abcdefghijklmnopqrstuvwxyz"


@dataclasses.dataclass(frozen=True)
class PictureSet:
    """Scenes of one size with their scaled latents [N, 4, H/8, W/8]; ``images`` are uint8 [N, H, W, 3]."""

    scenes: list[Scene]
    latents: Tensor
    images: np.ndarray


def load_set(folder: Path, name: str, scaling: float = 0.18215) -> PictureSet:
    """Read what scenes.py rendered and train_vae.py encoded under a name such as "128-moved"."""
    latents = torch.from_numpy(np.load(folder / f"latents-{name}.npy")).float() * scaling
    scenes = [Scene(**fields) for fields in json.loads((folder / f"scenes-{name}.json").read_text())]
    images = np.load(folder / f"images-{name}.npy", mmap_mode="r")
    return PictureSet(scenes[: len(latents)], latents, images)


def training_caption(scene: Scene, r: random.Random, place: bool = False) -> str:
    """A caption, sometimes with words that mean nothing here, so that unknown words do no harm.

    One in ten is dropped for guidance; a third of those say what people put in negative prompts.
    """
    if not place and r.random() < 0.10:
        return ", ".join(r.sample(NEGATIVE, r.randint(1, 5))) if r.random() < 0.33 else ""
    words = caption(scene, r, place=place).split(" ")
    if not place and r.random() < 0.12:
        for _ in range(r.randint(1, 3)):
            letters = "".join(r.choice(ALPHABET) for _ in range(r.randint(2, 8)))
            words.insert(r.randint(0, len(words)), r.choice(PROMPT_WORDS) if r.random() < 0.7 else letters)
    return " ".join(words)


def load_text(model: Path) -> tuple[CLIPTokenizer, CLIPTextModel]:
    """Tokenizer and text encoder of a pipeline folder."""
    tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(
        model / "text_encoder", dtype=torch.float32, attn_implementation="eager"
    )
    return tokenizer, encoder


def load_unet(model: Path) -> UNet2DConditionModel:
    """The U-Net of a pipeline folder, with plain attention.

    The backward pass of fused attention takes 43 % of a training step on a CPU.
    """
    unet = UNet2DConditionModel.from_pretrained(model / "unet", torch_dtype=torch.float32)
    unet.set_attn_processor(AttnProcessor())
    return unet


def load_vae(model: Path) -> AutoencoderKL:
    """The autoencoder of a pipeline folder."""
    return AutoencoderKL.from_pretrained(model / "vae", torch_dtype=torch.float32)


def encode_texts(tokenizer: CLIPTokenizer, encoder: CLIPTextModel, texts: Sequence[str]) -> Tensor:
    """Hidden states [B, 77, 128] of prompts."""
    ids = tokenizer(
        list(texts), padding="max_length", max_length=77, truncation=True, return_tensors="pt"
    ).input_ids
    states: Tensor = encoder(ids).last_hidden_state
    return states


def make_scheduler() -> DDIMScheduler:
    """The noise schedule of Stable Diffusion 1.x."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1000,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


ALPHAS: Tensor = make_scheduler().alphas_cumprod


def add_noise(x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Latents [B, 4, h, w] at timesteps t [B]."""
    a = ALPHAS[t].view(-1, 1, 1, 1)
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


def min_snr_loss(
    prediction: Tensor, noise: Tensor, t: Tensor, gamma: float = 5.0, floor: float = 0.06
) -> Tensor:
    """Epsilon loss under Min-SNR weighting (Hang et al. 2023), with a floor.

    The time of day and the layout are decided in the noisiest steps, which plain Min-SNR all but leaves out.
    """
    snr = ALPHAS[t] / (1 - ALPHAS[t])
    error = (prediction.float() - noise).pow(2).mean((1, 2, 3))
    return (error * snr.clamp(floor, gamma) / snr).mean()


def replace_files(source: Path, target: Path) -> None:
    """Move every file of one folder over those of another, each in one step."""
    target.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        file.chmod(0o644)
        file.replace(target / file.name)


def save_part(module: torch.nn.Module, folder: Path) -> None:
    """Write a model as fp16 safetensors, each file replaced in one step."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        module.save_pretrained(temporary)  # type: ignore[operator]
        for path in Path(temporary).glob("*.safetensors"):
            state = {name: value.half() for name, value in load_file(path).items()}
            if isinstance(module, CLIPTextModel):
                state = {classic_name(name): value for name, value in state.items()}
            save_file(state, path, {"format": "pt"})
        replace_files(Path(temporary), folder)


def classic_name(name: str) -> str:
    """A text encoder's tensor under its Stable Diffusion 1.x name; transformers 5 drops the prefix."""
    return name if name.startswith("text_model.") else "text_model." + name
