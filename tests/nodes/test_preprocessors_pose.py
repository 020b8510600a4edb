"""Poses: drawings as controlnet_aux's, keypoints as the ecosystem's, and people found in boxes."""

import colorsys
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from engine.devices import Devices
from engine.files import Files
from engine.problems import NodeFailure
from nodes import preprocessors_pose as nodes
from nodes.annotators import dwpose, poses
from nodes.annotators.poses import Pose
from nodes.annotators.weights import WeightFile, quiet
from tests.nodes.annotator_files import annotators, image, made, network, onnx, picture, pixels, save

HOUSE = picture("house.png", 120, 100)
EMPTY = np.zeros((480, 640, 3), np.uint8)
ESTIMATORS = {
    "dw-ll_ucoco_384.onnx": ("yzd-v/DWPose", (384, 288), [(133, 12, 16), (133, 12, 12)]),
    "dw-ll_ucoco.onnx": ("hr16/UnJIT-DWPose", (256, 192), [(133, 8, 16), (133, 8, 12)]),
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    cv2.setNumThreads(1)


def estimator(base: Path, name: str) -> None:
    repo, seen, branches = ESTIMATORS[name]
    onnx(annotators(base, repo) / name, seen, branches, joined=False)


def random_pose(seed: int) -> Pose:
    random = np.random.default_rng(seed)

    def points(n: int, gaps: float) -> list[Any]:
        spread = random.uniform(-0.05, 1.05, (n, 2))
        return [None if random.uniform() < gaps else (float(x), float(y)) for x, y in spread]

    return Pose(points(18, 0.2), points(21, 0), points(21, 0), points(70, 0))


def test_bodies_hands_and_faces_are_drawn_as_controlnet_aux_does() -> None:
    with quiet():
        from controlnet_aux.open_pose import Keypoint, util
    pose, canvas = random_pose(1), np.zeros((300, 200, 3), np.uint8)

    def keypoints(points: Any) -> list[Any]:
        return [p and Keypoint(*p) for p in points]

    expected = util.draw_facepose(util.draw_bodypose(canvas, keypoints(pose.body)), keypoints(pose.face))
    found = poses.drawn_poses([Pose(pose.body, face=pose.face).scaled(200, 300)], 300, 200)
    assert np.array_equal(found, expected)


def test_fingers_go_once_around_the_hues_and_joints_are_blue() -> None:
    hand = [(160.0, 20.0)] + [
        (40.0 + 60 * finger, 60.0 + 40 * joint) for finger in range(5) for joint in range(4)
    ]
    found = poses.drawn_poses([Pose((), left=hand)], 240, 320)
    for finger in range(5):
        column = 40 + 60 * finger
        assert found[60:181:40, column].tolist() == [[0, 0, 255]] * 4
        for joint in range(3):
            hue = colorsys.hsv_to_rgb((4 * finger + joint + 1) / 20, 1, 1)
            assert found[80 + 40 * joint, column] == pytest.approx([255 * part for part in hue], abs=0.6)


def test_limbs_grow_broader_with_the_picture_where_that_is_wanted() -> None:
    body = [None] * 18
    body[1], body[2] = (100.0, 100.0), (100.0, 400.0)  # type: ignore[call-overload]
    breadths = [
        int(poses.drawn_poses([Pose(body)], 600, 600, broad)[250].any(axis=1).sum())
        for broad in (False, True)
    ]
    assert breadths[1] == pytest.approx(2 * breadths[0], abs=2)


def test_keypoints_as_json_come_back() -> None:
    pose = random_pose(3).scaled(640, 480)
    frame = json.loads(json.dumps(poses.as_json([pose], 480, 640)))
    (found,), height, width = poses.from_json(frame)
    assert (found, height, width) == (pose, 480, 640)
    assert frame["people"][0]["pose_keypoints_2d"][:3] in (
        [*pose.body[0], 1.0] if pose.body[0] else [],
        [0, 0, 0],
    )


def test_keypoints_are_drawn_and_saved(tmp_path: Path) -> None:
    frames = [poses.as_json([random_pose(4)], 64, 96)]
    drawn = nodes.render_people(kps=frames, render_hand=False)
    assert drawn.shape == (1, 64, 96, 3)
    assert drawn.any()
    saved = nodes.save_keypoints(pose_kps=frames, filename_prefix="k", files=Files.under(tmp_path))
    path = Files.under(tmp_path).saved(saved.ui["json"][0])
    assert path
    assert json.loads(path.read_text()) == frames
    with pytest.raises(NodeFailure, match="no keypoints"):
        nodes.render_people(kps=[{"version": "ap10k"}])


@pytest.mark.parametrize(
    ("name", "sums", "drawn"),
    [
        ("dw-ll_ucoco_384.onnx", (1345.656, 4631.545, 2046.061, 1649.793), 5342700),
        ("dw-ll_ucoco.onnx", (2120.07, 4672.018, 2063.747, 1966.091), 5048013),
    ],
)
def test_dwposes_keypoints_equal_the_ecosystems(
    tmp_path: Path, name: str, sums: tuple[float, ...], drawn: int
) -> None:
    """The numbers are those of comfyui_controlnet_aux 1.1.5 with the same file."""
    estimator(tmp_path, name)
    shown, frames = made(
        nodes.dw_pose, tmp_path, image=image(HOUSE), resolution=128, bbox_detector="None", pose_estimator=name
    )
    (person,) = frames[0]["people"]
    assert [sum(numbers) for numbers in person.values()] == pytest.approx(sums, abs=0.01)
    assert (frames[0]["canvas_height"], frames[0]["canvas_width"]) == (120, 100)
    assert shown.shape == (1, 154, 128, 3)
    assert int(pixels(shown).astype(int).sum()) == pytest.approx(drawn, rel=1e-3)


def test_parts_that_are_not_wanted_are_neither_drawn_nor_listed(tmp_path: Path) -> None:
    estimator(tmp_path, "dw-ll_ucoco_384.onnx")
    off = {f"detect_{part}": "disable" for part in ("hand", "body", "face")}
    shown, frames = made(nodes.dw_pose, tmp_path, image=image(HOUSE, HOUSE), bbox_detector="None", **off)
    assert not shown.any()
    assert len(frames) == 2
    (person,) = frames[1]["people"]
    assert person == {
        "pose_keypoints_2d": [0.0] * 54,
        "face_keypoints_2d": None,
        "hand_left_keypoints_2d": None,
        "hand_right_keypoints_2d": None,
    }


def cell(row: int, column: int, stride: int) -> int:
    """The index of a cell among YOLOX's 8400."""
    before = {8: 0, 16: 6400, 32: 8000}[stride]
    return before + row * (640 // stride) + column


def test_people_are_found_where_the_network_is_sure_and_each_once() -> None:
    answer = np.zeros((8400, 85), np.float32)
    answer[cell(10, 5, 16), :6] = 0.5, 0.25, np.log(4), np.log(8), 1.0, 0.9
    answer[cell(10, 5, 16) + 1, :6] = 0.0, 0.25, np.log(4), np.log(8), 1.0, 0.8  # the same one
    answer[cell(2, 15, 32), :6] = 0, 0, 0, 0, 0.5, 0.7
    answer[cell(40, 40, 8), :7] = 0, 0, 0, 0, 1.0, 0.2, 0.9  # a bicycle
    found = dwpose.people(answer, EMPTY)  # as wide as what is seen
    assert found == pytest.approx(np.array([[56, 100, 120, 228], [464, 48, 496, 80]]))
    assert dwpose.people(np.zeros((8400, 85), np.float32), EMPTY).shape == (0, 4)


def test_no_people_give_a_black_picture(tmp_path: Path) -> None:
    estimator(tmp_path, "dw-ll_ucoco_384.onnx")
    onnx(
        annotators(tmp_path, "yzd-v/DWPose") / "yolox_l.onnx",
        (640, 640),
        [(85, 8, 8), (85, 16, 16), (85, 32, 32)],
        joined=True,
    )
    even = torch.full((1, 64, 64, 3), 114.4 / 255)
    shown, frames = made(
        nodes.dw_pose, tmp_path, image=even, resolution=64, bbox_detector="yolox_l.torchscript.pt"
    )
    assert not shown.any()
    assert frames[0]["people"] == []


def test_what_opencv_does_not_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NodeFailure, match="yolo_nas_l_fp16"):
        made(nodes.dw_pose, tmp_path, image=image(HOUSE), bbox_detector="yolo_nas_l_fp16.onnx")
    (annotators(tmp_path, "o/n") / "a.onnx").write_bytes(b"<html>")
    with pytest.raises(NodeFailure, match=r"a\.onnx is no ONNX network"):
        dwpose.network(WeightFile("o/n", "a.onnx"), Files.under(tmp_path), Devices("cpu"))


@pytest.mark.slow
def test_openposes_equal_controlnet_auxs(tmp_path: Path) -> None:
    with quiet():
        from controlnet_aux import OpenposeDetector
        from controlnet_aux.open_pose.face import FaceNet
        from controlnet_aux.open_pose.model import bodypose_model, handpose_model
    folder = annotators(tmp_path)
    for name, build in (("body_pose_model.pth", bodypose_model), ("hand_pose_model.pth", handpose_model)):
        state = network(build).state_dict()
        save(folder / name, {key.partition(".")[2]: value for key, value in state.items()})
    save(folder / "facenet.pth", network(FaceNet).state_dict())
    shown = HOUSE[:64, :64]
    options = {"detect_hand": "disable", "resolution": 64}
    found, frames = made(nodes.openpose, tmp_path, image=image(shown), **options)
    with quiet(), torch.inference_mode():
        detector = OpenposeDetector.from_pretrained(str(folder))
        expected = detector(shown, 64, 64, include_face=True, output_type="np")
    assert np.array_equal(pixels(found)[0], expected)
    assert (frames[0]["canvas_height"], frames[0]["canvas_width"]) == (64, 64)
