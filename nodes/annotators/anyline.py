"""AnyLine: soft edges and line art in one picture."""

from typing import TypeAlias

import numpy as np

from engine.devices import Devices
from engine.files import Files
from engine.problems import NodeFailure
from nodes.annotators.line_networks import ANIME, LINEART, MTEED, anime_lines, detected, teed_edges
from nodes.annotators.pictures import Draw, Pixels, at_resolution
from nodes.annotators.weights import Annotator

Bounds: TypeAlias = tuple[float, float]  # of brightness, inclusive

MERGED: dict[str, tuple[Annotator, ...]] = {
    "lineart_standard": (MTEED,),
    "lineart_realisitic": (MTEED, LINEART),
    "lineart_anime": (MTEED, ANIME),
    "manga_line": (MTEED,),
}
"""The networks for each kind of line art."""


def merging(name: str, files: Files, devices: Devices, standard: Draw) -> tuple[Draw, Draw]:
    """What draws the edges, and what draws the line art of this name.

    Args:
        standard: Line art without a network.

    Raises:
        NodeFailure: There is no such network here.
    """
    if name == "manga_line":
        raise NodeFailure(
            "merge_with_lineart 'manga_line' needs a network that controlnet_aux does not have",
            "choose another line art, such as 'lineart_standard'",
        )
    edges = teed_edges(MTEED.loaded(files, devices), safe_steps=2)
    if name == "lineart_realisitic":
        return edges, detected(LINEART.loaded(files, devices))
    if name == "lineart_anime":
        return edges, anime_lines(ANIME.loaded(files, devices))
    return edges, standard


def merged_lines(
    edges: Draw, lines: Draw, resolution: int, bounds: Bounds, smallest: int, connectivity: int
) -> Draw:
    """Edges with line art over them, in floats [H, W, 3]: the light that both leave out is multiplied.

    Args:
        bounds: Line art of another brightness is left out.
        smallest: Spots of line art with fewer than a third of this many pixels are left out, as the
            ecosystem counts each in three channels.
        connectivity: 1 joins pixels along their sides, 2 along their corners too.
    """
    draw_edges, draw_lines = at_resolution(resolution, edges), at_resolution(resolution, lines)

    def draw(picture: Pixels) -> Pixels:
        from scipy import ndimage

        base, top = (drawn(picture)[..., 0].astype(np.float32) / 255.0 for drawn in (draw_edges, draw_lines))
        top = np.where((top >= bounds[0]) & (top <= bounds[1]), top, 0)
        joined = ndimage.generate_binary_structure(2, min(connectivity, 2))
        spots, _ = ndimage.label(top > 0, joined)
        large = np.bincount(spots.ravel()) * 3 >= smallest
        top = np.where(large[spots], top, 0)
        merged = np.where(top > 0, 1 - (1 - top) * (1 - base), base)
        return np.repeat(merged[:, :, None], 3, axis=2)

    return draw
