"""Animations: their frames come back, and so does the workflow."""

import io
import json
from pathlib import Path
from typing import Any

import PIL.Image
import torch

from engine.files import Files
from nodes.animation import save_animated_png, save_animated_webp

FRAMES = (torch.arange(3.0) / 2).view(3, 1, 1, 1).repeat(1, 8, 8, 3)
PROMPT = {"1": {"class_type": "X"}}
EXTRA: dict[str, Any] = {"workflow": {"nodes": []}}


def test_an_animated_png_keeps_frames_and_workflow(tmp_path: Path) -> None:
    files = Files.under(tmp_path)
    shown = save_animated_png(images=FRAMES, fps=4, prompt=PROMPT, extra_pnginfo=EXTRA, files=files)
    path = files.saved(shown.ui["images"][0])
    assert path
    assert shown.ui["animated"] == [True]
    picture = PIL.Image.open(io.BytesIO(path.read_bytes()))
    assert (picture.n_frames, picture.info["duration"]) == (3, 250)  # type: ignore[attr-defined]
    content = path.read_bytes()
    for key, value in {"prompt": PROMPT, **EXTRA}.items():
        assert b"comf" + key.encode() + b"\0" + json.dumps(value).encode() in content


def test_an_animated_webp_keeps_frames_and_workflow(tmp_path: Path) -> None:
    files = Files.under(tmp_path)
    shown = save_animated_webp(
        images=FRAMES, method="fastest", prompt=PROMPT, extra_pnginfo=EXTRA, files=files
    )
    path = files.saved(shown.ui["images"][0])
    assert path
    picture = PIL.Image.open(io.BytesIO(path.read_bytes()))
    assert picture.n_frames == 3  # type: ignore[attr-defined]
    exif = picture.getexif()
    assert exif[0x0110] == "prompt:" + json.dumps(PROMPT)
    assert exif[0x010F] == "workflow:" + json.dumps(EXTRA["workflow"])
