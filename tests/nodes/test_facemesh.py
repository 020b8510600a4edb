"""MediaPipe's face mesh against mediapipe itself, and what is said where its files are missing or wrong."""

import base64
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from engine.devices import Devices
from engine.files import Files
from engine.problems import NodeFailure
from nodes import preprocessors
from nodes.annotators import facemesh
from nodes.annotators.face_lines import drawn_faces
from nodes.annotators.facemesh import FACE_MESH, FaceMesh
from nodes.preprocessors_pose import face_mesh
from tests.nodes.annotator_files import Pixels, image, made, picture, pixels
from tests.nodes.face_mesh_files import MODULES, stored

GOLDEN = Path(__file__).with_name("face_mesh_golden.json")
"""Landmarks in pixels and drawings; the file says how mediapipe made them."""
FINDER, MESH = MODULES
HOUSE = picture("house.png", 64, 64)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("face_mesh")
    stored(folder)
    return folder


@pytest.fixture(scope="session")
def networks(base: Path) -> FaceMesh:
    found: FaceMesh = FACE_MESH.loaded(Files.under(base), Devices("cpu"))
    return found


def photographs() -> dict[str, Pixels]:
    """An astronaut, upright and turned by 20 degrees near a border, and her face beside its mirror image."""
    from skimage.data import astronaut

    whole = astronaut()
    turn = cv2.getRotationMatrix2D((225.0, 115.0), 20, 1.0)
    pair = np.concatenate([whole[:256, 96:352], whole[:256, 351:95:-1]], axis=1)
    turned = cv2.warpAffine(whole, turn, (512, 512))[30:286, 128:320]
    return {"upright": whole, "turned": turned, "pair": pair}


def golden(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(GOLDEN.read_text())["pictures"][name]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["upright", "turned", "pair"])
def test_landmarks_equal_mediapipes(networks: FaceMesh, name: str) -> None:
    """To a hundredth of a pixel: float32 sums in another order move a face's place by 1e-4 of one."""
    shown, expected = photographs()[name], golden(name)["faces"]
    with torch.inference_mode():
        found = networks.faces(shown, 10, 0.5)
    assert len(found) == len(expected)
    for face, wanted in zip(found, expected, strict=True):
        height, width = shown.shape[:2]
        assert face[:, 0] * width == pytest.approx(np.array(wanted["x"]), abs=0.01)
        assert face[:, 1] * height == pytest.approx(np.array(wanted["y"]), abs=0.01)
        if "z" in wanted:
            assert face[:, 2] * width == pytest.approx(np.array(wanted["z"]), abs=0.01)


@pytest.mark.slow
def test_drawings_equal_controlnet_auxs(base: Path) -> None:
    """All but a line or two, whose ends may lie on the border between two pixels."""
    for name, shown in photographs().items():
        encoded = np.frombuffer(base64.b64decode(golden(name)["drawing"]), np.uint8)
        expected = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[:, :, ::-1]
        found = pixels(made(face_mesh, base, image=image(shown), resolution=min(shown.shape[:2])))[0]
        assert (found != expected).any(axis=2).sum() <= 0.02 * expected.any(axis=2).sum()


@pytest.mark.slow
def test_where_the_mesh_sees_no_face_there_is_none(networks: FaceMesh) -> None:
    upright = photographs()["upright"]
    with torch.inference_mode():
        assert len(networks.places(upright, 50, 0.01)) > 10
        assert len(networks.faces(upright, 50, 0.01)) == 1


@pytest.mark.slow
def test_each_picture_of_a_batch_is_drawn_and_one_without_faces_is_black(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upright = photographs()["upright"]
    batch = image(upright, np.zeros_like(upright), upright[:, ::-1].copy())
    found = made(face_mesh, base, image=batch)
    assert [bool(one.any()) for one in found] == [True, False, True]
    assert found[0].equal(made(face_mesh, base, image=batch[:1])[0])
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
def test_faces_are_counted_and_must_be_sure_and_large(base: Path) -> None:
    pair = image(photographs()["pair"])

    def sides(**inputs: Any) -> list[bool]:
        found = made(face_mesh, base, image=pair, **{"resolution": 256, **inputs})
        return [bool(half.any()) for half in found.chunk(2, dim=2)]

    assert sides() == [True, True]
    assert sides(max_faces=1) in ([True, False], [False, True])
    assert sides(min_confidence=1.0) == [False, False]
    assert sides(resolution=128) == [False, False]


class Says(nn.Module):
    """A network that gives the same answers to everything."""

    def __init__(self, *answers: Tensor) -> None:
        super().__init__()
        self.register_buffer("where", torch.zeros(1))
        self.answers = answers

    def forward(self, _: Tensor) -> tuple[Tensor, ...]:
        return tuple(answer[None] for answer in self.answers)


def seen(*cells: tuple[int, tuple[float, ...], float]) -> FaceMesh:
    """Networks that find boxes in some cells: centre, size and both eyes from its middle, and a chance."""
    boxes, chances = torch.zeros(896, 16), torch.full((896, 1), -100.0)
    for cell, numbers, chance in cells:
        boxes[cell, :8] = torch.tensor(numbers)
        chances[cell] = chance
    return FaceMesh(Says(boxes, chances), Says())  # type: ignore[arg-type]


MIDDLE = 2 * (16 * 8 + 8)
"""The first answer of the cell whose middle is at 68 of 128 pixels across and down."""


def test_a_place_is_a_square_around_a_box_turned_as_the_eyes_are() -> None:
    found = seen((MIDDLE, (-4, -4, 32, 16, -8, -8, 0, 0), 2.0))
    (place,) = found.places(np.zeros((64, 128, 3), np.uint8), 10, 0.5)
    assert place.centre == pytest.approx([0.5, 0.5])
    assert place.size * [128, 64] == pytest.approx([48, 48])
    assert place.angle == pytest.approx(np.pi / 4)
    assert not found.places(np.zeros((64, 128, 3), np.uint8), 10, 0.9)


def test_boxes_of_one_face_are_averaged_by_their_chances() -> None:
    found = seen(
        (MIDDLE, (0, 0, 32, 32, -8, 0, 8, 0), float(np.log(3))),  # a chance of 3/4
        (MIDDLE + 1, (6, 0, 32, 32, -2, 0, 14, 0), 0.0),  # of 1/2
        (0, (0, 0, 8, 8, -1, 0, 1, 0), 5.0),
    )
    places = found.places(np.zeros((128, 128, 3), np.uint8), 10, 0.1)
    assert [place.centre[0] * 128 for place in places] == pytest.approx([4, 68 + 6 * 0.5 / 1.25])
    assert len(found.places(np.zeros((128, 128, 3), np.uint8), 1, 0.1)) == 1


def test_of_two_boxes_in_one_place_the_less_sure_one_stays() -> None:
    """They overlap too little to be averaged, but the squares around them do overlap."""
    found = seen(
        (MIDDLE, (0, 0, 40, 10, -8, 0, 8, 0), 3.0),
        (MIDDLE + 1, (0, 8, 40, 10, -8, 8, 8, 8), 2.0),
    )
    (place,) = found.places(np.zeros((128, 128, 3), np.uint8), 10, 0.5)
    assert place.centre[1] * 128 == pytest.approx(76)


def test_a_box_without_an_area_is_no_endless_loop() -> None:
    tiny = np.zeros((3, 4, 2), np.float32)
    tiny[:, 1] = 1e-30
    assert len(facemesh._apart(tiny, np.ones(3, np.float32))) == 3


def face(left: float, top: float, side: float) -> npt.NDArray[np.float32]:
    """Landmarks spread over a square, in shares of the picture."""
    return np.column_stack(
        (np.random.default_rng(0).uniform(0, 1, (478, 2)) * side + (left, top), np.zeros(478))
    )


def test_small_faces_and_ends_outside_the_picture_are_not_drawn() -> None:
    assert not drawn_faces([face(0.1, 0.1, 0.2)], 256, 256).any()
    assert drawn_faces([face(0.1, 0.1, 0.5)], 256, 256).any()
    assert not drawn_faces([face(1.1, 0.1, 0.5)], 256, 256).any()
    assert not drawn_faces([], 8, 8).any()


def test_pupils_are_squares_in_two_colours_within_the_picture() -> None:
    points = face(0.5, 0.5, 0.45)
    points[468, :2], points[473, :2] = (0.25, 0.125), (0.0, 0.25)
    found = drawn_faces([points], 256, 256)
    assert (found[30:34, 62:66] == (250, 200, 10)).all()
    assert not found[60:68, :8].any()  # a square that the border would cut is left out, as numpy does there
    points[473, :2] = (0.25, 0.25)
    assert (drawn_faces([points], 256, 256)[62:66, 62:66] == (10, 200, 250)).all()


def test_missing_networks_are_named_and_where_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facemesh, "_PACKAGE", "no_such_package")
    with pytest.raises(NodeFailure, match=rf"no weights '{FINDER}'") as caught:
        made(face_mesh, tmp_path, image=image(HOUSE))
    message = str(caught.value)
    folder = tmp_path / "models" / "controlnet_aux"
    for part in (f"mediapipe-assets/tasks/testdata/vision/{FINDER}", str(folder), "mediapipe==0.10.21"):
        assert part in message
    with pytest.raises(NodeFailure, match="no weights"):
        preprocessors.chosen_digest(
            preprocessor="MediaPipe-FaceMeshPreprocessor", files=Files.under(tmp_path)
        )


def test_networks_are_found_by_bare_names_and_in_the_package_which_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finder, mesh = FACE_MESH.weights
    package = tmp_path / "site" / "face_mesh_package"
    for name, module in MODULES.items():
        (package / "modules" / module).mkdir(parents=True)
        (package / "modules" / module / name).write_bytes(b"packaged")
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.setattr(facemesh, "_PACKAGE", package.name)
    monkeypatch.syspath_prepend(str(package.parent))
    bare = tmp_path / "models" / "controlnet_aux" / FINDER
    bare.parent.mkdir(parents=True)
    bare.write_bytes(b"bare")
    files = Files.under(tmp_path)
    assert finder.found(files) == bare
    assert mesh.found(files) == package / "modules" / "face_landmark" / MESH
    assert package.name not in sys.modules
    assert face_mesh.fingerprint
    before = face_mesh.fingerprint(files=files)
    bare.write_bytes(b"other")
    assert face_mesh.fingerprint(files=Files.under(tmp_path)) != before


def test_files_that_are_no_networks_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "controlnet_aux" / "mediapipe"
    folder.mkdir(parents=True)
    for name in MODULES:
        (folder / name).write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(NodeFailure, match=f"cannot read {FINDER}: it is no TensorFlow Lite file"):
        made(face_mesh, tmp_path, image=image(HOUSE))


@pytest.mark.slow
def test_a_network_in_the_place_of_the_other_is_refused(base: Path, tmp_path: Path) -> None:
    folder = stored(tmp_path)
    (folder / MESH).write_bytes((folder / FINDER).read_bytes())
    with pytest.raises(NodeFailure, match="does not hold MediaPipe's face mesh: a network has the shapes"):
        made(face_mesh, tmp_path, image=image(HOUSE))
