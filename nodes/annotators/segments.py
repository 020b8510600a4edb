"""Segment Anything (Kirillov et al. 2023) by MobileSAM's network: each thing in a colour of its own."""

from typing import Any

import numpy as np
from torch import Tensor

from nodes.annotators.pictures import Draw, Pixels
from nodes.annotators.weights import Annotator, WeightFile, filled


def _sam(_: str, state: dict[str, Tensor]) -> Any:
    from controlnet_aux.segment_anything import SamAutomaticMaskGenerator, sam_model_registry

    return SamAutomaticMaskGenerator(filled(sam_model_registry["vit_t"](checkpoint=None), state))


MOBILE_SAM = Annotator("MobileSAM", (WeightFile("dhkim2810/MobileSAM", "mobile_sam.pt"),), _sam)


def coloured_segments(generator: Any) -> Draw:
    """The segments of a picture, small over large; colours are the same in every run."""

    def draw(picture: Pixels) -> Pixels:
        found = sorted(generator.generate(picture), key=lambda segment: segment["area"], reverse=True)
        canvas = np.zeros_like(picture)
        for segment, colour in zip(
            found, np.random.default_rng(0).integers(255, size=(len(found), 3)), strict=True
        ):
            canvas[segment["segmentation"]] = colour
        return canvas

    return draw
