"""Lines for ControlNets, found by networks: soft edges, line art, straight lines."""

from typing import Annotated, Literal

from engine.node import node
from engine.ports import Omittable, Range
from engine.steps import Steps
from nodes.annotators.anyline import MERGED, merged_lines, merging
from nodes.annotators.line_networks import (
    ANIME,
    HED,
    LINEART,
    MLSD,
    PIDINET,
    TEED,
    anime_lines,
    detected,
    teed_edges,
    thinned_scribble,
)
from nodes.annotators.pictures import Pixels, at_resolution, drawn_in_steps
from nodes.annotators.ports import LINES, OffOn, OnOff, OurDevices, OurFiles, Resolution
from nodes.annotators.weights import fingerprint_of
from nodes.ports import Image
from nodes.preprocessors_lines import standard_lines

Score = Annotated[float, Range(0.01, 2.0, step=0.01), Omittable()]
Length = Annotated[float, Range(0.01, 20.0, step=0.01), Omittable()]
Shades = Annotated[int, Range(0, 10, step=1), Omittable()]
Share = Annotated[float, Range(0.0, 1.0, step=0.01), Omittable()]
Count = Annotated[int, Range(1, 16384, step=1), Omittable()]
FineResolution = Annotated[int, Range(64, 16384, step=8), Omittable()]
Merged = Annotated[
    Literal["lineart_standard", "lineart_realisitic", "lineart_anime", "manga_line"], Omittable()
]


@node("HEDPreprocessor", category=LINES, title="HED Soft-Edge Lines", fingerprint=fingerprint_of(HED))
def hed(
    *,
    image: Image,
    safe: OnOff = "enable",
    resolution: Resolution = 512,
    files: OurFiles,
    devices: OurDevices,
) -> Steps[Image]:
    """Draw soft edges, brighter where they are surer (HED, Xie and Tu 2015).

    Args:
        image: The pictures.
        safe: Whether to round the brightness to few steps, so that no faint detail of the picture stays.
        resolution: The result's shorter side, in pixels.
    """
    draw = detected(HED.loaded(files, devices), safe=safe == "enable")
    return (yield from drawn_in_steps(image, at_resolution(resolution, draw)))


@node(
    "FakeScribblePreprocessor",
    category=LINES,
    title="Fake Scribble Lines (aka scribble_hed)",
    fingerprint=fingerprint_of(HED),
)
def fake_scribble(
    *,
    image: Image,
    safe: OnOff = "enable",
    resolution: Resolution = 512,
    files: OurFiles,
    devices: OurDevices,
) -> Steps[Image]:
    """Draw broad strokes along the soft edges that HED finds, as if scribbled by hand.

    Args:
        image: The pictures.
        safe: Whether to round the edges' brightness to few steps first.
        resolution: The result's shorter side, in pixels.
    """
    draw = detected(HED.loaded(files, devices), safe=safe == "enable", scribble=True)
    return (yield from drawn_in_steps(image, at_resolution(resolution, draw)))


@node(
    "PiDiNetPreprocessor",
    category=LINES,
    title="PiDiNet Soft-Edge Lines",
    fingerprint=fingerprint_of(PIDINET),
)
def pidinet(
    *,
    image: Image,
    safe: OnOff = "enable",
    resolution: Resolution = 512,
    files: OurFiles,
    devices: OurDevices,
) -> Steps[Image]:
    """Draw soft edges, finer than HED's (PiDiNet, Su et al. 2021).

    Args:
        image: The pictures.
        safe: Whether to round the brightness to few steps, so that no faint detail of the picture stays.
        resolution: The result's shorter side, in pixels.
    """
    draw = detected(PIDINET.loaded(files, devices), safe=safe == "enable")
    return (yield from drawn_in_steps(image, at_resolution(resolution, draw)))


@node(
    "Scribble_PiDiNet_Preprocessor",
    category=LINES,
    title="Scribble PiDiNet Lines",
    fingerprint=fingerprint_of(PIDINET),
)
def scribble_pidinet(
    *,
    image: Image,
    safe: OnOff = "enable",
    resolution: Resolution = 512,
    files: OurFiles,
    devices: OurDevices,
) -> Steps[Image]:
    """Draw broad strokes along the soft edges that PiDiNet finds, as if scribbled by hand.

    Args:
        image: The pictures.
        safe: Whether to round the edges' brightness to few steps first.
        resolution: The result's shorter side, in pixels.
    """
    found = detected(PIDINET.loaded(files, devices), safe=safe == "enable", scribble=True)
    whole = at_resolution(resolution, found)

    def draw(picture: Pixels) -> Pixels:
        return thinned_scribble(whole(picture))

    return (yield from drawn_in_steps(image, draw))


@node("LineArtPreprocessor", category=LINES, title="Realistic Lineart", fingerprint=fingerprint_of(LINEART))
def lineart(
    *,
    image: Image,
    coarse: OffOn = "disable",
    resolution: Resolution = 512,
    files: OurFiles,
    devices: OurDevices,
) -> Steps[Image]:
    """Draw what a picture shows as a line drawing (Chan et al. 2022), white on black.

    Args:
        image: The pictures.
        coarse: Whether to draw fewer, bolder lines.
        resolution: The result's shorter side, in pixels.
    """
    draw = detected(LINEART.loaded(files, devices), coarse=coarse == "enable")
    return (yield from drawn_in_steps(image, at_resolution(resolution, draw)))


@node("AnimeLineArtPreprocessor", category=LINES, title="Anime Lineart", fingerprint=fingerprint_of(ANIME))
def anime_lineart(
    *, image: Image, resolution: Resolution = 512, files: OurFiles, devices: OurDevices
) -> Steps[Image]:
    """Draw the lines of an anime picture, white on black.

    Args:
        image: The pictures.
        resolution: The result's shorter side, in pixels.
    """
    draw = anime_lines(ANIME.loaded(files, devices))
    return (yield from drawn_in_steps(image, at_resolution(resolution, draw)))


@node("M-LSDPreprocessor", category=LINES, title="M-LSD Lines", fingerprint=fingerprint_of(MLSD))
def mlsd(
    *,
    image: Image,
    score_threshold: Score = 0.1,
    dist_threshold: Length = 0.1,
    resolution: Resolution = 512,
    files: OurFiles,
    devices: OurDevices,
) -> Steps[Image]:
    """Draw the straight lines of a picture, as of buildings and rooms (M-LSD, Gu et al. 2022).

    Args:
        image: The pictures.
        score_threshold: How sure a line must be.
        dist_threshold: How long a line must be, in pixels of the network's map.
        resolution: The result's shorter side, in pixels.
    """
    draw = detected(MLSD.loaded(files, devices), thr_v=score_threshold, thr_d=dist_threshold)
    return (yield from drawn_in_steps(image, at_resolution(resolution, draw, enlarge="INTER_AREA")))


@node("TEEDPreprocessor", category=LINES, title="TEED Soft-Edge Lines", fingerprint=fingerprint_of(TEED))
def teed(
    *,
    image: Image,
    safe_steps: Shades = 2,
    resolution: Resolution = 512,
    files: OurFiles,
    devices: OurDevices,
) -> Steps[Image]:
    """Draw soft edges by a tiny network (TEED, Soria et al. 2023).

    Args:
        image: The pictures.
        safe_steps: Steps of brightness that are kept; 0 keeps all.
        resolution: The result's shorter side, in pixels.
    """
    draw = teed_edges(TEED.loaded(files, devices), safe_steps)
    return (yield from drawn_in_steps(image, at_resolution(resolution, draw)))


def anyline_digest(*, merge_with_lineart: str = "lineart_standard", files: OurFiles) -> str:
    """The content of the networks that AnyLine uses."""
    return " ".join(annotator.digest(files) for annotator in MERGED[merge_with_lineart])


@node(
    "AnyLineArtPreprocessor_aux",
    category=LINES,
    title="AnyLine Lineart",
    outputs=("image",),
    fingerprint=anyline_digest,
)
def anyline(
    *,
    image: Image,
    merge_with_lineart: Merged = "lineart_standard",
    resolution: FineResolution = 1280,
    lineart_lower_bound: Share = 0.0,
    lineart_upper_bound: Share = 1.0,
    object_min_size: Count = 36,
    object_connectivity: Count = 1,
    files: OurFiles,
    devices: OurDevices,
) -> Steps[Image]:
    """Draw edges and line art over each other (AnyLine), for ControlNets such as MistoLine.

    Args:
        image: The pictures.
        merge_with_lineart: Whose line art is drawn over the edges.
        resolution: The result's shorter side, in pixels.
        lineart_lower_bound: Brightness below which line art is left out.
        lineart_upper_bound: Brightness above which line art is left out.
        object_min_size: Pixels below which a spot of line art is left out.
        object_connectivity: 1 joins pixels along their sides, 2 along their corners too.
    """
    edges, lines = merging(merge_with_lineart, files, devices, lambda p: standard_lines(p, 2.0, 3))
    bounds = lineart_lower_bound, lineart_upper_bound
    draw = merged_lines(edges, lines, resolution, bounds, object_min_size, object_connectivity)
    return (yield from drawn_in_steps(image, draw))
