"""Preprocessors by name, and the sizes of hints for ControlNets."""

import inspect
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from engine.node import REQUIRED, Node, node
from engine.ports import Omittable, OneOf, Range, Shown, fixed_choices
from engine.problems import NodeFailure
from engine.steps import Steps
from nodes import (
    preprocessors_colour,
    preprocessors_depth,
    preprocessors_edges,
    preprocessors_lines,
    preprocessors_pose,
    preprocessors_segments,
)
from nodes.annotators.ports import OurDevices, OurFiles, Resolution
from nodes.ports import Image, Latent

_CATEGORY = "ControlNet Preprocessors"
_MODULES = (
    preprocessors_lines, preprocessors_edges, preprocessors_depth, preprocessors_pose, preprocessors_segments,
    preprocessors_colour,
)  # fmt: skip
_NOT_BY_NAME = {"InpaintPreprocessor", "RenderPeopleKps", "SavePoseKpsAsJsonFile"}
PREPROCESSORS: Mapping[str, Node[..., Any]] = {
    value.name: value
    for module in _MODULES
    for value in vars(module).values()
    if isinstance(value, Node) and value.name not in _NOT_BY_NAME
}
"""Nodes that make hints of pictures alone, by class name."""
WITHOUT_NETWORK = {
    "AnimalPosePreprocessor": "an animal pose network of its own",
    "AnimeFace_SemSegPreprocessor": "a segmentation network of its own",
    "DSINE-NormalMapPreprocessor": "DSINE's network",
    "DensePosePreprocessor": "a TorchScript file, which holds code and is not run",
    "Manga2Anime_LineArt_Preprocessor": "a manga line art network of its own",
    "MeshGraphormer-DepthMapPreprocessor": "MeshGraphormer and the package mediapipe",
    "Metric3D-DepthMapPreprocessor": "Metric3D's network",
    "Metric3D-NormalMapPreprocessor": "Metric3D's network",
    "OneFormer-ADE20K-SemSegPreprocessor": "detectron2's OneFormer",
    "OneFormer-COCO-SemSegPreprocessor": "detectron2's OneFormer",
    "SemSegPreprocessor": "UniFormer's network",
    "UniFormer-SemSegPreprocessor": "UniFormer's network",
    "Zoe_DepthAnythingPreprocessor": "a ZoeDepth on Depth Anything",
}
"""The ecosystem's other preprocessors, and what they need that is not here."""
CHOICES = ("none", *sorted({**PREPROCESSORS, **WITHOUT_NETWORK}))

Chosen = Annotated[str, fixed_choices(CHOICES), Omittable()]
Side = Annotated[int, Range(64, 8192, step=8)]
ResizeMode = Literal["Just Resize", "Crop and Resize", "Resize and Fill"]


def chosen_digest(*, preprocessor: str = "none", files: OurFiles) -> str:
    """The content of the weights that a preprocessor uses with its defaults."""
    fingerprint = getattr(PREPROCESSORS.get(preprocessor), "fingerprint", None)
    return fingerprint(files=files) if fingerprint else ""


@node("AIO_Preprocessor", category=_CATEGORY, title="AIO Aux Preprocessor", fingerprint=chosen_digest)
def any_preprocessor(
    *,
    image: Image,
    preprocessor: Chosen = "none",
    resolution: Resolution = 512,
    files: OurFiles,
    devices: OurDevices,
) -> Steps[Image]:
    """Make hints by any of the preprocessors, with its other inputs at their defaults.

    Args:
        image: The pictures.
        preprocessor: The class name of a preprocessor; "none" gives the pictures as they are.
        resolution: The result's shorter side, in pixels.

    Raises:
        NodeFailure: The preprocessor needs a network or a package that is not here.
    """
    if preprocessor == "none":
        return image
    chosen = PREPROCESSORS.get(preprocessor)
    if chosen is None:
        raise NodeFailure(
            f"{preprocessor} cannot run here: it needs {WITHOUT_NETWORK.get(preprocessor, 'another node')}",
            f"choose one of {', '.join(sorted(PREPROCESSORS))}",
        )
    given = {name: {"files": files, "devices": devices}[name] for name in chosen.given}
    known = {v.name: v.default for v in chosen.inputs if v.default is not REQUIRED}
    own = {"image": image} | ({"resolution": resolution} if chosen.input("resolution") else {})
    result = chosen(**{**known, **given, **own})
    if inspect.isgenerator(result):
        result = yield from result
    made: Image = result.value[0] if isinstance(result, Shown) else result
    return made


@node(
    "ControlNetPreprocessorSelector",
    category=_CATEGORY,
    title="Preprocessor Selector",
    outputs=("preprocessor",),
)
def selector(
    *, preprocessor: Annotated[str, OneOf(lambda _: CHOICES)]
) -> Annotated[str, fixed_choices(CHOICES)]:
    """Choose a preprocessor for several nodes.

    Args:
        preprocessor: The class name of a preprocessor.
    """
    return preprocessor


@node(
    "PixelPerfectResolution",
    category=_CATEGORY,
    title="Pixel Perfect Resolution",
    outputs=("RESOLUTION (INT)",),
)
def pixel_perfect_resolution(
    *,
    original_image: Image,
    image_gen_width: Side = 512,
    image_gen_height: Side = 512,
    resize_mode: ResizeMode = "Just Resize",
) -> int:
    """Say at which resolution a hint has exactly as many pixels as the picture to be made.

    Args:
        original_image: What the hint is made of.
        image_gen_width: Of the picture to be made, in pixels.
        image_gen_height: Of the picture to be made, in pixels.
        resize_mode: How the hint will be fitted: "Resize and Fill" shows all of it, the others fill all.
    """
    height, width = original_image.shape[1:3]
    factors = image_gen_height / height, image_gen_width / width
    factor = min(factors) if resize_mode == "Resize and Fill" else max(factors)
    return round(factor * min(height, width))


@node(
    "ImageGenResolutionFromImage",
    category=_CATEGORY,
    title="Generation Resolution From Image",
    outputs=("IMAGE_GEN_WIDTH (INT)", "IMAGE_GEN_HEIGHT (INT)"),
)
def size_of_image(*, image: Image) -> tuple[int, int]:
    """Say how large pictures are, in pixels.

    Args:
        image: The pictures.
    """
    return image.shape[2], image.shape[1]


@node(
    "ImageGenResolutionFromLatent",
    category=_CATEGORY,
    title="Generation Resolution From Latent",
    outputs=("IMAGE_GEN_WIDTH (INT)", "IMAGE_GEN_HEIGHT (INT)"),
)
def size_of_latent(*, latent: Latent) -> tuple[int, int]:
    """Say how large the pictures of a latent are, in pixels.

    Args:
        latent: Eight times smaller than its pictures.
    """
    return latent.samples.shape[-1] * 8, latent.samples.shape[-2] * 8
