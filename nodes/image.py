"""Making, scaling, batching, composing and padding pictures [B, H, W, C]."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Annotated, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.node import node
from engine.ports import Hint, Range
from nodes.composite import composited
from nodes.diffusion.resize import Crop, resized
from nodes.ports import Image, Mask

Method: TypeAlias = Literal["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]
Side: TypeAlias = Annotated[int, Range(1, 16384, step=1)]
Length: TypeAlias = Annotated[int, Range(0, 16384, step=1)]
Border: TypeAlias = Annotated[int, Range(0, 16384, step=8)]
Count: TypeAlias = Annotated[int, Range(1, 4096)]
Color: TypeAlias = Annotated[int, Range(0, 0xFFFFFF, step=1), Hint("display", "color")]


def scaled(image: Tensor, width: int, height: int, method: str, crop: str = "disabled") -> Tensor:
    """Pictures [B, H, W, C] at another size; see `resized`."""
    return resized(image.movedim(-1, 1), width, height, method, crop).movedim(1, -1)


def with_channels(image: Tensor, count: int) -> Tensor:
    """Pictures with that many channels: the first ones, or with an opaque alpha added."""
    return F.pad(image[..., :count], (0, max(0, count - image.shape[-1])), value=1.0)


@node("ImageScale", category="image/upscaling", title="Upscale Image")
def image_scale(
    *, image: Image, upscale_method: Method, width: Length = 512, height: Length = 512, crop: Crop
) -> Image:
    """Scale pictures to a size.

    Args:
        image: The pictures.
        upscale_method: How pixels are made; lanczos works through 8 bits, and is the sharpest downwards.
        width: In pixels; 0 keeps the aspect ratio. Both 0 leave the pictures alone.
        height: In pixels; 0 keeps the aspect ratio.
        crop: "center" cuts to the new aspect ratio first, "disabled" stretches.
    """
    old_height, old_width = image.shape[1:3]
    if width == 0 and height == 0:
        return image
    width = width or max(1, round(old_width * height / old_height))
    height = height or max(1, round(old_height * width / old_width))
    return scaled(image, width, height, upscale_method, crop)


@node("ImageScaleBy", category="image/upscaling", title="Upscale Image By")
def image_scale_by(
    *, image: Image, upscale_method: Method, scale_by: Annotated[float, Range(0.01, 8.0, step=0.01)] = 1.0
) -> Image:
    """Scale pictures by a factor.

    Args:
        image: The pictures.
        upscale_method: How pixels are made.
        scale_by: New sides over old sides.
    """
    height, width = image.shape[1:3]
    return scaled(image, round(width * scale_by), round(height * scale_by), upscale_method)


@node("ImageScaleToTotalPixels", category="image/upscaling")
def image_scale_to_total_pixels(
    *, image: Image, upscale_method: Method, megapixels: Annotated[float, Range(0.01, 16.0, step=0.01)] = 1.0
) -> Image:
    """Scale pictures to a number of pixels, keeping their aspect ratio.

    Args:
        image: The pictures.
        upscale_method: How pixels are made.
        megapixels: The pixels wanted, in units of 1024 x 1024.
    """
    height, width = image.shape[1:3]
    factor = math.sqrt(megapixels * 1024 * 1024 / (width * height))
    return scaled(image, round(width * factor), round(height * factor), upscale_method)


@node("ImageBatch", category="image", title="Batch Images")
def image_batch(*, image1: Image, image2: Image) -> Image:
    """Put pictures into one batch; the second are cut and scaled to the size of the first.

    Args:
        image1: The pictures that come first and set the size.
        image2: The pictures that follow.
    """
    channels = max(image1.shape[-1], image2.shape[-1])
    image1, image2 = with_channels(image1, channels), with_channels(image2, channels)
    if image1.shape[1:] != image2.shape[1:]:
        image2 = scaled(image2, image1.shape[2], image1.shape[1], "bilinear", "center")
    return torch.cat((image1, image2))


@node("EmptyImage", category="image")
def empty_image(*, width: Side = 512, height: Side = 512, batch_size: Count = 1, color: Color = 0) -> Image:
    """Make pictures of one colour.

    Args:
        width: In pixels.
        height: In pixels.
        batch_size: How many.
        color: Red, green and blue as 0xRRGGBB.
    """
    rgb = torch.tensor([color >> 16 & 255, color >> 8 & 255, color & 255], dtype=torch.float32) / 255
    return rgb.expand(batch_size, height, width, 3).contiguous()


@node("ImageInvert", category="image", title="Invert Image")
def image_invert(*, image: Image) -> Image:
    """Replace every channel by its complement, 1 - x.

    Args:
        image: The pictures.
    """
    return 1.0 - image


@node("ImageCompositeMasked", category="image")
def image_composite_masked(
    *,
    destination: Image,
    source: Image,
    x: Length = 0,
    y: Length = 0,
    resize_source: bool = False,
    mask: Mask | None = None,
) -> Image:
    """Lay one picture over another.

    Args:
        destination: The picture below, which sets the size and the channels.
        source: The picture laid over it; what reaches beyond the edge is cut.
        x: Left edge of the source, in pixels of the destination.
        y: Upper edge of the source.
        resize_source: Stretch the source over the whole destination first.
        mask: How opaque the source is; stretched over it. Without one, it is opaque.
    """
    source = with_channels(source, destination.shape[-1])
    result = composited(destination.movedim(-1, 1), source.movedim(-1, 1), x, y, mask, resize_source)
    return result.movedim(1, -1)


@node("ImagePadForOutpaint", category="image", title="Pad Image for Outpainting")
def image_pad_for_outpaint(
    *,
    image: Image,
    left: Border = 0,
    top: Border = 0,
    right: Border = 0,
    bottom: Border = 0,
    feathering: Length = 40,
) -> tuple[Image, Mask]:
    """Add grey borders to pictures, and make the mask [1, H, W] of what is to be painted there.

    Args:
        image: The pictures.
        left: Pixels to add on the left.
        top: Pixels to add above.
        right: Pixels to add on the right.
        bottom: Pixels to add below.
        feathering: How far the mask reaches into the picture, falling with the square of the distance from
            the border. Without effect where it is not less than half of a side.
    """
    height, width = image.shape[1:3]
    borders = (left, right, top, bottom)
    far = float(max(width, height) + feathering)  # an edge without border feathers nothing
    inner = torch.zeros(height, width)
    if 0 < feathering * 2 < min(width, height):
        x, y = torch.arange(width, dtype=torch.float32), torch.arange(height, dtype=torch.float32)[:, None]
        distances = (x, width - x, y, height - y)
        near = torch.full((height, width), far)
        for distance, border in zip(distances, borders, strict=True):
            near = near.minimum(distance) if border else near
        inner = ((feathering - near) / feathering).clamp(min=0) ** 2
    padded = F.pad(image, (0, 0, *borders), value=0.5)
    return padded, F.pad(inner, borders, value=1.0)[None]


@node("RepeatImageBatch", category="image/batch")
def repeat_image_batch(*, image: Image, amount: Count = 1) -> Image:
    """Repeat a whole batch.

    Args:
        image: The pictures.
        amount: How often they appear.
    """
    return image.repeat(amount, 1, 1, 1)


@node("ImageFromBatch", category="image/batch")
def image_from_batch(
    *, image: Image, batch_index: Annotated[int, Range(0, 4095)] = 0, length: Count = 1
) -> Image:
    """Take some pictures out of a batch.

    Args:
        image: The pictures.
        batch_index: The first one taken, from 0; the last of the batch where there are fewer.
        length: How many are taken, at most.
    """
    first = min(batch_index, image.shape[0] - 1)
    return image[first : first + length].clone()


@node("RebatchImages", category="image/batch", title="Rebatch Images")
def rebatch_images(*, images: Sequence[Image], batch_size: Sequence[Count] = (1,)) -> list[Image]:
    """Regroup a list of pictures into batches of a given size; only pictures of one size share a batch.

    Args:
        images: The pictures, in batches of any size.
        batch_size: Pictures in a batch; the last one may have fewer.
    """
    by_size = groupby((picture for image in images for picture in image), key=lambda picture: picture.shape)
    return [batch for _, same in by_size for batch in torch.split(torch.stack(list(same)), batch_size[0])]


@node("GetImageSize", category="image", title="Get Image Size", outputs=("width", "height", "batch_size"))
def get_image_size(*, image: Image) -> tuple[int, int, int]:
    """Tell the width and height in pixels, and how many pictures there are.

    Args:
        image: The pictures.
    """
    batch, height, width, _ = image.shape
    return width, height, batch
