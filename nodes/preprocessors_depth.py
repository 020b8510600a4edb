"""Depth and surface normals for ControlNets, found by networks."""

import math
from typing import Annotated, Literal

from engine.node import node
from engine.ports import Omittable, Range
from engine.steps import Steps
from nodes.annotators import depth_anything
from nodes.annotators.depth_networks import BOOSTED_LERES, LERES, MIDAS, NORMAL_BAE, ZOE, midas_normals
from nodes.annotators.line_networks import detected
from nodes.annotators.pictures import at_resolution, drawn_in_steps
from nodes.annotators.ports import DEPTH, OffOn, OurDevices, OurFiles, Resolution
from nodes.annotators.weights import fingerprint_of
from nodes.ports import Image

Slope = Annotated[float, Range(0.0, 5 * math.pi, step=0.01), Omittable()]
Share = Annotated[float, Range(0.0, 1.0, step=0.01), Omittable()]
Percent = Annotated[float, Range(0.0, 100.0, step=0.01), Omittable()]
First = Annotated[
    Literal["depth_anything_vitl14.pth", "depth_anything_vitb14.pth", "depth_anything_vits14.pth"],
    Omittable(),
]
Second = Annotated[
    Literal[
        "depth_anything_v2_vitg.pth",
        "depth_anything_v2_vitl.pth",
        "depth_anything_v2_vitb.pth",
        "depth_anything_v2_vits.pth",
    ],
    Omittable(),
]


@node(
    "MiDaS-DepthMapPreprocessor", category=DEPTH, title="MiDaS Depth Map", fingerprint=fingerprint_of(MIDAS)
)
def midas_depth(
    *,
    image: Image,
    a: Slope = 2 * math.pi,
    bg_threshold: Share = 0.1,
    resolution: Resolution = 512,
    files: OurFiles,
    devices: OurDevices,
) -> Steps[Image]:
    """Draw how near everything is, the nearest white (MiDaS, Ranftl et al. 2022).

    Args:
        image: The pictures.
        a: Not used for depth.
        bg_threshold: Not used for depth.
        resolution: The result's shorter side, in pixels.
    """
    del a, bg_threshold
    draw = detected(MIDAS.loaded(files, devices))
    return (yield from drawn_in_steps(image, at_resolution(resolution, draw)))


@node(
    "MiDaS-NormalMapPreprocessor", category=DEPTH, title="MiDaS Normal Map", fingerprint=fingerprint_of(MIDAS)
)
def midas_normal(
    *,
    image: Image,
    a: Slope = 2 * math.pi,
    bg_threshold: Share = 0.1,
    resolution: Resolution = 512,
    files: OurFiles,
    devices: OurDevices,
) -> Steps[Image]:
    """Draw which way surfaces face, from the slopes of MiDaS' depth.

    Args:
        image: The pictures.
        a: How much surfaces face the viewer, in units of slope; smaller makes relief stronger.
        bg_threshold: Nearness below which a pixel is background, which faces the viewer.
        resolution: The result's shorter side, in pixels.
    """
    draw = midas_normals(MIDAS.loaded(files, devices), a, bg_threshold)
    return (yield from drawn_in_steps(image, at_resolution(resolution, draw)))


@node("Zoe-DepthMapPreprocessor", category=DEPTH, title="Zoe Depth Map", fingerprint=fingerprint_of(ZOE))
def zoe_depth(
    *, image: Image, resolution: Resolution = 512, files: OurFiles, devices: OurDevices
) -> Steps[Image]:
    """Draw how near everything is, the nearest white (ZoeDepth, Bhat et al. 2023).

    Args:
        image: The pictures.
        resolution: The result's shorter side, in pixels.
    """
    draw = detected(ZOE.loaded(files, devices))
    return (yield from drawn_in_steps(image, at_resolution(resolution, draw)))


@node(
    "BAE-NormalMapPreprocessor",
    category=DEPTH,
    title="BAE Normal Map",
    fingerprint=fingerprint_of(NORMAL_BAE),
)
def bae_normal(
    *, image: Image, resolution: Resolution = 512, files: OurFiles, devices: OurDevices
) -> Steps[Image]:
    """Draw which way surfaces face (Bae et al. 2021).

    Args:
        image: The pictures.
        resolution: The result's shorter side, in pixels.
    """
    draw = detected(NORMAL_BAE.loaded(files, devices))
    return (yield from drawn_in_steps(image, at_resolution(resolution, draw)))


def leres_digest(*, boost: str = "disable", files: OurFiles) -> str:
    """The content of the networks that LeReS uses."""
    return (BOOSTED_LERES if boost == "enable" else LERES).digest(files)


@node(
    "LeReS-DepthMapPreprocessor",
    category=DEPTH,
    title="LeReS Depth Map (enable boost for leres++)",
    fingerprint=leres_digest,
)
def leres_depth(
    *,
    image: Image,
    rm_nearest: Percent = 0.0,
    rm_background: Percent = 0.0,
    boost: OffOn = "disable",
    resolution: Resolution = 512,
    files: OurFiles,
    devices: OurDevices,
) -> Steps[Image]:
    """Draw how near everything is, the nearest white (LeReS, Yin et al. 2021).

    Args:
        image: The pictures.
        rm_nearest: Percent of the depth, from the nearest on, that is drawn as nearest.
        rm_background: Percent of the nearness, from the farthest on, that is drawn black.
        boost: Whether to add detail from enlarged parts (Miangoleh et al. 2021); takes many times longer.
        resolution: The result's shorter side, in pixels.
    """
    boosted = boost == "enable"
    detector = (BOOSTED_LERES if boosted else LERES).loaded(files, devices)
    draw = detected(detector, thr_a=rm_nearest, thr_b=rm_background, boost=boosted)
    return (yield from drawn_in_steps(image, at_resolution(resolution, draw)))


def depth_anything_digest(*, ckpt_name: str = "depth_anything_vitl14.pth", files: OurFiles) -> str:
    """The content of the chosen weights."""
    return depth_anything.annotator(ckpt_name).digest(files)


@node("DepthAnythingPreprocessor", category=DEPTH, title="Depth Anything", fingerprint=depth_anything_digest)
def depth_anything_first(
    *,
    image: Image,
    ckpt_name: First = "depth_anything_vitl14.pth",
    resolution: Resolution = 512,
    files: OurFiles,
    devices: OurDevices,
) -> Steps[Image]:
    """Draw how near everything is, the nearest white (Depth Anything, Yang et al. 2024).

    Args:
        image: The pictures.
        ckpt_name: The weights; l is the largest network, s the smallest.
        resolution: The result's shorter side, in pixels.
    """
    network = depth_anything.annotator(ckpt_name).loaded(files, devices)
    return (yield from drawn_in_steps(image, depth_anything.first_depth(network, resolution)))


def depth_anything_v2_digest(*, ckpt_name: str = "depth_anything_v2_vitl.pth", files: OurFiles) -> str:
    """The content of the chosen weights."""
    return depth_anything.annotator(ckpt_name).digest(files)


@node(
    "DepthAnythingV2Preprocessor",
    category=DEPTH,
    title="Depth Anything V2 - Relative",
    fingerprint=depth_anything_v2_digest,
)
def depth_anything_second(
    *,
    image: Image,
    ckpt_name: Second = "depth_anything_v2_vitl.pth",
    resolution: Resolution = 512,
    files: OurFiles,
    devices: OurDevices,
) -> Steps[Image]:
    """Draw how near everything is, the nearest white, with fine detail (Depth Anything V2, Yang et al. 2024).

    Args:
        image: The pictures.
        ckpt_name: The weights; g is the largest network, s the smallest.
        resolution: The result's shorter side, in pixels.
    """
    network = depth_anything.annotator(ckpt_name).loaded(files, devices)
    return (yield from drawn_in_steps(image, depth_anything.second_depth(network, resolution)))
