"""OpenPose (Cao et al. 2017) by the networks of controlnet_aux: people, their hands and faces."""

from typing import Any

from torch import Tensor, nn

from nodes.annotators.pictures import Pixels
from nodes.annotators.poses import Point, Points, Pose
from nodes.annotators.weights import Annotator, UnfitWeights, WeightFile, filled

OWNER = "lllyasviel/Annotators"
State = dict[str, Tensor]


def _openpose(_: str, body: State, hand: State, face: State) -> Any:
    from controlnet_aux.open_pose import Body, Face, Hand, OpenposeDetector
    from controlnet_aux.open_pose.face import FaceNet, params
    from controlnet_aux.open_pose.model import bodypose_model, handpose_model

    body_finder, hand_finder, face_finder = Body.__new__(Body), Hand.__new__(Hand), Face.__new__(Face)
    body_finder.model = _caffe(bodypose_model(), body)
    hand_finder.model = _caffe(handpose_model(), hand)
    face_finder.model = filled(FaceNet(), face)
    face_finder.inference_size = params["inference_img_size"]
    face_finder.sigma, face_finder.threshold = params["gaussian_sigma"], params["heatmap_peak_thresh"]
    return OpenposeDetector(body_finder, hand_finder, face_finder)


def _caffe(network: nn.Module, state: State) -> Any:
    """A network whose file names its layers without the blocks that they are in."""
    bare = {key: key.partition(".")[2] for key in network.state_dict()}
    if missing := [name for name in bare.values() if name not in state]:
        raise UnfitWeights(f"it lacks {missing[0]!r} and {len(missing) - 1} more")
    return filled(network, {key: state[name] for key, name in bare.items()})


OPENPOSE = Annotator(
    "OpenPose's networks of body, hand and face",
    tuple(WeightFile(OWNER, name) for name in ("body_pose_model.pth", "hand_pose_model.pth", "facenet.pth")),
    _openpose,
)


def found_poses(detector: Any, picture: Pixels, hands: bool, faces: bool) -> list[Pose]:
    """The people in a picture, points as shares of its width and height."""
    found = detector.detect_poses(picture, hands, faces)
    return [
        Pose(_points(p.body.keypoints) or (), *map(_points, (p.left_hand, p.right_hand, p.face)))
        for p in found
    ]


def _points(keypoints: Any) -> Points | None:
    def point(keypoint: Any) -> Point:
        return keypoint and (float(keypoint.x), float(keypoint.y))

    return None if keypoints is None else [point(k) for k in keypoints]
