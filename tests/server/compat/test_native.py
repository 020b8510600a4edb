"""Our nodes as packs find them in `nodes`, and other modules that packs import."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from packworld import World


@pytest.fixture
def nodes(world: World) -> Any:
    return importlib.import_module("nodes")


def test_packs_find_our_nodes_and_their_own_by_name(nodes: Any) -> None:
    known = nodes.NODE_CLASS_MAPPINGS
    assert {"KSampler", "SaveImage", "Num", "Scale"} <= set(known)
    assert nodes.NODE_DISPLAY_NAME_MAPPINGS["Num"] == "A Number"
    inputs = known["KSampler"].INPUT_TYPES()
    assert inputs["required"]["steps"] == ("INT", {"default": 20, "min": 1, "max": 10000})
    assert "euler" in inputs["required"]["sampler_name"][0]
    assert known["SaveImage"].INPUT_TYPES()["hidden"] == {
        "prompt": "PROMPT",
        "extra_pnginfo": "EXTRA_PNGINFO",
    }
    assert known["CheckpointLoaderSimple"].RETURN_TYPES == ("MODEL", "CLIP", "VAE")


def test_packs_may_call_our_nodes_by_whatever_name_their_method_has(nodes: Any) -> None:
    (latent,) = nodes.EmptyLatentImage().generate(64, 32, batch_size=2)
    assert latent["samples"].shape == (2, 4, 4, 8)
    (twice,) = nodes.LatentUpscaleBy().upscale(latent, "nearest-exact", 2.0)
    assert twice["samples"].shape == (2, 4, 8, 16)
    with pytest.raises(TypeError, match="LatentUpscaleBy needs upscale_method"):
        nodes.LatentUpscaleBy().upscale(latent)
    with pytest.raises(AttributeError):
        nodes.LatentUpscaleBy()._private  # noqa: B018


def test_packs_may_extend_our_nodes(nodes: Any, world: World) -> None:
    class Saver(nodes.SaveImage):  # type: ignore[misc]
        def save(self, images: Any) -> Any:
            return self.save_images(images, "mine")

    shown = Saver().save(torch.ones(1, 8, 8, 3))
    (entry,) = shown["ui"]["images"]
    assert entry["filename"].startswith("mine_")
    assert (world.base / "output" / entry["filename"]).is_file()


def test_names_of_samplers_are_those_of_our_sampler(nodes: Any) -> None:
    samplers = importlib.import_module("comfy.samplers")
    assert "euler" in samplers.KSampler.SAMPLERS
    assert "karras" in samplers.KSampler.SCHEDULERS


def test_folders_are_the_programs(world: World) -> None:
    folder_paths = importlib.import_module("folder_paths")
    assert folder_paths.get_output_directory() == str(world.base / "output")
    assert folder_paths.get_folder_paths("unet") == folder_paths.get_folder_paths("diffusion_models")
    loras = world.base / "models" / "loras"
    loras.mkdir(parents=True, exist_ok=True)
    (loras / "one.safetensors").write_bytes(b"")
    (loras / "two.txt").write_bytes(b"")
    assert "one.safetensors" in folder_paths.get_filename_list("loras")
    assert "two.txt" not in folder_paths.get_filename_list("loras")
    assert folder_paths.get_full_path("loras", "one.safetensors") == str(loras / "one.safetensors")
    assert folder_paths.get_full_path("loras", "../loras/none") is None
    with pytest.raises(FileNotFoundError):
        folder_paths.get_full_path_or_raise("loras", "none")
    folder_paths.add_model_folder_path("mine", str(loras))
    assert folder_paths.get_filename_list("mine") == ["one.safetensors", "two.txt"]


def test_numbered_names_go_on_where_files_end_and_stay_in_their_folder(world: World, tmp_path: Path) -> None:
    folder_paths = importlib.import_module("folder_paths")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a_00007_.png").write_bytes(b"")
    found = folder_paths.get_save_image_path("sub/a", str(tmp_path), 64, 32)
    assert found == (str(tmp_path / "sub"), "a", 8, "sub", "sub/a")
    assert folder_paths.get_save_image_path("%width%x%height%", str(tmp_path), 64, 32)[1] == "64x32"
    with pytest.raises(ValueError, match="leads out"):
        folder_paths.get_save_image_path("../a", str(tmp_path))
    assert folder_paths.annotated_filepath("a.png [temp]") == ("a.png", str(world.base / "temp"))
    assert folder_paths.filter_files_content_types(["a.png", "b.mp4", "c.webp"], ["image"]) == [
        "a.png",
        "c.webp",
    ]


def test_pictures_are_scaled_as_the_ecosystem_does(world: World) -> None:
    utils = importlib.import_module("comfy.utils")
    picture = torch.rand(2, 3, 20, 40)
    for method in ("nearest-exact", "bilinear", "area", "bicubic", "lanczos", "bislerp"):
        assert utils.common_upscale(picture, 10, 10, method, "center").shape == (2, 3, 10, 10)
    wide = torch.zeros(1, 1, 10, 30)
    wide[..., 10:20] = 1.0
    assert utils.common_upscale(wide, 10, 10, "nearest-exact", "center").min() == 1.0
    flat = torch.full((1, 3, 50, 70), 0.25)
    tiled = utils.tiled_scale(flat, lambda x: x.repeat_interleave(2, 2).repeat_interleave(2, 3), 32, 32, 8, 2)
    assert tiled.shape == (1, 3, 100, 140)
    assert torch.allclose(tiled, torch.full_like(tiled, 0.25))
    assert utils.repeat_to_batch_size(torch.arange(3), 7).tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert utils.repeat_to_batch_size(torch.arange(3), 2).tolist() == [0, 1]


def test_weights_are_read_without_running_what_a_pickle_holds(world: World, tmp_path: Path) -> None:
    import pickle

    utils = importlib.import_module("comfy.utils")
    utils.save_torch_file({"a": torch.ones(2)}, str(tmp_path / "a.safetensors"))
    assert utils.load_torch_file(str(tmp_path / "a.safetensors"))["a"].tolist() == [1, 1]
    torch.save({"state_dict": {"b": torch.zeros(1)}}, tmp_path / "b.pt")
    assert list(utils.load_torch_file(str(tmp_path / "b.pt"))) == ["b"]

    class Touch:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "touched",)

    torch.save({"c": Touch()}, tmp_path / "c.pt")
    with pytest.raises(pickle.UnpicklingError):
        utils.load_torch_file(str(tmp_path / "c.pt"))
    assert not (tmp_path / "touched").exists()
