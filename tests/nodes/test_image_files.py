"""Pictures from and to files: modes, masks, damage, the workflow inside."""

import io
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from engine.check import check
from engine.files import Files
from engine.graph import bind
from engine.ports import Env
from engine.problems import NodeFailure, Wrong
from engine.registry import installed
from engine.workflow import from_json
from nodes import image_files
from nodes.image_files import load_image, load_image_mask, preview_image, save_image


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "input").mkdir()
    return Files.under(tmp_path)


def put(files: Files, picture: PIL.Image.Image, name: str = "a.png", **options: Any) -> str:
    picture.save(files.folders["input"][0] / name, **options)
    return name


def opened(files: Files, link: dict[str, str]) -> PIL.Image.Image:
    path = files.saved(link)
    assert path
    return PIL.Image.open(io.BytesIO(path.read_bytes()))


def test_a_saved_picture_is_cut_to_8_bits_and_numbered(files: Files) -> None:
    image = torch.tensor([-1.0, 0.5, 0.999, 2.0]).view(1, 1, 4, 1).repeat(2, 1, 1, 3)
    shown = save_image(images=image, filename_prefix="sub/x", files=files)
    assert [link["filename"] for link in shown.ui["images"]] == ["x_00001_.png", "x_00002_.png"]
    assert {(link["subfolder"], link["type"]) for link in shown.ui["images"]} == {("sub", "output")}
    assert np.asarray(opened(files, shown.ui["images"][0]))[0, :, 0].tolist() == [0, 127, 254, 255]


def test_a_saved_picture_carries_its_workflow(files: Files) -> None:
    prompt, extra = {"1": {"class_type": "Ünïcode"}}, {"workflow": {"nodes": []}, "more": [1]}
    shown = save_image(images=torch.zeros(1, 2, 2, 3), prompt=prompt, extra_pnginfo=extra, files=files)
    texts = {key: json.loads(text) for key, text in opened(files, shown.ui["images"][0]).info.items()}
    assert texts == {"prompt": prompt, **extra}


def test_a_picture_without_job_carries_no_text(files: Files) -> None:
    shown = save_image(images=torch.zeros(1, 2, 2, 4), files=files)
    picture = opened(files, shown.ui["images"][0])
    assert (picture.info, picture.mode) == ({}, "RGBA")


def test_the_prefix_is_filled_in_and_stays_inside(files: Files) -> None:
    shown = save_image(
        images=torch.zeros(2, 2, 3, 3), filename_prefix="%width%x%height%-%batch_num%", files=files
    )
    assert [link["filename"] for link in shown.ui["images"]] == ["3x2-0_00001_.png", "3x2-1_00001_.png"]
    with pytest.raises(NodeFailure, match="leads out"):
        save_image(images=torch.zeros(1, 2, 2, 3), filename_prefix="../../x", files=files)


def test_previews_go_to_the_temporary_folder(files: Files) -> None:
    (link,) = preview_image(images=torch.zeros(1, 2, 2, 3), files=files).ui["images"]
    assert link["type"] == "temp"
    assert link["filename"].startswith("ComfyUI_temp_")


def test_saving_and_loading_gives_the_picture_back(files: Files) -> None:
    pixels = torch.randint(0, 256, (1, 5, 7, 3)) / 255
    (link,) = save_image(images=pixels + 1e-4, files=files).ui["images"]
    image, mask = load_image(image=link["filename"] + " [output]", files=files)
    torch.testing.assert_close(image, pixels)
    assert mask.shape == (1, 64, 64)
    assert not mask.any()


def test_the_mask_is_what_is_transparent(files: Files) -> None:
    rgba = PIL.Image.new("RGBA", (3, 2), (255, 0, 0, 51))
    image, mask = load_image(image=put(files, rgba), files=files)
    assert image.shape == (1, 2, 3, 3)
    torch.testing.assert_close(mask, torch.full((1, 2, 3), 0.8))
    torch.testing.assert_close(load_image_mask(image="a.png", channel="alpha", files=files), mask)
    assert load_image_mask(image="a.png", channel="red", files=files).eq(1).all()


def test_a_palette_with_transparency_has_a_mask(files: Files) -> None:
    palette = PIL.Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 255, 255, 255])
    palette.putpixel((1, 0), 1)
    image, mask = load_image(image=put(files, palette, transparency=1), files=files)
    assert image[0, 0, :, 0].tolist() == [0, 1]
    assert mask[0, 0].tolist() == [0, 1]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_any_mode_becomes_three_channels(files: Files, mode: str) -> None:
    name = put(files, PIL.Image.new(mode, (4, 3)), "a.tif")
    assert load_image(image=name, files=files)[0].shape == (1, 3, 4, 3)


def test_16_bits_are_scaled(files: Files) -> None:
    grey = PIL.Image.fromarray(np.array([[0, 30000, 65535]], dtype=np.uint16))
    image, _ = load_image(image=put(files, grey), files=files)
    assert (image[0, 0, :, 0] * 255).tolist() == [0, 117, 255]


def test_a_camera_picture_stands_upright(files: Files) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise is needed
    name = put(files, PIL.Image.new("RGB", (4, 2)), "a.jpg", exif=exif)
    assert load_image(image=name, files=files)[0].shape == (1, 4, 2, 3)


def test_the_frames_of_an_animation_become_a_batch(files: Files) -> None:
    frames = [PIL.Image.new("RGB", (4, 3), (level, 0, 0)) for level in (0, 100, 255)]
    name = put(files, frames[0], "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    image, _ = load_image(image=name, files=files)
    assert [round(float(frame[0, 0, 0] * 255)) for frame in image] == [0, 100, 255]


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, b"GIF89a"])
def test_what_is_no_picture_is_a_failure_with_a_hint(files: Files, content: bytes) -> None:
    (files.folders["input"][0] / "a.png").write_bytes(content)
    with pytest.raises(NodeFailure, match="is no picture") as failure:
        load_image(image="a.png", files=files)
    assert failure.value.hint


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_a_cut_file_is_a_failure(files: Files, kept: float) -> None:
    noise = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8))
    path = files.folders["input"][0] / put(files, noise)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(NodeFailure):
        load_image(image="a.png", files=files)


def test_a_picture_that_claims_too_many_pixels_is_refused_unread(files: Files) -> None:
    path = files.folders["input"][0] / put(files, PIL.Image.new("RGB", (1, 1)))
    header = b"IHDR" + (30_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    content = path.read_bytes()
    path.write_bytes(content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:])
    with pytest.raises(NodeFailure, match="too large"):
        load_image(image="a.png", files=files)


def test_all_frames_count_against_the_limit(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "MAX_PIXELS", 100)
    frames = [PIL.Image.new("L", (7, 7), level) for level in (0, 100, 200)]
    name = put(files, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(NodeFailure, match="3 frames"):
        load_image(image=name, files=files)
    assert load_image(image=put(files, frames[0]), files=files)[0].shape == (1, 7, 7, 3)


def test_a_missing_file_is_found_before_anything_runs(files: Files) -> None:
    put(files, PIL.Image.new("L", (1, 1)), "portrait.png")
    check = load_image.check
    assert check
    (wrong,) = check(image="portrat.png", files=files)
    assert isinstance(wrong, Wrong)
    assert (wrong.port, wrong.code, wrong.hint) == (
        "image",
        "value_not_in_list",
        "put it in the input folder",
    )
    assert wrong.look
    assert wrong.look() == "did you mean 'portrait.png'?"
    assert list(check(image="portrait.png", files=files)) == []
    assert len(list(check(image="../x.png", files=files))) == 1


def test_the_fingerprint_follows_the_content(files: Files) -> None:
    fingerprint = load_image.fingerprint
    assert fingerprint
    put(files, PIL.Image.new("L", (1, 1), 0))
    first = fingerprint(image="a.png", files=files)
    put(files, PIL.Image.new("L", (1, 1), 1))
    assert fingerprint(image="a.png", files=files) != first


def test_pictures_for_the_socket_are_shown_in_turn_and_not_written() -> None:
    steps = image_files.save_image_websocket(images=torch.rand(2, 4, 6, 3))
    shown = list(steps)
    assert [(p.step, p.total) for p in shown] == [(1, 2), (2, 2)]
    assert [(p.preview[0], p.preview[1].size, p.preview[2]) for p in shown] == [("PNG", (6, 4), None)] * 2


def test_a_picture_that_is_there_is_found_without_listing_the_folder(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(files, PIL.Image.new("RGB", (4, 4)))

    def found(name: str) -> list[str]:
        saved = {"1": ("LoadImage", {"image": name}), "2": ("PreviewImage", {"images": ["1", 0]})}
        form = {id: {"class_type": c, "inputs": i} for id, (c, i) in saved.items()}
        graph = bind(from_json(form), installed())
        return [problem.hint for problem in check(graph, Env(files)).problems]

    listed: list[Any] = []
    names = Files.names

    def counted(self: Files, *how: Any) -> list[str]:
        listed.append(how)
        return names(self, *how)

    monkeypatch.setattr(Files, "names", counted)
    assert (found("a.png"), listed) == ([], [])
    assert found("A.PNG") == []
    assert found("b.png") == ["did you mean 'a.png'?"]
    assert listed
