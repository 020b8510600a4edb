"""Latents from and to files."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch

from engine.files import Files
from engine.problems import NodeFailure, Wrong
from nodes.latent_files import SD1_SCALE, load_latent, save_latent
from nodes.ports import Latent


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "input").mkdir()
    return Files.under(tmp_path)


def test_saving_and_loading_gives_the_latent_back(files: Files) -> None:
    latent = Latent(torch.randn(2, 4, 6, 8))
    (link,) = save_latent(samples=latent, files=files).ui["latents"]
    assert (link["subfolder"], link["filename"]) == ("latents", "ComfyUI_00001_.latent")
    path = files.saved(link)
    assert path
    (files.folders["input"][0] / "a.latent").write_bytes(path.read_bytes())
    assert load_latent(latent="a.latent", files=files).samples.equal(latent.samples)


def test_a_saved_latent_carries_its_workflow(files: Files) -> None:
    prompt: dict[str, Any] = {"1": {}}
    extra: dict[str, Any] = {"workflow": {"nodes": []}}
    shown = save_latent(
        samples=Latent(torch.zeros(1, 4, 2, 2)), prompt=prompt, extra_pnginfo=extra, files=files
    )
    path = files.saved(shown.ui["latents"][0])
    with safetensors.safe_open(path, "pt") as file:
        assert {k: json.loads(v) for k, v in file.metadata().items()} == {"prompt": prompt, **extra}


def test_the_same_latent_is_the_same_bytes(files: Files) -> None:
    latent, texts = Latent(torch.ones(1, 4, 2, 2)), {"workflow": {"a": "é"}, "b": {}, "c": {}, "d": {}}
    written = [
        save_latent(samples=latent, prompt={"1": {}}, extra_pnginfo=texts, files=files) for _ in range(4)
    ]
    assert len({files.saved(shown.ui["latents"][0]).read_bytes() for shown in written}) == 1


def test_a_file_of_the_first_format_is_scaled_back(files: Files) -> None:
    path = files.folders["input"][0] / "old.latent"
    safetensors.torch.save_file({"latent_tensor": torch.full((1, 4, 2, 2), SD1_SCALE)}, path)
    torch.testing.assert_close(load_latent(latent="old.latent", files=files).samples, torch.ones(1, 4, 2, 2))


@pytest.mark.parametrize("content", [b"", b"damaged", b"\xff" * 64])
def test_a_damaged_file_is_a_failure(files: Files, content: bytes) -> None:
    (files.folders["input"][0] / "a.latent").write_bytes(content)
    with pytest.raises(NodeFailure, match="no latent file"):
        load_latent(latent="a.latent", files=files)


def test_a_file_of_something_else_is_a_failure_that_says_what(files: Files) -> None:
    safetensors.torch.save_file({"lora_up": torch.zeros(1)}, files.folders["input"][0] / "a.latent")
    with pytest.raises(NodeFailure, match="but lora_up"):
        load_latent(latent="a.latent", files=files)


def test_a_missing_file_is_found_before_anything_runs(files: Files) -> None:
    check = load_latent.check
    assert check
    (wrong,) = check(latent="a.latent", files=files)
    assert isinstance(wrong, Wrong)
    assert (wrong.port, wrong.code) == ("latent", "value_not_in_list")
