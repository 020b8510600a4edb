"""What preprocessors compute with: pictures at a resolution, and weight files found, checked and kept."""

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.devices import Devices
from engine.files import Files
from engine.problems import NodeFailure
from nodes.annotators import depth_anything
from nodes.annotators.line_networks import HED, TEED
from nodes.annotators.pictures import at_resolution, pictures, rgb, scaled
from nodes.annotators.weights import WeightFile, folders
from tests.nodes.annotator_files import OWNER, annotators, image, network, picture, save

WEIGHTS = WeightFile("owner/name", "folder/a.pth")


def teed() -> torch.nn.Module:
    def build() -> torch.nn.Module:
        from controlnet_aux.teed import TED

        found: torch.nn.Module = TED()
        return found

    return network(build)


@pytest.mark.parametrize(
    ("size", "resolution", "expected"),
    [
        ((100, 150), 64, (64, 96)),
        ((150, 100), 64, (96, 64)),
        ((99, 100), 200, (200, 202)),
        ((64, 64), 64, (64, 64)),
    ],
)
def test_the_shorter_side_gets_the_resolution(
    size: tuple[int, int], resolution: int, expected: tuple[int, int]
) -> None:
    assert scaled(np.zeros((*size, 3), np.uint8), resolution).shape == (*expected, 3)


def test_a_detector_sees_multiples_of_64_padded_by_the_edge_and_the_padding_is_cut_off() -> None:
    seen: list[np.ndarray] = []

    def draw(pixels: np.ndarray) -> np.ndarray:
        seen.append(pixels)
        return pixels[:, :, 0]

    small = picture("house.png", 100, 70)
    drawn = at_resolution(70, draw)(small)
    assert seen[0].shape == (128, 128, 3)
    assert np.array_equal(seen[0][:100, :70], small)
    assert (seen[0][100:, :70] == small[99:]).all()
    assert (seen[0][:100, 70:] == small[:, 69:]).all()
    assert np.array_equal(drawn, np.repeat(small[:, :, :1], 3, axis=2))


def test_fractions_of_a_byte_are_cut_off_and_what_is_out_of_range_is_bounded() -> None:
    found = next(pictures(torch.tensor([-1.0, 0.0, 1.9 / 255, 2.0]).view(1, 1, 4, 1)))
    assert found.ravel().tolist() == [0, 0, 1, 255]


def test_what_is_transparent_becomes_white() -> None:
    assert rgb(np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], np.uint8)).tolist() == [
        [[10, 20, 30], [255] * 3]
    ]


@pytest.mark.parametrize(
    "place",
    [
        "models/controlnet_aux/owner/name/folder/a.pth",
        "models/controlnet_aux/a.pth",
        "models/controlnet_aux/folder/a.safetensors",
        "models/annotators/a.pth",
        "custom_nodes/comfyui_controlnet_aux/ckpts/owner/name/folder/a.pth",
    ],
)
def test_weights_are_found_where_people_keep_them(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_bytes(b"x")
    assert WEIGHTS.found(Files.under(tmp_path)) == tmp_path / place


def test_a_folder_stated_for_the_role_comes_first(tmp_path: Path) -> None:
    files = Files.under(tmp_path, extra={"controlnet_aux": [tmp_path / "mine"]})
    assert folders(files)[:2] == (tmp_path / "mine", tmp_path / "models" / "controlnet_aux")


def test_missing_weights_are_named_with_their_origin_and_the_folders_searched(tmp_path: Path) -> None:
    with pytest.raises(NodeFailure) as failure:
        HED.loaded(Files.under(tmp_path), Devices("cpu"))
    said = str(failure.value)
    assert "'ControlNetHED.pth'" in said
    assert f"https://huggingface.co/{OWNER}/resolve/main/ControlNetHED.pth" in said
    assert str(tmp_path / "models" / "controlnet_aux" / OWNER / "ControlNetHED.pth") in said
    for folder in folders(Files.under(tmp_path)):
        assert str(folder) in said


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path) -> None:
    save(annotators(tmp_path) / "ControlNetHED.pth", teed().state_dict())
    with pytest.raises(NodeFailure, match=r"ControlNetHED\.pth does not hold HED's network: it lacks 'norm'"):
        HED.loaded(Files.under(tmp_path), Devices("cpu"))


def test_a_pickle_with_code_is_refused(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("harm",)

    save(annotators(tmp_path) / "ControlNetHED.pth", {"norm": Harmful()})
    with pytest.raises(NodeFailure, match=r"cannot read ControlNetHED\.pth"):
        HED.loaded(Files.under(tmp_path), Devices("cpu"))


def test_a_detector_is_kept_and_another_file_makes_another(tmp_path: Path) -> None:
    path = annotators(tmp_path, "bdsqlsz/qinglong_controlnet-lllite") / "Annotators" / "7_model.pth"
    state = teed().state_dict()
    save(path, state)
    files, devices = Files.under(tmp_path), Devices("cpu")
    first, digest = TEED.loaded(files, devices), TEED.digest(files)
    assert TEED.loaded(files, devices) is first
    save(path, {key: value + 1 for key, value in state.items()})
    assert TEED.digest(files) != digest
    assert TEED.loaded(files, devices) is not first
    assert devices.free() == 2 * sum(t.nbytes for t in state.values())


def test_positions_of_the_trained_size_are_kept_and_others_are_drawn_between() -> None:
    learnt = torch.arange(1 + 37 * 37, dtype=torch.float32).view(1, -1, 1)
    assert depth_anything.positions(learnt, 37, 37) is learnt
    other = depth_anything.positions(learnt, 37, 50)
    assert other.shape == (1, 1 + 37 * 50, 1)
    assert other[0, 0] == 0


def test_every_tensor_of_a_published_depth_anything_finds_its_place() -> None:
    size = depth_anything.Size(48, 4, 2, 16, (8, 8, 8, 8), (1, 2, 3, 4))
    own = depth_anything.DepthNetwork(size, (1, 2, 3, 4)).state_dict()
    block = [
        f"{part}.{kind}"
        for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
        for kind in ("weight", "bias")
    ]
    published = [
        "cls_token",
        "mask_token",
        "pos_embed",
        "patch_embed.proj.weight",
        "patch_embed.proj.bias",
        "norm.weight",
        "norm.bias",
    ]
    published += [f"blocks.{i}.{part}" for i in range(4) for part in (*block, "ls1.gamma", "ls2.gamma")]
    head = [f"projects.{i}" for i in range(4)] + [f"resize_layers.{i}" for i in (0, 1, 3)]
    head += [f"scratch.{name}" for name in ("output_conv1", "output_conv2.0", "output_conv2.2")]
    head += [f"scratch.refinenet{i}.out_conv" for i in range(1, 5)]
    head += [
        f"scratch.refinenet{i}.resConfUnit{j}.conv{k}" for i in range(1, 5) for j in (1, 2) for k in (1, 2)
    ]
    keys = [f"pretrained.{name}" for name in published]
    keys += [f"depth_head.{name}.{kind}" for name in head for kind in ("weight", "bias")]
    keys += [f"depth_head.scratch.layer{i}_rn.weight" for i in range(1, 5)]
    found = depth_anything.renamed({key: torch.zeros(3, 3) for key in keys})
    assert own.keys() <= found.keys()


def test_a_picture_of_a_node_comes_back_as_it_was() -> None:
    small = picture("house.png", 20, 30)
    assert np.array_equal(next(pictures(image(small))), small)
