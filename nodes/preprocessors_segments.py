"""Segments for ControlNets: everything in a picture in a colour of its own."""

from engine.node import node
from engine.steps import Steps
from nodes.annotators.pictures import at_resolution, drawn_in_steps
from nodes.annotators.ports import OurDevices, OurFiles, Resolution
from nodes.annotators.segments import MOBILE_SAM, coloured_segments
from nodes.annotators.weights import fingerprint_of
from nodes.ports import Image


@node(
    "SAMPreprocessor",
    category="ControlNet Preprocessors/others",
    title="SAM Segmentor",
    fingerprint=fingerprint_of(MOBILE_SAM),
)
def sam(*, image: Image, resolution: Resolution = 512, files: OurFiles, devices: OurDevices) -> Steps[Image]:
    """Draw each thing in a picture in a colour of its own (Segment Anything, Kirillov et al. 2023).

    Args:
        image: The pictures.
        resolution: The result's shorter side, in pixels.
    """
    draw = coloured_segments(MOBILE_SAM.loaded(files, devices))
    return (yield from drawn_in_steps(image, at_resolution(resolution, draw)))
