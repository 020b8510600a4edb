"""Poses of people for ControlNets, as pictures and as OpenPose's keypoints."""

import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch

from engine.node import node
from engine.ports import Omittable, Range, Shown
from engine.problems import NodeFailure
from engine.steps import Progress, Steps
from nodes.annotators import dwpose
from nodes.annotators.face_lines import drawn_faces
from nodes.annotators.facemesh import FACE_MESH
from nodes.annotators.openpose import OPENPOSE, found_poses
from nodes.annotators.pictures import (
    Pixels,
    as_image,
    at_resolution,
    drawn_in_steps,
    pictures,
    rgb,
    scaled,
)
from nodes.annotators.ports import (
    KEYPOINTS,
    POSES,
    OffOn,
    OnOff,
    OurDevices,
    OurFiles,
    PoseKeypoint,
    Resolution,
)
from nodes.annotators.poses import Pose, as_json, drawn_poses, from_json
from nodes.annotators.weights import content, fingerprint_of
from nodes.ports import Image

Detector = Annotated[
    Literal[
        "None",
        "yolox_l.torchscript.pt",
        "yolox_l.onnx",
        "yolo_nas_l_fp16.onnx",
        "yolo_nas_m_fp16.onnx",
        "yolo_nas_s_fp16.onnx",
    ],
    Omittable(),
]
Estimator = Annotated[
    Literal["dw-ll_ucoco_384_bs5.torchscript.pt", "dw-ll_ucoco_384.onnx", "dw-ll_ucoco.onnx"], Omittable()
]


@node(
    "OpenposePreprocessor",
    category=POSES,
    title="OpenPose Pose",
    outputs=("IMAGE", "POSE_KEYPOINT"),
    fingerprint=fingerprint_of(OPENPOSE),
)
def openpose(
    *,
    image: Image,
    detect_hand: OnOff = "enable",
    detect_body: OnOff = "enable",
    detect_face: OnOff = "enable",
    resolution: Resolution = 512,
    scale_stick_for_xinsr_cn: OffOn = "disable",
    files: OurFiles,
    devices: OurDevices,
) -> Steps[Shown[tuple[Image, PoseKeypoint]]]:
    """Draw the poses of people (OpenPose, Cao et al. 2017).

    Args:
        image: The pictures.
        detect_hand: Whether to look for hands.
        detect_body: Whether to draw bodies.
        detect_face: Whether to look for faces.
        resolution: The result's shorter side, in pixels.
        scale_stick_for_xinsr_cn: Whether limbs grow broader with the picture, for xinsir's ControlNets.
    """
    hands, faces = detect_hand == "enable", detect_face == "enable"
    detector = OPENPOSE.loaded(files, devices)
    broad = scale_stick_for_xinsr_cn == "enable"

    def draw(picture: Pixels) -> tuple[Pixels, dict[str, Any]]:
        poses: list[Pose] = []

        def padded(whole: Pixels) -> Pixels:
            height, width = whole.shape[:2]
            poses.extend(found_poses(detector, whole, hands, faces))
            shown = [pose.scaled(width, height).only(detect_body == "enable", hands, faces) for pose in poses]
            return drawn_poses(shown, height, width, broad)

        drawing = at_resolution(resolution, padded)(picture)
        return drawing, as_json(poses, *drawing.shape[:2])

    return (yield from _posed(image, draw))


def dwpose_digest(
    *,
    bbox_detector: str = "yolox_l.onnx",
    pose_estimator: str = "dw-ll_ucoco_384_bs5.torchscript.pt",
    files: OurFiles,
) -> str:
    """The content of the chosen networks."""
    chosen = dwpose.weight_files(bbox_detector, pose_estimator)
    return " ".join(content(files, weight.found(files)) for weight in chosen)


@node(
    "DWPreprocessor",
    category=POSES,
    title="DWPose Estimator",
    outputs=("IMAGE", "POSE_KEYPOINT"),
    fingerprint=dwpose_digest,
)
def dw_pose(
    *,
    image: Image,
    detect_hand: OnOff = "enable",
    detect_body: OnOff = "enable",
    detect_face: OnOff = "enable",
    resolution: Resolution = 512,
    bbox_detector: Detector = "yolox_l.onnx",
    pose_estimator: Estimator = "dw-ll_ucoco_384_bs5.torchscript.pt",
    scale_stick_for_xinsr_cn: OffOn = "disable",
    files: OurFiles,
    devices: OurDevices,
) -> Steps[Shown[tuple[Image, PoseKeypoint]]]:
    """Draw the poses of people (DWPose, Yang et al. 2023).

    Args:
        image: The pictures.
        detect_hand: Whether to draw hands.
        detect_body: Whether to draw bodies.
        detect_face: Whether to draw faces.
        resolution: The result's shorter side, in pixels; people are looked for at the picture's own size.
        bbox_detector: What finds people; "None" takes a picture for one person. TorchScript files hold code
            and are not run: the ONNX file of the same network is.
        pose_estimator: What finds keypoints; likewise.
        scale_stick_for_xinsr_cn: Whether limbs grow broader with the picture, for xinsir's ControlNets.
    """
    chosen = dwpose.weight_files(bbox_detector, pose_estimator)
    estimator, *detectors = [dwpose.network(weight, files, devices) for weight in chosen]
    side = 256 if "384" not in chosen[0].name else 384
    wanted = detect_body == "enable", detect_hand == "enable", detect_face == "enable"
    broad = scale_stick_for_xinsr_cn == "enable"

    def draw(picture: Pixels) -> tuple[Pixels, dict[str, Any]]:
        picture = rgb(picture)
        height, width = picture.shape[:2]
        found = dwpose.found_poses(estimator, detectors[0] if detectors else None, picture, side)
        poses = [pose.only(*wanted) for pose in found]
        drawing = drawn_poses(poses, height, width, broad)
        return scaled(drawing, resolution), as_json(poses, height, width)

    return (yield from _posed(image, draw))


@node(
    "MediaPipe-FaceMeshPreprocessor",
    category=POSES,
    title="MediaPipe Face Mesh",
    fingerprint=fingerprint_of(FACE_MESH),
)
def face_mesh(
    *,
    image: Image,
    max_faces: Annotated[int, Range(1, 50), Omittable()] = 10,
    min_confidence: Annotated[float, Range(0.01, 1.0, step=0.01), Omittable()] = 0.5,
    resolution: Resolution = 512,
    files: OurFiles,
    devices: OurDevices,
) -> Steps[Image]:
    """Draw the ovals, eyes, brows and lips of faces (MediaPipe's Attention Mesh, Grishchenko et al. 2020).

    Args:
        image: The pictures.
        max_faces: How many faces to look at, the surest first; those below 64 pixels are not drawn.
        min_confidence: The least chance that there is a face.
        resolution: The result's shorter side, in pixels.
    """
    found = FACE_MESH.loaded(files, devices)

    def draw(picture: Pixels) -> Pixels:
        return drawn_faces(found.faces(picture, max_faces, min_confidence), *picture.shape[:2])

    return (yield from drawn_in_steps(image, at_resolution(resolution, draw)))


@node("RenderPeopleKps", category=KEYPOINTS, title="Render Pose JSON (Human)")
def render_people(
    *,
    kps: PoseKeypoint,
    render_body: bool = True,
    render_hand: bool = True,
    render_face: bool = True,
) -> Image:
    """Draw the poses of people from their keypoints, those of the first picture.

    Args:
        kps: OpenPose's keypoints.
        render_body: Whether to draw bodies.
        render_hand: Whether to draw hands.
        render_face: Whether to draw faces.

    Raises:
        NodeFailure: These are no keypoints of people.
    """
    try:
        poses, height, width = from_json(kps[0] if isinstance(kps, list) else kps)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise NodeFailure("these are no keypoints of people", "link an OpenPose or DWPose node") from error
    shown = [pose.only(render_body, render_hand, render_face) for pose in poses]
    return as_image(drawn_poses(shown, height, width))[None]


@node("SavePoseKpsAsJsonFile", category=KEYPOINTS, title="Save Pose Keypoints", is_output=True)
def save_keypoints(
    *, pose_kps: PoseKeypoint, filename_prefix: str = "PoseKeypoint", files: OurFiles
) -> Shown[None]:
    """Write the keypoints of poses to a JSON file in the output folder.

    Args:
        pose_kps: OpenPose's keypoints.
        filename_prefix: Begins the file's name; may hold subfolders.
    """
    saved = files.write("output", filename_prefix, ".json", json.dumps(pose_kps).encode())
    return Shown(None, {"json": [saved.as_link()]})


def _posed(
    image: Image, draw: Callable[[Pixels], tuple[Pixels, dict[str, Any]]]
) -> Steps[Shown[tuple[Image, PoseKeypoint]]]:
    """The drawings of a batch and the keypoints of each, shown as text too."""
    drawings, frames = [], []
    for done, picture in enumerate(pictures(image), 1):
        drawing, frame = draw(picture)
        drawings.append(as_image(drawing))
        frames.append(frame)
        yield Progress(done, len(image))
    return Shown((torch.stack(drawings), frames), {"openpose_json": [json.dumps(frames, indent=4)]})
