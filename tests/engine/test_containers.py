"""Files that carry a workflow, made by Pillow and safetensors rather than by us; and damaged ones."""

import contextlib
import io
import json
import random
from pathlib import Path

import PIL.Image
import pytest
from PIL.PngImagePlugin import PngInfo

from engine.containers import carried
from engine.problems import WorkflowError
from engine.workflow import from_json, parse

API = {"1": {"class_type": "EmptyImage", "inputs": {"text": "schön {brackets}"}, "_meta": {"title": "T"}}}
EDITOR = {"nodes": [], "links": []}
CORPUS = Path(__file__).parents[3] / "shared" / "corpus" / "api"


def png(compressed: bool = False, international: bool = False) -> bytes:
    info = PngInfo()
    for key, value in (("prompt", API), ("workflow", EDITOR)):
        if international:
            info.add_itxt(key, json.dumps(value, ensure_ascii=False), zip=compressed)
        else:
            info.add_text(key, json.dumps(value), zip=compressed)
    file = io.BytesIO()
    PIL.Image.new("RGB", (4, 4)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def webp(animated: bool = False) -> bytes:
    exif = PIL.Image.Exif()
    exif[0x0110] = "prompt:" + json.dumps(API)
    exif[0x010F] = "workflow:" + json.dumps(EDITOR)
    file = io.BytesIO()
    frame = PIL.Image.new("RGB", (4, 4))
    more = {"save_all": True, "append_images": [PIL.Image.new("RGB", (4, 4), "red")]} if animated else {}
    frame.save(file, "WEBP", exif=exif, **more)
    return file.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("international", [False, True])
def test_every_kind_of_png_text_is_read(compressed: bool, international: bool) -> None:
    workflow = parse(png(compressed, international))
    assert workflow.as_api() == API
    assert workflow.format == "png"
    assert workflow.editor == EDITOR


@pytest.mark.parametrize("animated", [False, True])
def test_a_webp_carries_a_workflow_in_its_exif(animated: bool) -> None:
    workflow = parse(webp(animated))
    assert workflow.as_api() == API
    assert workflow.format == "webp"
    assert workflow.editor == EDITOR


def test_a_latent_carries_a_workflow_in_its_header() -> None:
    import torch
    from safetensors.torch import save

    data = save({"latent_tensor": torch.zeros(1, 4, 2, 2)}, {"prompt": json.dumps(API)})
    assert parse(data).as_api() == API
    assert parse(data).format == "latent"


def test_a_picture_without_a_workflow_says_so() -> None:
    file = io.BytesIO()
    PIL.Image.new("RGB", (4, 4)).save(file, "PNG")
    with pytest.raises(WorkflowError, match="carries no workflow") as caught:
        parse(file.getvalue())
    assert caught.value.format == "png"


@pytest.mark.parametrize("make", [png, webp])
def test_damaged_files_are_refused_never_a_crash(make: object) -> None:
    data = make()  # type: ignore[operator]
    r = random.Random(0)
    for _ in range(300):
        broken = bytearray(data[: r.randrange(1, len(data))] if r.random() < 0.5 else data)
        for _ in range(r.randrange(4)):
            broken[r.randrange(len(broken))] = r.randrange(256)
        carried(bytes(broken))
        with contextlib.suppress(WorkflowError):
            parse(bytes(broken))


def test_real_workflows_load_and_save_unchanged() -> None:
    files = sorted(CORPUS.glob("*.json"))
    if not files:
        pytest.skip("../shared/corpus is not here")
    for path in files:
        value = json.loads(path.read_text(encoding="utf-8"))
        nodes = value.get("prompt", value) if isinstance(value.get("prompt"), dict) else value
        assert from_json(from_json(nodes).as_api()).as_api() == from_json(nodes).as_api()
