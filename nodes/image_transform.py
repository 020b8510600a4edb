"""Cutting, turning and arranging pictures, and their alpha channel."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor

from engine.node import node
from engine.ports import Range
from nodes.diffusion.resize import repeated_to, resized_mask
from nodes.image import Color, Length, Side, scaled, with_channels
from nodes.ports import Image, Mask

Flip = Literal["x-axis: vertically", "y-axis: horizontally"]
Rotation = Literal["none", "90 degrees", "180 degrees", "270 degrees"]
Direction = Literal["right", "down", "left", "up"]
NAMED_COLORS = {"white": 0xFFFFFF, "black": 0, "red": 0xFF0000, "green": 0xFF00, "blue": 0xFF}
"""Colours that nodes offer by name, as 0xRRGGBB."""
QUARTER_TURNS = {"none": 0, "90 degrees": 1, "180 degrees": 2, "270 degrees": 3}
"""Clockwise, as the `rotation` of nodes says it."""


@node("ImageCrop", category="image/transform", title="Image Crop")
def image_crop(*, image: Image, width: Side = 512, height: Side = 512, x: Length = 0, y: Length = 0) -> Image:
    """Cut a rectangle out of pictures.

    Args:
        image: The pictures.
        width: Of the rectangle; what reaches beyond the edge is cut.
        height: Of the rectangle.
        x: Left edge, moved inside the picture where it is beyond.
        y: Upper edge, moved inside likewise.
    """
    x, y = min(x, image.shape[2] - 1), min(y, image.shape[1] - 1)
    return image[:, y : y + height, x : x + width].clone()


@node("ImageFlip", category="image/transform")
def image_flip(*, image: Image, flip_method: Flip) -> Image:
    """Mirror pictures.

    Args:
        image: The pictures.
        flip_method: "x-axis" turns them upside down, "y-axis" exchanges left and right.
    """
    return image.flip(1 if flip_method.startswith("x") else 2)


@node("ImageRotate", category="image/transform")
def image_rotate(*, image: Image, rotation: Rotation) -> Image:
    """Turn pictures clockwise.

    Args:
        image: The pictures.
        rotation: By how much.
    """
    return image.rot90(QUARTER_TURNS[rotation], dims=(2, 1))


@node("ImageScaleToMaxDimension", category="image/upscaling")
def image_scale_to_max_dimension(
    *,
    image: Image,
    upscale_method: Literal["area", "lanczos", "bilinear", "nearest-exact", "bicubic"],
    largest_size: Length = 512,
) -> Image:
    """Scale pictures so that their longer side has a given length.

    Args:
        image: The pictures.
        upscale_method: How pixels are made.
        largest_size: The longer side, in pixels.
    """
    height, width = image.shape[1:3]
    longer = max(width, height)
    return scaled(
        image, round(width / longer * largest_size), round(height / longer * largest_size), upscale_method
    )


@node("ResizeAndPadImage", category="image/transform")
def resize_and_pad_image(
    *,
    image: Image,
    target_width: Side = 512,
    target_height: Side = 512,
    padding_color: Literal["white", "black"],
    interpolation: Literal["area", "bicubic", "nearest-exact", "bilinear", "lanczos"],
) -> Image:
    """Scale pictures so that they fit into a size, and centre them on a ground of that size.

    Args:
        image: The pictures.
        target_width: Of the result.
        target_height: Of the result.
        padding_color: The ground.
        interpolation: How pixels are made.
    """
    height, width = image.shape[1:3]
    scale = min(target_width / width, target_height / height)
    fitted = scaled(image, max(1, int(width * scale)), max(1, int(height * scale)), interpolation)
    ground = _rgb(NAMED_COLORS[padding_color], image.shape[-1])
    return _centered_on(fitted, target_height, target_width, ground)


@node("ImageStitch", category="image/transform", title="Image Stitch")
def image_stitch(
    *,
    image1: Image,
    direction: Direction = "right",
    match_image_size: bool = True,
    spacing_width: Annotated[int, Range(0, 1024, step=2)] = 0,
    spacing_color: Literal["white", "black", "red", "green", "blue"] = "white",
    image2: Image | None = None,
) -> Image:
    """Put one picture beside another.

    Args:
        image1: The picture that stays in place.
        direction: Where the second goes.
        match_image_size: Scale the second to the first along the common side; otherwise the smaller is
            centred on white where the spacing is white, else on black.
        spacing_width: Pixels between them; an odd number is rounded up.
        spacing_color: The colour between them.
        image2: The picture that is put beside it; without one, the first is returned.
    """
    if image2 is None:
        return image1
    axis, side = (2, 1) if direction in ("left", "right") else (1, 2)
    if match_image_size:
        aspect = image2.shape[2] / image2.shape[1]
        width, height = image1.shape[2], image1.shape[1]
        size = (int(height * aspect), height) if axis == 2 else (width, int(width / aspect))
        image2 = scaled(image2, max(1, size[0]), max(1, size[1]), "lanczos")
    channels = max(image1.shape[-1], image2.shape[-1])
    image1, image2 = with_channels(image1, channels), with_channels(image2, channels)
    count, length = max(len(image1), len(image2)), max(image1.shape[side], image2.shape[side])
    color = _rgb(NAMED_COLORS[spacing_color], channels)
    ground = color if spacing_color == "white" else _rgb(0, channels)
    parts = [_of_length(_continued(image, count), side, length, ground) for image in (image1, image2)]
    gap = color.to(image1).repeat(count, length, spacing_width + spacing_width % 2, 1)
    parts.insert(1, gap if axis == 2 else gap.transpose(1, 2))
    return torch.cat(parts if direction in ("right", "down") else parts[::-1], dim=axis)


def _continued(image: Tensor, count: int) -> Tensor:
    """A batch of `count` pictures: those given, and then the last one again."""
    return image[torch.arange(count).clamp(max=len(image) - 1)]


def _of_length(image: Tensor, side: int, length: int, ground: Tensor) -> Tensor:
    """Pictures in the middle of a ground that is `length` high (side 1) or wide (side 2)."""
    height, width = image.shape[1:3]
    return _centered_on(image, *((length, width) if side == 1 else (height, length)), ground)


@node("ImageGrid", category="latentgraph/image", title="Image Grid")
def image_grid(
    *,
    images: Sequence[Image],
    columns: Sequence[Annotated[int, Range(0, 256)]] = (0,),
    gap: Sequence[Annotated[int, Range(0, 256)]] = (8,),
    color: Sequence[Color] = (0xFFFFFF,),
) -> Image:
    """Lay pictures out in rows on one sheet [1, H, W, C]: contact sheets, strips, comparisons.

    Args:
        images: A batch, or a list of batches; cells have the size of the largest, smaller ones are centred.
        columns: Pictures in a row; 0 makes the sheet as square as it can be.
        gap: Pixels between the pictures.
        color: The ground as 0xRRGGBB.
    """
    channels = max(image.shape[-1] for image in images)
    pictures = [with_channels(p, channels)[None] for image in images for p in image]
    wide = columns[0] or round(len(pictures) ** 0.5 + 0.4999)
    height, width = max(p.shape[1] for p in pictures), max(p.shape[2] for p in pictures)
    ground, space = _rgb(color[0], channels), gap[0]
    rows = -(-len(pictures) // wide)
    sheet = ground.repeat(1, rows * (height + space) - space, wide * (width + space) - space, 1)
    for index, picture in enumerate(pictures):
        y, x = index // wide * (height + space), index % wide * (width + space)
        sheet[:, y : y + height, x : x + width] = _centered_on(picture, height, width, ground)
    return sheet


def _rgb(color: int, channels: int) -> Tensor:
    """A pixel [1, 1, 1, C]; an alpha is opaque."""
    rgb = [(color >> shift & 255) / 255 for shift in (16, 8, 0)]
    return torch.tensor([*rgb, 1.0][:channels], dtype=torch.float32).view(1, 1, 1, -1)


def _centered_on(image: Tensor, height: int, width: int, color: Tensor) -> Tensor:
    """Pictures [B, h, w, C] in the middle of a ground [B, height, width, C]."""
    ground = color.to(image).repeat(len(image), height, width, 1)
    y, x = (height - image.shape[1]) // 2, (width - image.shape[2]) // 2
    ground[:, y : y + image.shape[1], x : x + image.shape[2]] = image
    return ground


@node("JoinImageWithAlpha", category="mask/compositing", title="Join Image with Alpha")
def join_image_with_alpha(*, image: Image, alpha: Mask) -> Image:
    """Make a mask the transparency of pictures [B, H, W, 4].

    Args:
        image: The pictures; an alpha they have is replaced.
        alpha: 1 where transparent; stretched over the picture.
    """
    count = max(len(image), len(alpha))
    opaque = 1 - resized_mask(alpha, image.shape[2], image.shape[1]).movedim(1, -1)
    return torch.cat((repeated_to(image[..., :3], count), repeated_to(opaque.to(image), count)), dim=-1)


@node("SplitImageWithAlpha", category="mask/compositing", title="Split Image with Alpha")
def split_image_with_alpha(*, image: Image) -> tuple[Image, Mask]:
    """Separate the colours of pictures from their transparency (1 - alpha; zeros without alpha).

    Args:
        image: The pictures.
    """
    alpha = image[..., 3] if image.shape[-1] > 3 else torch.ones(image.shape[:3], device=image.device)
    return image[..., :3].clone(), 1 - alpha
