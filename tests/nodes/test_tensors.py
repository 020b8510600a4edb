"""Reading weight files: what they hold, and what is wrong with those that cannot be read."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.problems import NodeFailure
from nodes.diffusion.tensors import read_json, shapes, tensors

HELD = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.float16)}


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture(params=["w.safetensors", "w.ckpt"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path: Path = tmp_path / request.param
    if path.suffix == ".ckpt":
        torch.save({"state_dict": HELD, "epoch": 3}, path)
    else:
        save_file(HELD, path)
    return path


def test_shapes_and_tensors_are_read(written: Path) -> None:
    assert shapes(written) == {"a.weight": (2, 3), "b": (4,)}
    held = tensors(written)
    assert held.keys() == HELD.keys()
    assert all(torch.equal(held[key], HELD[key]) and held[key].dtype == HELD[key].dtype for key in HELD)


def test_only_wanted_tensors_are_read(written: Path) -> None:
    assert tensors(written, lambda key: key.startswith("a")).keys() == {"a.weight"}


def test_a_file_cut_short_says_so(written: Path) -> None:
    written.write_bytes(written.read_bytes()[:-9])
    with pytest.raises(NodeFailure, match=r"cannot read w\.") as caught:
        tensors(written)
    assert "download" in caught.value.hint


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>Not found", "DOCTYPE"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
        (bytes(range(129, 256)) * 9, "damaged"),
    ],
)
def test_what_is_no_weight_file_is_described(tmp_path: Path, suffix: str, content: bytes, hint: str) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(NodeFailure, match=r"cannot read w\.") as caught:
        shapes(path)
    assert hint in caught.value.hint


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_code_in_a_pickle_is_not_executed(tmp_path: Path, save: object) -> None:
    path, folder = tmp_path / "w.ckpt", tmp_path / "made"
    save({"state_dict": HELD, "trap": Trap(folder)}, path)  # type: ignore[operator]
    with pytest.raises(NodeFailure, match=r"cannot read w\.ckpt"):
        tensors(path)
    assert not folder.exists()


def test_a_missing_file_and_a_folder_without_configuration_are_failures(tmp_path: Path) -> None:
    with pytest.raises(NodeFailure, match="nothing"):
        tensors(tmp_path / "nothing.safetensors")
    with pytest.raises(NodeFailure, match=r"config\.json"):
        read_json(tmp_path / "config.json")


def test_eight_bit_weights_are_read_with_their_factors(tmp_path: Path) -> None:
    value = torch.tensor([[1.0, -2.0], [0.5, 4.0]])
    held = {
        "a.weight": value.to(torch.float8_e4m3fn),
        "a.scale_weight": torch.tensor(0.25),
        "b.weight": value.to(torch.float8_e4m3fn),
        "scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn),
    }
    save_file(held, tmp_path / "w.safetensors")
    read = tensors(tmp_path / "w.safetensors", lambda key: key.endswith(".weight"))
    assert torch.equal(read["a.weight"].float(), value / 4)
    assert torch.equal(read["b.weight"].float(), value)
    assert "a.scale_weight" not in tensors(tmp_path / "w.safetensors")
