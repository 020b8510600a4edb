"""Making, combining, growing and converting masks [B, H, W]; 1 = masked."""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.files import Files
from engine.node import node
from engine.ports import Given, Range, Shown
from engine.problems import NodeFailure
from nodes.image import Color, Length, Side
from nodes.image_files import ExtraInfo, Prompt, workflow_texts, write_preview
from nodes.ports import Fraction, Image, Mask


def planes(mask: Tensor) -> Tensor:
    """The mask as [B, H, W], whatever axes stand before its last two."""
    return mask.reshape(-1, *mask.shape[-2:])


@node("MaskToImage", category="mask", title="Convert Mask to Image")
def mask_to_image(*, mask: Mask) -> Image:
    """Show a mask as a grey picture.

    Args:
        mask: The mask; 1 becomes white.
    """
    return planes(mask)[..., None].repeat(1, 1, 1, 3)


@node("ImageToMask", category="mask", title="Convert Image to Mask")
def image_to_mask(*, image: Image, channel: Literal["red", "green", "blue", "alpha"]) -> Mask:
    """Take one channel of pictures as a mask.

    Args:
        image: The pictures.
        channel: Which one.

    Raises:
        NodeFailure: The pictures have no such channel.
    """
    index = ("red", "green", "blue", "alpha").index(channel)
    if index >= image.shape[-1]:
        raise NodeFailure(
            f"the pictures have no {channel} channel", "choose another, or use the MASK of LoadImage"
        )
    return image[..., index].clone()


@node("ImageColorToMask", category="mask")
def image_color_to_mask(*, image: Image, color: Color = 0) -> Mask:
    """Mask the pixels of one colour.

    Args:
        image: The pictures; compared with 8 bits a channel.
        color: The colour as 0xRRGGBB.
    """
    rgb = torch.tensor([color >> 16 & 255, color >> 8 & 255, color & 255], device=image.device)
    return ((image[..., :3].clamp(0, 1) * 255).round() == rgb).all(dim=-1).float()


@node("InvertMask", category="mask")
def invert_mask(*, mask: Mask) -> Mask:
    """Exchange masked and unmasked, 1 - x.

    Args:
        mask: The mask.
    """
    return 1.0 - mask


@node("SolidMask", category="mask")
def solid_mask(*, value: Fraction = 1.0, width: Side = 512, height: Side = 512) -> Mask:
    """Make a mask of one value.

    Args:
        value: 0 = unmasked, 1 = masked.
        width: In pixels.
        height: In pixels.
    """
    return torch.full((1, height, width), float(value))


@node("CropMask", category="mask")
def crop_mask(*, mask: Mask, x: Length = 0, y: Length = 0, width: Side = 512, height: Side = 512) -> Mask:
    """Cut a rectangle out of a mask.

    Args:
        mask: The mask.
        x: Left edge of the rectangle.
        y: Upper edge.
        width: Of the rectangle; what reaches beyond the edge is cut.
        height: Of the rectangle.
    """
    return planes(mask)[:, y : y + height, x : x + width].clone()


def _logical(operation: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """An operation on the masks rounded to 0 and 1."""
    return lambda below, above: operation(below.round().bool(), above.round().bool()).float()


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "multiply": torch.mul,
    "add": torch.add,
    "subtract": torch.sub,
    "and": _logical(torch.logical_and),
    "or": _logical(torch.logical_or),
    "xor": _logical(torch.logical_xor),
}
"""How MaskComposite combines a destination and a source, by name."""


@node("MaskComposite", category="mask")
def mask_composite(
    *,
    destination: Mask,
    source: Mask,
    x: Length = 0,
    y: Length = 0,
    operation: Literal["multiply", "add", "subtract", "and", "or", "xor"],
) -> Mask:
    """Combine two masks where they overlap; the result is cut to 0..1.

    Args:
        destination: The mask below, which sets the size.
        source: The mask laid over it; what reaches beyond the edge is cut.
        x: Left edge of the source, in pixels of the destination.
        y: Upper edge of the source.
        operation: How the two are combined; "and", "or" and "xor" round both to 0 and 1.
    """
    result, above = planes(destination).clone(), planes(source)
    below = result[:, y : y + above.shape[1], x : x + above.shape[2]]
    above = above[:, : below.shape[1], : below.shape[2]].to(below)
    result[:, y : y + above.shape[1], x : x + above.shape[2]] = OPERATIONS[operation](below, above)
    return result.clamp(0, 1)


@node("FeatherMask", category="mask")
def feather_mask(
    *, mask: Mask, left: Length = 0, top: Length = 0, right: Length = 0, bottom: Length = 0
) -> Mask:
    """Fade a mask out towards its edges, linearly.

    Args:
        mask: The mask.
        left: Pixels over which it fades on the left.
        top: Pixels above.
        right: Pixels on the right.
        bottom: Pixels below.
    """
    result = planes(mask)
    height, width = result.shape[1:]
    # The ecosystem's ramps at the far ends lie one place further, so that their first step falls on place 0.
    across = _ramp(left, width) * _ramp(right, width).flip(0).roll(1)
    down = _ramp(top, height) * _ramp(bottom, height).flip(0).roll(1)
    return result * (across * down[:, None]).to(result)


def _ramp(pixels: int, length: int) -> Tensor:
    """1/n, 2/n … 1 over the first n of `length` places, then 1."""
    pixels = min(pixels, length)
    return ((torch.arange(length) + 1) / max(pixels, 1)).clamp(max=1)


@node("GrowMask", category="mask")
def grow_mask(
    *, mask: Mask, expand: Annotated[int, Range(-16384, 16384, step=1)] = 0, tapered_corners: bool = True
) -> Mask:
    """Grow a mask, or shrink it, a pixel at a time.

    Args:
        mask: The mask.
        expand: By how many pixels; negative shrinks.
        tapered_corners: Grow to the four neighbours only, which turns squares into diamonds; otherwise to all
            eight.
    """
    result = planes(mask)[:, None].float()
    sign = -1 if expand < 0 else 1
    for _ in range(min(abs(expand), sum(result.shape[-2:]))):
        result = sign * _grown(sign * result, tapered_corners)
    return result[:, 0]


def _grown(mask: Tensor, tapered_corners: bool) -> Tensor:
    """The greatest value of each pixel [B, 1, H, W] and its neighbours."""
    across = F.max_pool2d(mask, (1, 3), stride=1, padding=(0, 1))
    if tapered_corners:
        return torch.maximum(across, F.max_pool2d(mask, (3, 1), stride=1, padding=(1, 0)))
    return F.max_pool2d(across, (3, 1), stride=1, padding=(1, 0))


@node("ThresholdMask", category="mask")
def threshold_mask(*, mask: Mask, value: Fraction = 0.5) -> Mask:
    """Make a mask 0 or 1.

    Args:
        mask: The mask.
        value: What is above it becomes 1.
    """
    return (mask > value).float()


@node("MaskPreview", category="mask", is_output=True)
def mask_preview(
    *, mask: Mask, prompt: Prompt = None, extra_pnginfo: ExtraInfo = None, files: Annotated[Files, Given()]
) -> Shown[None]:
    """Show a mask without keeping it: it is written to the temporary folder as a picture.

    Args:
        mask: The mask to show.
    """
    return Shown(
        None,
        {"images": write_preview(files, mask_to_image(mask=mask), workflow_texts(prompt, extra_pnginfo))},
    )
