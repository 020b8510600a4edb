"""Networks that find depth and surface normals: the detectors of controlnet_aux, filled with weights."""

from types import SimpleNamespace
from typing import Any

import numpy as np
from torch import Tensor

from nodes.annotators.pictures import Draw, Pixels
from nodes.annotators.weights import Annotator, WeightFile, filled, silenced

OWNER = "lllyasviel/Annotators"
State = dict[str, Tensor]


def _midas(_: str, state: State) -> Any:
    from controlnet_aux.midas import MidasDetector
    from controlnet_aux.midas.midas.dpt_depth import DPTDepthModel

    return MidasDetector(filled(DPTDepthModel(path=None, backbone="vitb_rn50_384", non_negative=True), state))


def _zoe(_: str, state: State) -> Any:
    from controlnet_aux.zoe import ZoeDepth, ZoeDetector, get_config

    network = ZoeDepth.build_from_config(get_config("zoedepth", "infer"))
    return ZoeDetector(filled(network, state, may_lack="relative_position_index"))


def _leres(_: str, state: State) -> Any:
    from controlnet_aux.leres import LeresDetector, RelDepthModel

    network = filled(RelDepthModel(backbone="resnext101"), state)
    network.train()  # it normalises by the picture's own statistics, as everywhere in the ecosystem
    return LeresDetector(network, None)


def _leres_boosted(device: str, state: State, merging: State) -> Any:
    from controlnet_aux.leres import Pix2Pix4DepthModel
    from controlnet_aux.leres.leres import depthmap

    silenced(depthmap)

    options = SimpleNamespace(
        isTrain=False, gpu_ids=[], checkpoints_dir="", name="", preprocess="scale_width", input_nc=2,
        output_nc=1,
    )  # fmt: skip
    detector, merger = _leres(device, state), Pix2Pix4DepthModel(options)
    filled(merger.netG, merging)
    merger.device = device
    detector.pix2pixmodel = merger
    return detector


def _normal_bae(_: str, state: State) -> Any:
    from controlnet_aux.normalbae import NNET, NormalBaeDetector
    from controlnet_aux.normalbae.nets.submodules import encoder

    silenced(encoder)
    options = SimpleNamespace(
        mode="client", architecture="BN", pretrained="scannet", sampling_ratio=0.4, importance_ratio=0.7
    )
    return NormalBaeDetector(filled(NNET(options), state))


MIDAS = Annotator("MiDaS' DPT hybrid", (WeightFile(OWNER, "dpt_hybrid-midas-501f0c75.pt"),), _midas)
ZOE = Annotator("ZoeDepth", (WeightFile(OWNER, "ZoeD_M12_N.pt"),), _zoe)
LERES = Annotator("LeReS", (WeightFile(OWNER, "res101.pth"),), _leres)
BOOSTED_LERES = Annotator(
    "LeReS and its merging network",
    (WeightFile(OWNER, "res101.pth"), WeightFile(OWNER, "latest_net_G.pth")),
    _leres_boosted,
)
NORMAL_BAE = Annotator("NormalBae", (WeightFile(OWNER, "scannet.pt"),), _normal_bae)


def midas_normals(detector: Any, a: float, background: float) -> Draw:
    """Normals from the slopes of MiDaS' depth.

    Args:
        a: The length of the normal's part towards the viewer, in units of slope.
        background: Relative nearness below which a pixel looks at the viewer.
    """

    def draw(picture: Pixels) -> Pixels:
        side = min(picture.shape[:2])
        _, normals = detector(picture, a, background, True, side, side, "np")
        found: Pixels = np.ascontiguousarray(normals)
        return found

    return draw
