"""Textual inversions in every layout of file; what is chosen is what ComfyUI chooses, as measured."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.files import Files
from nodes.diffusion.inversion import inversion_vectors

ONE, TWO, WIDE = torch.randn(2, 8), torch.randn(3, 8), torch.randn(2, 12)
LORA = torch.randn(2, 2)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "models" / "embeddings").mkdir(parents=True)
    return Files.under(tmp_path)


def chosen(files: Files, held: dict[str, Any], encoder: str, width: int) -> Tensor | None:
    folder = files.folders["embeddings"][0]
    if all(isinstance(value, Tensor) for value in held.values()):
        save_file({key: value.contiguous() for key, value in held.items()}, folder / "x.safetensors")
    else:
        torch.save(held, folder / "x.pt")
    return inversion_vectors(files, "x", encoder, width)


@pytest.mark.parametrize(
    ("held", "encoder", "expected"),
    [
        ({"emb_params": ONE}, "l", ONE),
        ({"emb_params": ONE[0]}, "h", ONE[:1]),
        ({"<cat>": ONE[0]}, "l", ONE[:1]),
        ({"clip_g": WIDE, "clip_l": ONE}, "l", ONE),
        ({"clip_g": WIDE, "clip_l": ONE}, "g", WIDE),
        ({"string_to_token": {"*": 265}, "string_to_param": {"*": ONE}, "name": "x"}, "l", ONE),
        ({"string_to_param": {"*": ONE, "other": TWO}}, "l", ONE),
        ({"bundle_emb.a.string_to_param.*": ONE, "lora_unet_a.lora_up.weight": LORA}, "l", ONE),
        ({"aaa.lora_up.weight": LORA, "bundle_emb.a.string_to_param.*": ONE}, "l", ONE),
        ({"bundle_emb.a.clip_l": ONE, "bundle_emb.a.clip_g": WIDE}, "g", WIDE),
        (
            {"bundle_emb.a.string_to_param.*": ONE, "bundle_emb.b.string_to_param.*": TWO},
            "l",
            torch.cat([ONE, TWO]),
        ),
    ],
)
def test_the_vectors_of_each_layout(
    held: dict[str, Any], encoder: str, expected: Tensor, files: Files
) -> None:
    found = chosen(files, held, encoder, expected.shape[-1])
    assert found is not None
    assert torch.equal(found, expected)


def test_vectors_of_another_width_are_left_out(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    assert chosen(files, {"clip_g": WIDE}, "l", 8) is None
    assert "width 12, the model needs 8" in caplog.text
