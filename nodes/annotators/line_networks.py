"""Networks that find lines: the detectors of controlnet_aux, filled with weights from the model folders."""

from typing import Any

import numpy as np
from torch import Tensor

from nodes.annotators.pictures import Draw, Pixels
from nodes.annotators.weights import Annotator, WeightFile, filled

OWNER = "lllyasviel/Annotators"
State = dict[str, Tensor]


def detected(detector: Any, **options: Any) -> Draw:
    """A detector of controlnet_aux as a function of a picture whose sides are multiples of 64.

    Its own scaling to a resolution then changes nothing.
    """

    def draw(picture: Pixels) -> Pixels:
        side = min(picture.shape[:2])
        found: Pixels = detector(
            picture, detect_resolution=side, image_resolution=side, output_type="np", **options
        )
        return found

    return draw


def _hed(_: str, state: State) -> Any:
    from controlnet_aux.hed import ControlNetHED_Apache2, HEDdetector

    return HEDdetector(filled(ControlNetHED_Apache2(), state))


def _pidi(_: str, state: State) -> Any:
    from controlnet_aux.pidi import PidiNetDetector
    from controlnet_aux.pidi.model import pidinet

    return PidiNetDetector(filled(pidinet(), state))


def _lineart(_: str, fine: State, coarse: State) -> Any:
    from controlnet_aux.lineart import Generator, LineartDetector

    return LineartDetector(filled(Generator(3, 1, 3), fine), filled(Generator(3, 1, 3), coarse))


def _anime(_: str, state: State) -> Any:
    import functools

    from controlnet_aux.lineart_anime import LineartAnimeDetector, UnetGenerator
    from torch.nn import InstanceNorm2d

    norm = functools.partial(InstanceNorm2d, affine=False, track_running_stats=False)
    return LineartAnimeDetector(filled(UnetGenerator(3, 1, 8, 64, norm_layer=norm, use_dropout=False), state))


def _mlsd(_: str, state: State) -> Any:
    from controlnet_aux.mlsd import MLSDdetector, MobileV2_MLSD_Large

    return MLSDdetector(filled(MobileV2_MLSD_Large(), state))


def _teed(_: str, state: State) -> Any:
    from controlnet_aux.teed import TED, TEEDdetector

    return TEEDdetector(filled(TED(), state))


HED = Annotator("HED's network", (WeightFile(OWNER, "ControlNetHED.pth"),), _hed)
PIDINET = Annotator("PiDiNet", (WeightFile(OWNER, "table5_pidinet.pth"),), _pidi)
LINEART = Annotator(
    "the line art networks", (WeightFile(OWNER, "sk_model.pth"), WeightFile(OWNER, "sk_model2.pth")), _lineart
)
ANIME = Annotator("the anime line art network", (WeightFile(OWNER, "netG.pth"),), _anime)
MLSD = Annotator("M-LSD", (WeightFile(OWNER, "mlsd_large_512_fp32.pth"),), _mlsd)
TEED = Annotator("TEED", (WeightFile("bdsqlsz/qinglong_controlnet-lllite", "Annotators/7_model.pth"),), _teed)
MTEED = Annotator("AnyLine's TEED", (WeightFile("TheMistoAI/MistoLine", "Anyline/MTEED.pth"),), _teed)


def teed_edges(detector: Any, safe_steps: int) -> Draw:
    """TEED's edges; its detector knows no other size of result than the picture's."""

    def draw(picture: Pixels) -> Pixels:
        side = min(picture.shape[:2])
        found: Pixels = detector(picture, side, safe_steps, "np")
        return found

    return draw


def anime_lines(detector: Any) -> Draw:
    """Anime line art, white on black: computed at multiples of 256, then averaged back."""

    def draw(picture: Pixels) -> Pixels:
        import cv2

        height, width = picture.shape[:2]
        size = width + -width % 256, height + -height % 256
        lines = 255 - detected(detector)(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC))
        return 255 - cv2.resize(lines, (width, height), interpolation=cv2.INTER_AREA)

    return draw


def thinned_scribble(edges: Pixels) -> Pixels:
    """Soft edges as strokes of an even width: ridges of the blurred edges, drawn broad."""
    import cv2
    from controlnet_aux.util import nms

    strokes: Pixels = cv2.GaussianBlur(nms(edges, 127, 3.0), (0, 0), 3.0)
    return np.where(strokes > 4, 255, 0).astype(np.uint8)
