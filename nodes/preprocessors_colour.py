"""Colours, brightness and blur for ControlNets of tiles, colours, recolouring and inpainting."""

from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F

from engine.node import node
from engine.ports import Omittable, Range
from engine.problems import NodeFailure
from nodes.annotators.guided_filter import guided
from nodes.annotators.pictures import Pixels, at_resolution, drawn, rgb
from nodes.annotators.ports import Resolution
from nodes.ports import Image, Mask

TILES, ADAPTERS = "ControlNet Preprocessors/tile", "ControlNet Preprocessors/T2IAdapter-only"
RECOLOUR, OTHERS = "ControlNet Preprocessors/Recolor", "ControlNet Preprocessors/others"

Halvings = Annotated[int, Range(1, 10, step=1), Omittable()]
Factor = Annotated[float, Range(1.0, 8.0, step=0.01), Omittable()]
Blur = Annotated[float, Range(1.0, 10.0, step=0.01), Omittable()]
Radius = Annotated[int, Range(1, 20, step=1), Omittable()]
Softness = Annotated[float, Range(0.001, 0.1, step=0.001), Omittable()]
Gamma = Annotated[float, Range(0.1, 2.0, step=0.01), Omittable()]
Seed = Annotated[int, Range(0, 2**64 - 1, step=1), Omittable()]


@node("TilePreprocessor", category=TILES, title="Tile")
def tile(*, image: Image, pyrUp_iters: Halvings = 3, resolution: Resolution = 512) -> Image:  # noqa: ARG001, N803
    """Blur pictures by making them small and large again, at sizes that are multiples of 64.

    Args:
        image: The pictures.
        pyrUp_iters: How often they are halved.
        resolution: Not used: the result has the picture's size, rounded to multiples of 64.

    Raises:
        NodeFailure: Halved so often, nothing is left of the picture.
    """
    import cv2

    shrink = 2**pyrUp_iters
    height, width = (round(n / 64) * 64 // shrink for n in image.shape[1:3])
    if not height or not width:
        raise NodeFailure(
            f"a picture of {image.shape[2]} x {image.shape[1]} cannot be halved {pyrUp_iters} times",
            "lower pyrUp_iters",
        )

    def draw(picture: Pixels) -> Pixels:
        small: Pixels = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        for _ in range(pyrUp_iters):
            small = cv2.pyrUp(small)
        return rgb(small)

    return drawn(image, draw)


@node("TTPlanet_TileSimple_Preprocessor", category=TILES, title="TTPlanet Tile Simple")
def tile_simple(*, image: Image, scale_factor: Factor = 1.0, blur_strength: Blur = 2.0) -> Image:
    """Blur pictures for TTPlanet's tile ControlNets.

    Args:
        image: The pictures; the result has their size.
        scale_factor: How many times smaller they are made before they are enlarged again.
        blur_strength: Breadth of the blur after that, in pixels.
    """
    import cv2

    return drawn(
        image, lambda p: _smoothed(_reduced(rgb(p), scale_factor, cv2.INTER_LANCZOS4), blur_strength)
    )


@node("TTPlanet_TileGF_Preprocessor", category=TILES, title="TTPlanet Tile GuidedFilter")
def tile_guided(
    *,
    image: Image,
    scale_factor: Factor = 1.0,
    blur_strength: Blur = 2.0,
    radius: Radius = 7,
    eps: Softness = 0.01,
    resolution: Resolution = 512,  # noqa: ARG001
) -> Image:
    """Blur pictures within their edges (guided filter, He et al. 2013) for TTPlanet's tile ControlNets.

    Args:
        image: The pictures; the result has their size.
        scale_factor: How many times smaller they are made before they are enlarged again.
        blur_strength: Breadth of the blur before all else, in pixels.
        radius: Reach of the guided filter, in pixels.
        eps: Variance of brightness up to which it blurs.
        resolution: Not used.
    """
    import cv2

    def draw(picture: Pixels) -> Pixels:
        soft = guided(_smoothed(rgb(picture), blur_strength), radius, eps, scale_factor)
        return _reduced(soft, scale_factor, cv2.INTER_CUBIC)

    return drawn(image, draw)


@node("ColorPreprocessor", category=ADAPTERS, title="Color Pallete")
def colour_grid(*, image: Image, resolution: Resolution = 512) -> Image:
    """Draw pictures as squares of 64 pixels, each in one colour.

    Args:
        image: The pictures.
        resolution: The result's shorter side, in pixels.
    """
    import cv2

    height, width = image.shape[1:3]
    if height < width:
        size = round(width / height * resolution), resolution
    else:
        size = resolution, round(height / width * resolution)

    def draw(picture: Pixels) -> Pixels:
        scaled = cv2.resize(rgb(picture), size, interpolation=cv2.INTER_AREA)
        squares = cv2.resize(scaled, (size[0] // 64, size[1] // 64), interpolation=cv2.INTER_CUBIC)
        return cv2.resize(squares, size, interpolation=cv2.INTER_NEAREST)

    return drawn(image, draw)


@node("ShufflePreprocessor", category=ADAPTERS, title="Content Shuffle")
def shuffle(*, image: Image, resolution: Resolution = 512, seed: Seed = 0) -> Image:
    """Stir pictures so that their colours stay and their shapes go.

    Args:
        image: The pictures; all of a batch are stirred alike.
        resolution: The result's shorter side, in pixels.
        seed: Chooses how; each always the same.
    """
    import cv2

    def draw(picture: Pixels) -> Pixels:
        height, width = picture.shape[:2]
        random = np.random.default_rng(seed)
        across, down = (_waves(height, width, random) * (side - 1) for side in (width, height))
        places = across.astype(np.float32), down.astype(np.float32)
        return cv2.remap(picture, *places, cv2.INTER_LINEAR)

    return drawn(image, at_resolution(resolution, draw))


@node("ImageLuminanceDetector", category=RECOLOUR, title="Image Luminance")
def luminance(*, image: Image, gamma_correction: Gamma = 1.0, resolution: Resolution = 512) -> Image:
    """Take the colour out of pictures: their lightness in grey.

    Args:
        image: The pictures.
        gamma_correction: Above 1 darkens the middle tones, below 1 brightens them.
        resolution: The result's shorter side, in pixels.
    """
    import cv2

    # Red is taken for blue, as the ecosystem does.
    return drawn(image, at_resolution(resolution, lambda p: _grey(p, cv2.COLOR_BGR2LAB, 0, gamma_correction)))


@node("ImageIntensityDetector", category=RECOLOUR, title="Image Intensity")
def intensity(*, image: Image, gamma_correction: Gamma = 1.0, resolution: Resolution = 512) -> Image:
    """Take the colour out of pictures: the strongest of red, green and blue in grey.

    Args:
        image: The pictures.
        gamma_correction: Above 1 darkens the middle tones, below 1 brightens them.
        resolution: The result's shorter side, in pixels.
    """
    import cv2

    return drawn(image, at_resolution(resolution, lambda p: _grey(p, cv2.COLOR_BGR2HSV, 2, gamma_correction)))


@node("InpaintPreprocessor", category=OTHERS, title="Inpaint Preprocessor")
def inpaint(
    *,
    image: Image,
    mask: Mask,
    black_pixel_for_xinsir_cn: Annotated[bool, Omittable()] = False,
) -> Image:
    """Mark the masked parts of pictures for inpainting ControlNets.

    Args:
        image: The pictures.
        mask: What is to be painted anew; stretched over the picture, and for each picture or for all.
        black_pixel_for_xinsir_cn: Whether to mark by black, as xinsir's ControlNets want it, not by -1.

    Raises:
        NodeFailure: There are several masks, and not one for each picture.
    """
    masks = F.interpolate(mask.reshape(-1, 1, *mask.shape[-2:]), size=image.shape[1:3], mode="bilinear")
    if len(masks) not in (1, len(image)):
        raise NodeFailure(f"{len(masks)} masks for {len(image)} pictures", "give one mask, or one for each")
    marked = torch.tensor(0.0 if black_pixel_for_xinsir_cn else -1.0)
    return torch.where(masks.movedim(1, -1) > 0.5, marked, image)


def _reduced(picture: Pixels, factor: float, enlarge: int) -> Pixels:
    """A picture made `factor` times smaller and enlarged to its size again."""
    import cv2

    height, width = picture.shape[:2]
    small = max(1, int(width / factor)), max(1, int(height / factor))
    found: Pixels = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(found, (width, height), interpolation=enlarge)


def _smoothed(picture: Pixels, strength: float) -> Pixels:
    """A Gaussian blur over an odd number of pixels of at least `strength`, of half that σ."""
    import cv2

    side = int(strength) | 1
    return cv2.GaussianBlur(picture, (side, side), strength / 2)


def _grey(picture: Pixels, space: int, channel: int, gamma: float) -> Pixels:
    import cv2

    brightness: Pixels = np.asarray(cv2.cvtColor(picture, space))[:, :, channel].astype(np.float32) / 255.0
    return (brightness**gamma * 255.0).clip(0, 255).astype(np.uint8)


def _waves(height: int, width: int, random: np.random.Generator, length: int = 256) -> Pixels:
    """Smooth noise [H, W] that spans 0..1, its hills `length` pixels apart."""
    import cv2

    grid = random.uniform(size=(height // length + 2, width // length + 2))
    noise = np.asarray(
        cv2.resize(grid, (width + 2 * length, height + 2 * length), interpolation=cv2.INTER_CUBIC)
    )
    noise = noise[length : length + height, length : length + width]
    noise = noise - noise.min()
    found: Pixels = noise / noise.max()
    return found
