"""The ports that preprocessors have in common."""

from typing import Annotated, Any, Literal, TypeAlias

from engine.devices import Devices
from engine.files import Files
from engine.ports import Given, Omittable, Port, Range

Resolution: TypeAlias = Annotated[int, Range(64, 16384, step=64), Omittable()]  # pixels of the shorter side
OnOff: TypeAlias = Annotated[Literal["enable", "disable"], Omittable()]
OffOn: TypeAlias = Annotated[Literal["disable", "enable"], Omittable()]
PoseKeypoint: TypeAlias = Annotated[Any, Port("POSE_KEYPOINT")]  # for each picture a dict of OpenPose's JSON
OurFiles: TypeAlias = Annotated[Files, Given()]
OurDevices: TypeAlias = Annotated[Devices, Given()]

LINES = "ControlNet Preprocessors/Line Extractors"
DEPTH = "ControlNet Preprocessors/Normal and Depth Estimators"
POSES = "ControlNet Preprocessors/Faces and Poses Estimators"
KEYPOINTS = "ControlNet Preprocessors/Pose Keypoint Postprocess"
SEGMENTS = "ControlNet Preprocessors/Semantic Segmentation"
"""Where the editor shows them."""
