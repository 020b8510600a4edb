"""Draw docs/contact_sheet.png: what every shipped workflow makes, and a grid of prompts.

python docs/make_contact_sheet.py
"""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from engine.cache import Tiers
from engine.cache.memory import MemoryTier
from engine.config import Settings, make_env
from engine.registry import installed
from engine.runner import Engine
from engine.workflow import load

WORKFLOWS = Path(__file__).parents[1] / "workflows"
SINGLES = (
    "text_to_image", "image_to_image", "inpaint", "controlnet_canny", "lora_style", "outpaint", "upscale",
    "inpaint_controlnet_upscale", "variations", "hires_fix",
)  # fmt: skip
STRIPS = ("interpolate", "denoising_filmstrip", "forward_noise")
PROMPTS = (
    "a red house on the left, a green meadow, hills, dawn",
    "a blue castle in the center, a desert, sunset, sun",
    "a lighthouse on the right, the sea, night, moon, stars",
    "a purple balloon on the right, mountains, noon, clouds",
    "an orange windmill on the left, a meadow, hills, noon",
    "a pink house in the center, snow, mountains, noon",
    "a green tree on the left, a lake, mountains, sunset",
    "a yellow tower in the center, a beach, noon, clouds",
    "a black dragon, a desert, sunset, clouds",
    "a red boat in the center, a calm sea, dawn, sun",
    "a white castle on the right, a snowy field, night, moon",
    "a brown cabin on the left, pine forest, night, stars",
    "mountains, a lake, dawn, clouds",
    "a blue house on the right, a meadow, noon, sun",
    "a yellow balloon in the center, rolling hills, sunset",
    "a purple tower on the left, the sea, sunset, clouds",
)
MARGIN, LINE, WIDTH = 8, 12, 1104


def pictures(wanted: Sequence[tuple[str, dict[str, object]]]) -> list[Image.Image]:
    """The picture that each workflow makes with its inputs set; all run together."""
    with tempfile.TemporaryDirectory() as folder:
        registry, tiers = installed(), Tiers([MemoryTier(2**30)])
        env = make_env(Settings(base_directory=Path(folder), cache=Path("off")), registry, tiers)
        with Engine(registry, env, tiers) as engine:
            plans = [
                engine.plan(load(WORKFLOWS / f"{name}.json").with_inputs(inputs)) for name, inputs in wanted
            ]

            async def together() -> list[Image.Image]:
                runs = await asyncio.gather(*(engine.finish(engine.start(plan)) for plan in plans))
                return [Image.open(run.outputs[0]["path"]).convert("RGB") for run in runs]

            return asyncio.run(together())


def sheet(named: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """The pictures in rows, each over its name."""
    canvas = Image.new("RGB", (WIDTH, 4000), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(10)
    x, y, tallest = MARGIN, MARGIN, 0
    for name, picture in named:
        lines = broken(name, picture.width, font)
        if x + picture.width > WIDTH - MARGIN + 1:
            x, y, tallest = MARGIN, y + tallest + MARGIN, 0
        canvas.paste(picture, (x, y))
        for i, text in enumerate(lines):
            pen.text((x, y + picture.height + 2 + i * LINE), text, "#333", font)
        tallest = max(tallest, picture.height + 4 + LINE * len(lines))
        x += picture.width + MARGIN
    return canvas.crop((0, 0, WIDTH, y + tallest + MARGIN))


def broken(text: str, width: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> list[str]:
    """The text in lines no wider than a picture."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def main() -> None:
    """Write the sheet."""
    shipped = (*SINGLES, *STRIPS)
    made = pictures([(name, {}) for name in shipped])
    prompted = pictures(
        [("text_to_image", {"Prompt.text": p, "Sampler.seed": i}) for i, p in enumerate(PROMPTS)]
    )
    whole = sheet([*zip(shipped, made, strict=True), *zip(PROMPTS, prompted, strict=True)])
    whole.save(Path(__file__).with_name("contact_sheet.png"), optimize=True)


if __name__ == "__main__":
    main()
