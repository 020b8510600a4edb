"""Does the picture show what the prompt says? The table of targets, measured; and contact sheets.

python -m training.evaluate --model nodes/storybook --save sheets
"""

import argparse
import colorsys
import itertools
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionPipeline
from PIL import Image
from spandrel import ModelLoader
from torch import Tensor

from nodes.preprocess import canny_edges
from training.captions import WORDS, article, caption
from training.scenes import COLORS, POSITIONS, Scene, render, sample_scene

VIVID = ("red", "orange", "yellow", "purple", "pink")
PLACED = ("house", "tree", "castle", "windmill", "tower", "lighthouse")
TIMES = ("dawn", "noon", "sunset", "night")
GROUNDS = ("meadow", "desert", "snow", "sea")
THRESHOLDS = (0.1, 0.25)
"""Of the Canny hint: low and high."""
Pictures = np.ndarray
SHOWN = (
    "a serene lake at dawn, snowy mountains, a red house on the left, clouds",
    "a blue castle in the center of a desert at sunset",
    "a lighthouse on the right by the sea at night, moon, stars",
    "a green tree on the left, meadow, noon, sun",
    "a yellow hot air balloon over snowy mountains, noon, clouds",
    "a purple boat on a lake at sunset, mountains",
    "winter, a brown house in the center, snow, night, falling snow",
    "an orange windmill on the right, hills, a green meadow at noon",
    "a black dragon flying over the desert at sunset",
    "a white tower on a beach at dawn",
    "night",
    "beautiful scenery nature glass bottle landscape, purple galaxy bottle",
)


def ground_prompts() -> list[tuple[Scene, str]]:
    """32 prompts about times and grounds."""
    out = []
    for i, (time, ground) in enumerate(itertools.product(TIMES, GROUNDS)):
        for k, background in enumerate(("none", "mountains")):
            scene = Scene(time=time, ground=ground, background=background, seed=90 + 2 * i + k)
            name = "snowy field" if ground == "snow" else ground
            out.append((scene, f"a {name} at {time}" + (", mountains" if k else "")))
    return out


def place_prompts(count: int = 60) -> list[tuple[Scene, str]]:
    """Prompts about one coloured object at a stated place, at noon."""
    r, out = random.Random(5), []
    for i in range(count):
        scene = Scene(
            ground=("snow", "meadow")[i % 2],
            object=PLACED[i // 2 % len(PLACED)],
            color=VIVID[i % 5],
            position=POSITIONS[i % 3],
            seed=500 + i,
        )
        where = "in the center" if scene.position == "center" else f"on the {scene.position}"
        ground = "a snowy field" if scene.ground == "snow" else "a green meadow"
        words = [f"{article(scene.color)} {scene.object} {where}", ground, "noon"]
        out.append((scene, ", ".join(words if r.random() < 0.7 else words[1:] + words[:1])))
    return out


def hue_mask(image: Pictures, color: str) -> Pictures:
    """Where a [0, 1] picture is saturated and of the hue of a named colour."""
    hue0, saturation0, _ = colorsys.rgb_to_hsv(*(v / 255 for v in COLORS[color]))
    high, low = image.max(-1), image.min(-1)
    span = np.maximum(high - low, 1e-6)
    r, g, b = image[..., 0], image[..., 1], image[..., 2]
    sector = np.where(high == g, (b - r) / span + 2, (r - g) / span + 4)
    hue = np.where(high == r, (g - b) / span % 6, sector) / 6
    near = np.abs((hue - hue0 + 0.5) % 1 - 0.5) < 0.045
    return near & (span / np.maximum(high, 1e-6) > 0.6 * saturation0) & (high > 0.3)


def ground_scores(scenes: Sequence[Scene], images: Pictures) -> dict[str, float]:
    """Shares of pictures with the right light and ground."""
    luma = (images @ np.array([0.299, 0.587, 0.114])).mean((1, 2))
    half, low = images.shape[1] // 2, 3 * images.shape[1] // 4
    warmth = (images[..., 0] - images[..., 2])[:, :half].mean((1, 2))
    ground = images[:, low:].mean((1, 2))

    def at(**fields: str) -> list[int]:
        return [i for i, s in enumerate(scenes) if all(getattr(s, k) == v for k, v in fields.items())]

    noon = at(time="noon")
    right = [int(ground[i].argmax() == 1) for i in at(time="noon", ground="meadow")]
    right += [int(ground[i].argmax() == 0) for i in at(time="noon", ground="desert")]
    right += [int(ground[i].argmax() == 2) for i in at(time="noon", ground="sea")]
    right += [
        int(ground[i].min() > 0.75 and np.ptp(ground[i]) < 0.15) for i in at(time="noon", ground="snow")
    ]
    return {
        "night darker than every noon": float(
            np.mean([luma[i] < luma[noon].min() for i in at(time="night")])
        ),
        "sunset warmer than every noon": float(
            np.mean([warmth[i] > warmth[noon].max() for i in at(time="sunset")])
        ),
        "sky warmth: dawn": float(warmth[at(time="dawn")].mean()),
        "sky warmth: noon": float(warmth[noon].mean()),
        "sky warmth: sunset": float(warmth[at(time="sunset")].mean()),
        "sky warmth: night": float(warmth[at(time="night")].mean()),
        "ground of the stated hue": float(np.mean(right)),
    }


def place_score(scenes: Sequence[Scene], images: Pictures) -> float:
    """The share of pictures whose named colour is mostly in the stated third."""
    placed = []
    for scene, image in zip(scenes, images, strict=True):
        thirds = [part.mean() for part in np.array_split(hue_mask(image, scene.color), 3, axis=1)]
        stated = POSITIONS.index(scene.position)
        placed.append(thirds[stated] > 0.03 and int(np.argmax(thirds)) == stated)
    return float(np.mean(placed))


def renders(scenes: Sequence[Scene], size: int = 128) -> Pictures:
    """True pictures [N, size, size, 3] in [0, 1]."""
    return np.stack([np.asarray(render(scene, size), np.float32) / 255 for scene in scenes])


def to_tensor(images: Pictures) -> Tensor:
    """Channels first."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def psnr(a: Tensor, b: Tensor) -> float:
    """Mean over pictures of the peak signal to noise ratio in dB."""
    error = (a.clamp(0, 1) - b).pow(2).mean((1, 2, 3))
    return float(-10 * torch.log10(error).mean())


def edge_f1(made: Tensor, hint: Tensor, tolerance: int = 1) -> float:
    """F1 of two edge maps [N, 1, H, W], an edge counting as met within ``tolerance`` pixels."""

    def near(edges: Tensor) -> Tensor:
        return F.max_pool2d(edges, 2 * tolerance + 1, 1, tolerance)

    precision = (made * near(hint)).sum((1, 2, 3)) / made.sum((1, 2, 3)).clamp(min=1)
    recall = (hint * near(made)).sum((1, 2, 3)) / hint.sum((1, 2, 3)).clamp(min=1)
    return float((2 * precision * recall / (precision + recall).clamp(min=1e-6)).mean())


def generate(
    pipe: Callable[..., object], texts: Sequence[str], size: int = 128, **options: object
) -> Pictures:
    """Pictures for prompts, 16 at a time; the i-th has seed i. Tensors among the options are cut alike."""
    out = []
    for i in range(0, len(texts), 16):
        part = {k: v[i : i + 16] if isinstance(v, Tensor) else v for k, v in options.items()}
        few = list(texts[i : i + 16])
        seeds = [torch.Generator().manual_seed(i + j) for j in range(len(few))]
        result = pipe(
            few,
            height=size,
            width=size,
            num_inference_steps=20,
            guidance_scale=4.0,
            output_type="np",
            generator=seeds,
            **part,
        )
        out.append(result.images)  # type: ignore[attr-defined]
    return np.concatenate(out)


def sheet(images: Pictures, path: Path, columns: int = 8) -> None:
    """Write pictures as one."""
    n, h, w, _ = images.shape
    rows = -(-n // columns)
    canvas = np.zeros((rows * (h + 2), columns * (w + 2), 3), np.uint8)
    for i, image in enumerate(images):
        y, x = i // columns * (h + 2), i % columns * (w + 2)
        canvas[y : y + h, x : x + w] = (image * 255).round()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(canvas).save(path)


def base_scores(pipe: StableDiffusionPipeline, save: Path) -> dict[str, tuple[float, float]]:
    """Prompt scores of the pipeline and of true renders."""
    out: dict[str, tuple[float, float]] = {}
    scenes, texts = zip(*ground_prompts(), strict=True)
    made = generate(pipe, texts)
    sheet(made, save / "grounds.png")
    true = ground_scores(scenes, renders(scenes))
    out.update({k: (v, true[k]) for k, v in ground_scores(scenes, made).items()})
    scenes, texts = zip(*place_prompts(), strict=True)
    made = generate(pipe, texts)
    sheet(made, save / "places.png", 10)
    out["named colour mostly in its third"] = (
        place_score(scenes, made),
        place_score(scenes, renders(scenes)),
    )
    for size in (128, 192, 256):
        sheet(generate(pipe, SHOWN, size), save / f"shown-{size}.png", 6)
    return out


@torch.no_grad()
def vae_score(pipe: StableDiffusionPipeline, save: Path) -> float:
    """PSNR of 64 held-out renders through the autoencoder."""
    true = to_tensor(renders([sample_scene(seed) for seed in range(64)])) * 2 - 1
    back = torch.cat([pipe.vae.decode(pipe.vae.encode(x).latent_dist.mean).sample for x in true.split(16)])
    pairs = torch.cat([true[:12], back[:12].clamp(-1, 1)]) / 2 + 0.5
    sheet(pairs.permute(0, 2, 3, 1).numpy(), save / "vae.png", 12)
    return psnr(back / 2 + 0.5, true / 2 + 0.5)


@torch.no_grad()
def upscaler_scores(path: Path) -> tuple[float, float]:
    """PSNR on 32 held-out renders of 256 px halved by area: of the upscaler, and of bicubic."""
    high = to_tensor(renders([sample_scene(seed) for seed in range(100, 132)], 256))
    low = F.avg_pool2d(high, 2)
    model = ModelLoader().load_from_file(path).model.float()
    return psnr(model(low), high), psnr(F.interpolate(low, scale_factor=2, mode="bicubic"), high)


def control_scores(pipe: StableDiffusionPipeline, path: Path, save: Path) -> dict[str, tuple[float, float]]:
    """Edge F1 against the hint, with the ControlNet and without, on 32 held-out scenes.

    Once the prompt names the time of day only, so that the hint alone tells the layout; once it tells all.
    """
    control = ControlNetModel.from_pretrained(path, torch_dtype=torch.float32)
    parts = dict(pipe.components)
    parts.pop("image_encoder", None)
    controlled = StableDiffusionControlNetPipeline(**parts, controlnet=control, requires_safety_checker=False)
    controlled.set_progress_bar_config(disable=True)
    scenes = [sample_scene(seed) for seed in range(200, 232)]
    hint = canny_edges(to_tensor(renders(scenes)), *THRESHOLDS)
    wide = hint.expand(-1, 3, -1, -1)
    full = [caption(scene, random.Random(scene.seed), keep=1.0, place=True) for scene in scenes]
    out = {}
    for name, texts in (("time only", [WORDS[scene.time][0] for scene in scenes]), ("full", full)):
        made, free = generate(controlled, texts, image=wide), generate(pipe, texts)
        shown = np.concatenate([wide[:12].permute(0, 2, 3, 1).numpy(), made[:12], free[:12]])
        sheet(shown, save / f"control-{name.replace(' ', '-')}.png", 12)
        edges = [canny_edges(to_tensor(images), *THRESHOLDS) for images in (made, free)]
        for tolerance in (1, 2):
            told, untold = (edge_f1(found, hint, tolerance) for found in edges)
            out[f"edge F1, prompt {name}, {tolerance} px"] = (told, untold)
    return out


def style_scores(pipe: StableDiffusionPipeline, path: Path, save: Path) -> tuple[float, float]:
    """Mean colourfulness (largest minus smallest channel) with the sketch LoRA, and without."""
    plain = generate(pipe, SHOWN)
    pipe.load_lora_weights(path.parent, weight_name=path.name)
    drawn = generate(pipe, SHOWN)
    pipe.unload_lora_weights()
    sheet(np.concatenate([plain, drawn]), save / "lora.png", 12)
    return float(np.ptp(drawn, axis=-1).mean()), float(np.ptp(plain, axis=-1).mean())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=Path("model"))
    parser.add_argument("--save", type=Path, default=Path("sheets"), help="folder for contact sheets")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    pipe = StableDiffusionPipeline.from_pretrained(args.model, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    for name, (score, true) in base_scores(pipe, args.save).items():
        print(f"{name:36s} {score:7.3f}   true renders {true:6.3f}", flush=True)
    print(f"{'autoencoder, dB':36s} {vae_score(pipe, args.save):7.2f}", flush=True)
    upscaler = args.model / "upscale_models" / "storybook_x2.safetensors"
    if upscaler.exists():
        score, other = upscaler_scores(upscaler)
        print(f"{'upscaler, dB':36s} {score:7.2f}   bicubic      {other:6.2f}", flush=True)
    control = args.model / "controlnet" / "storybook_canny"
    if control.exists():
        for name, (score, other) in control_scores(pipe, control, args.save).items():
            print(f"{name:36s} {score:7.3f}   without      {other:6.3f}", flush=True)
    lora = args.model / "loras" / "storybook_sketch.safetensors"
    if lora.exists():
        score, other = style_scores(pipe, lora, args.save)
        print(
            f"{'colourfulness with the sketch LoRA':36s} {score:7.3f}   without      {other:6.3f}", flush=True
        )


if __name__ == "__main__":
    main()
