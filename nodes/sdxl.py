"""Prompts of SDXL and its refiner, with the sizes and scores that these were trained with."""

from functools import partial
from typing import Annotated

from engine.files import Files
from engine.node import node
from engine.ports import Given, Hint, Range
from engine.steps import Steps
from nodes.diffusion.inversion import inversion_vectors
from nodes.diffusion.text import Clip
from nodes.ports import Conditioning
from nodes.text import inversions_digest

Pixels = Annotated[int, Range(0, 16384)]
Prompt = Annotated[str, Hint("multiline"), Hint("dynamicPrompts")]


def prompts_digest(*, text_g: str | None = None, text_l: str | None = None, files: Files) -> str:
    """The content of the textual inversions that two prompts name."""
    return " ".join(inversions_digest(text=text, files=files) for text in (text_g, text_l))


@node(
    "CLIPTextEncodeSDXL",
    category="advanced/conditioning",
    title="CLIPTextEncodeSDXL",
    fingerprint=prompts_digest,
)
def clip_text_encode_sdxl(
    *,
    clip: Clip,
    width: Pixels = 1024,
    height: Pixels = 1024,
    crop_w: Pixels = 0,
    crop_h: Pixels = 0,
    target_width: Pixels = 1024,
    target_height: Pixels = 1024,
    text_g: Prompt,
    text_l: Prompt,
    files: Annotated[Files, Given()],
) -> Steps[Conditioning]:
    """Encode a prompt for each of SDXL's text encoders, with sizes (Podell et al. 2023, section 2.2).

    Args:
        clip: The text encoders of an SDXL checkpoint.
        width: Of the picture before it was cut, in the model's imagination; small ones look blurred.
        height: Likewise.
        crop_w: How much was cut off at the left.
        crop_h: How much was cut off at the top.
        target_width: Of the picture to be made.
        target_height: Likewise.
        text_g: For OpenCLIP-bigG.
        text_l: For CLIP-L.
    """
    made = yield from clip.encoded({"g": text_g, "l": text_l}, partial(inversion_vectors, files))
    sizes = {"width": width, "height": height, "crop_w": crop_w, "crop_h": crop_h}
    targets = {"target_width": target_width, "target_height": target_height}
    return made.mapped(lambda entry: entry.with_options(**sizes, **targets))


@node(
    "CLIPTextEncodeSDXLRefiner",
    category="advanced/conditioning",
    title="CLIPTextEncodeSDXLRefiner",
    fingerprint=inversions_digest,
)
def clip_text_encode_sdxl_refiner(
    *,
    ascore: Annotated[float, Range(0.0, 1000.0, step=0.01)] = 6.0,
    width: Pixels = 1024,
    height: Pixels = 1024,
    text: Prompt,
    clip: Clip,
    files: Annotated[Files, Given()],
) -> Steps[Conditioning]:
    """Encode a prompt for SDXL's refiner, with a size and an aesthetic score.

    Args:
        ascore: How beautiful the picture is to be; the refiner saw 1..10.
        width: Of the picture before it was cut, in the model's imagination.
        height: Likewise.
        text: What to paint.
        clip: The text encoder of a refiner checkpoint.
    """
    made = yield from clip.encoded(text, partial(inversion_vectors, files))
    options = {"aesthetic_score": ascore, "width": width, "height": height}
    return made.mapped(lambda entry: entry.with_options(**options))
