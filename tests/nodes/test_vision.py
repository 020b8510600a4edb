"""CLIP's picture encoder: files in every layout against transformers, prepared pictures against ComfyUI."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.devices import Devices
from engine.problems import NodeFailure
from engine.steps import run_alone
from nodes import vision as nodes
from nodes.diffusion.families import vision
from nodes.diffusion.vision import ClipVision, VisionOutput, prepared
from tests.nodes.ldm_files import save_sd1
from tests.nodes.storybook import files_under
from tests.nodes.vision_files import SIZES, network, save_vision

PICTURE = torch.arange(7 * 10 * 3).reshape(1, 7, 10, 3) * 37 % 101 / 100


def loaded(base: Path, name: str) -> ClipVision:
    files, devices = files_under(base), Devices("cpu")
    return nodes.clip_vision_loader(clip_name=name, files=files, devices=devices)


def encoded(encoder: ClipVision, pictures: Tensor, crop: Any = "center") -> VisionOutput:
    with torch.inference_mode():
        return run_alone(nodes.clip_vision_encode(clip_vision=encoder, image=pictures, crop=crop))


@pytest.mark.parametrize(
    ("size", "layout"),
    [
        ("B", "transformers"),
        ("L", "transformers"),
        ("H", "transformers"),
        ("bigG", "transformers"),
        ("L", "both encoders"),
        ("L", "folder"),
        ("L", "OpenCLIP"),
        ("H", "OpenCLIP"),
        ("H", "unCLIP checkpoint"),
    ],
)
def test_every_layout_gives_the_encoder_of_transformers(size: str, layout: str, tmp_path: Path) -> None:
    name = "folder" if layout == "folder" else "one.safetensors"
    save_vision(tmp_path / "models" / "clip_vision" / name, theirs := network(size), layout)
    pictures = torch.rand(2, 40, 30, 3, generator=torch.Generator().manual_seed(0))
    ours = encoded(loaded(tmp_path, name), pictures)
    with torch.inference_mode():
        out = theirs(prepared(pictures, 28, crop=True), output_hidden_states=True)
    assert ours.image_embeds.shape == (2, SIZES[size]["projection_dim"])
    torch.testing.assert_close(ours.image_embeds, out.image_embeds)
    torch.testing.assert_close(ours.last_hidden_state, out.last_hidden_state)
    torch.testing.assert_close(ours.penultimate_hidden_states, out.hidden_states[-2])


@pytest.mark.parametrize(
    ("crop", "green"),
    [
        (True, [144, 187, 236, 67, 139, 183, 232, 63, 135, 178, 227, 58, 130, 174, 223, 54]),
        (False, [114, 182, 184, 41, 109, 178, 180, 37, 105, 173, 175, 32, 100, 169, 171, 28]),
    ],
)
def test_pictures_are_prepared_as_in_comfyui(crop: bool, green: list[int]) -> None:
    seen = prepared(PICTURE, 4, crop=crop)
    assert seen.shape == (1, 3, 4, 4)
    torch.testing.assert_close(
        (seen[0, 1] * 0.26130258 + 0.4578275) * 255, torch.tensor(green).view(4, 4).float()
    )


def test_a_picture_of_the_right_size_is_rounded_and_normalised_only() -> None:
    picture = torch.tensor([1.2, 0.501, -0.1, 0.7]).expand(1, 4, 4, 4)
    seen = prepared(picture, 4, crop=True)[0, :, 0, 0]
    mean, std = (
        torch.tensor([0.48145466, 0.4578275, 0.40821073]),
        torch.tensor([0.26862954, 0.26130258, 0.27577711]),
    )
    torch.testing.assert_close(seen, (torch.tensor([1.0, 128 / 255, 0.0]) - mean) / std)


def test_pictures_are_encoded_alike_alone_and_together_and_by_the_method_that_nodes_call(
    tmp_path: Path,
) -> None:
    save_vision(tmp_path / "models" / "clip_vision" / "one.safetensors", network("L"), "transformers")
    encoder = loaded(tmp_path, "one.safetensors")
    pictures = torch.rand(2, 30, 44, 3, generator=torch.Generator().manual_seed(1))
    both, second = encoded(encoder, pictures, "none"), encoded(encoder, pictures[1:], "none")
    torch.testing.assert_close(both.image_embeds[1:], second.image_embeds)
    with torch.inference_mode():
        assert torch.equal(encoder.encode_image(pictures, crop=False).image_embeds, both.image_embeds)
    assert not torch.allclose(encoded(encoder, pictures).image_embeds, both.image_embeds)
    assert encoder == loaded(tmp_path, "one.safetensors")


def test_the_fingerprint_is_the_content(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "clip_vision"
    save_vision(folder / "one.safetensors", network("B"), "transformers")
    (folder / "two.safetensors").write_bytes((folder / "one.safetensors").read_bytes())
    save_file({"x": torch.zeros(1)}, folder / "other.safetensors")
    one, two, other = (
        nodes.vision_digest(clip_name=f"{name}.safetensors", files=files_under(tmp_path))
        for name in ("one", "two", "other")
    )
    assert one == two != other


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({"x": torch.zeros(1)}, "CLIP picture encoder: it holds 1 tensors"),
        ({"visual.conv1.weight": torch.zeros(8, 3, 2, 2)}, "position_embedding.weight is missing"),
        ({"vision_model.embeddings.patch_embedding.weight": torch.zeros(8, 3, 2, 2)}, "is missing"),
    ],
)
def test_a_file_that_is_no_picture_encoder_is_refused(
    held: dict[str, Tensor], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "models" / "clip_vision" / "one.safetensors"
    path.parent.mkdir(parents=True)
    save_file(held, path)
    with pytest.raises(NodeFailure, match=rf"one\.safetensors holds no .*{message}"):
        loaded(tmp_path, "one.safetensors")


def test_a_checkpoint_and_a_folder_without_a_picture_encoder_are_refused(tmp_path: Path) -> None:
    save_sd1(tmp_path / "sd.safetensors")
    with pytest.raises(NodeFailure, match=r"sd\.safetensors holds no CLIP picture encoder"):
        vision.check(tmp_path / "sd.safetensors")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "config.json").write_text('{"model_type": "clip_text_model"}')
    with pytest.raises(NodeFailure, match="text is no CLIP picture encoder"):
        vision.check(tmp_path / "text")


def test_an_encoder_that_lacks_a_layer_is_refused_when_it_is_built(tmp_path: Path) -> None:
    path = tmp_path / "models" / "clip_vision" / "one.safetensors"
    held = {k: v for k, v in network("B").state_dict().items() if "layers.0.layer_norm1" not in k}
    path.parent.mkdir(parents=True)
    save_file(held, path)
    with pytest.raises(NodeFailure, match="2 tensors are missing"):
        encoded(loaded(tmp_path, "one.safetensors"), PICTURE)
