import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from aiohttp import FormData
from aiohttp.test_utils import TestClient

from engine.drafts import DRAFT
from tests.server.files_app import files_app, files_state, form, opened, picture


@pytest.fixture
async def client(tmp_path: Path, aiohttp_client: Any) -> TestClient[Any, Any]:
    (tmp_path / "item.png").write_bytes(b"ours")
    state = files_state(tmp_path, {"input": {"meadow.png": tmp_path / "item.png"}}, max_upload_mb=1)
    client: TestClient[Any, Any] = await aiohttp_client(files_app(state))
    return client


async def sent(client: TestClient[Any, Any], data: Any, path: str = "/upload/image") -> Any:
    answer = await client.post(path, data=data)
    return await answer.json() if answer.status == 200 else answer.status


def kept(base: Path) -> dict[str, bytes]:
    """All files in the folders of a server, drafts as well."""
    folders = [base / type for type in ("input", "output", "temp")]
    return {
        p.relative_to(base).as_posix(): p.read_bytes() for f in folders for p in f.rglob("*") if p.is_file()
    }


async def test_an_upload_is_kept_and_can_be_viewed(client: TestClient[Any, Any], tmp_path: Path) -> None:
    assert await sent(client, form(b"1")) == {"name": "u.png", "subfolder": "", "type": "input"}
    assert kept(tmp_path) == {"input/u.png": b"1"}
    assert await (await client.get("/view?filename=u.png&type=input")).read() == b"1"


async def test_the_same_content_is_kept_once_and_other_content_under_a_new_name(
    client: TestClient[Any, Any], tmp_path: Path
) -> None:
    names = [(await sent(client, form(content)))["name"] for content in (b"1", b"1", b"2", b"1", b"2", b"3")]
    assert names == ["u.png", "u.png", "u (1).png", "u.png", "u (1).png", "u (2).png"]
    assert kept(tmp_path) == {"input/u.png": b"1", "input/u (1).png": b"2", "input/u (2).png": b"3"}


@pytest.mark.parametrize("overwrite", ["true", "1"])
async def test_overwriting_is_done_when_asked_for(
    client: TestClient[Any, Any], tmp_path: Path, overwrite: str
) -> None:
    for content in (b"1", b"2"):
        assert (await sent(client, form(content, overwrite=overwrite)))["name"] == "u.png"
    assert kept(tmp_path) == {"input/u.png": b"2"}
    assert (await sent(client, form(b"3", overwrite="yes")))["name"] == "u (1).png"


async def test_type_and_subfolder_say_where(client: TestClient[Any, Any], tmp_path: Path) -> None:
    answer = await sent(client, form(b"1", type="temp", subfolder="a/b"))
    assert answer == {"name": "u.png", "subfolder": "a/b", "type": "temp"}
    assert kept(tmp_path) == {"temp/a/b/u.png": b"1"}


async def test_what_comes_with_the_program_is_not_replaced(
    client: TestClient[Any, Any], tmp_path: Path
) -> None:
    assert (await sent(client, form(b"ours", "meadow.png")))["name"] == "meadow.png"
    assert (await sent(client, form(b"mine", "meadow.png", overwrite="true")))["name"] == "meadow (1).png"
    assert kept(tmp_path) == {"input/meadow (1).png": b"mine"}


@pytest.mark.parametrize(
    "data",
    [
        form(b"1", ""),
        form(b"1", part="file"),
        form(b"1", "../u.png"),
        form(b"1", "a/u.png"),
        form(b"1", "a\\u.png"),
        form(b"1", "/etc/u.png"),
        form(b"1", ".."),
        form(b"1", "."),
        form(b"1", "nul.png"),
        form(b"1", f"{DRAFT}1.png"),
        form(b"1", "x" * 256),
        form(b"1", "%2e%2e%2fu.png"),
        form(b"1", subfolder=".."),
        form(b"1", subfolder="/tmp"),
        form(b"1", subfolder="a/../../.."),
        form(b"1", subfolder="%2e%2e"),
        form(b"1", subfolder="\0"),
        form(b"1", type="models"),
        form(b"1", type="../input"),
        form(b"1", subfolder="x" * 70_000),
        {"image": "no file"},
        b"no form",
        None,
    ],
)
async def test_a_bad_upload_is_refused_and_leaves_nothing(
    client: TestClient[Any, Any], tmp_path: Path, data: Any
) -> None:
    assert await sent(client, data) == 400
    assert kept(tmp_path) == {}
    assert sorted(p.name for p in tmp_path.iterdir()) in (["input", "item.png"], ["item.png"])


async def test_an_upload_above_the_limit_is_413_and_leaves_nothing(
    client: TestClient[Any, Any], tmp_path: Path
) -> None:
    async def pieces() -> Any:
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="u.png"\r\n\r\n'
        for _ in range(40):
            yield b"x" * 2**16

    assert await sent(client, form(b"x" * 2 * 2**20)) == 413
    answer = await client.post(
        "/upload/image", data=pieces(), headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert answer.status == 413
    assert kept(tmp_path) == {}


async def test_a_form_of_too_many_parts_is_refused(client: TestClient[Any, Any], tmp_path: Path) -> None:
    data = FormData(quote_fields=False)
    for number in range(1_001):
        data.add_field(f"f{number}", "1", content_type="text/plain")
    assert await sent(client, data) == 400
    assert kept(tmp_path) == {}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"--b"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\n"),
        ("multipart/form-data; boundary=b", b"--b--\r\n"),
        ("multipart/form-data; boundary=b", b"--b\r\n" + b"A: b\r\n" * 500 + b"\r\nx\r\n--b--"),
        ("multipart/form-data; boundary=b", b"--b\r\n" + b"A" * 20_000 + b": b\r\n\r\nx\r\n--b--"),
        (
            "multipart/form-data; boundary=b",
            b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c--\r\n--b--",
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--b--',
        ),
        (
            "multipart/form-data; boundary=b",
            b"--b\r\nContent-Disposition: form-data\r\nContent-Length: 5\r\n\r\nx\r\n--b--",
        ),
        ("multipart/form-data; boundary=" + "b" * 90, b"--b"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="image"; filename="u"\r\n\r\nx',
        ),
    ],
)
async def test_a_damaged_form_is_400(
    client: TestClient[Any, Any], tmp_path: Path, kind: str, body: bytes
) -> None:
    for path in ("/upload/image", "/upload/mask"):
        answer = await client.post(path, data=body, headers={"Content-Type": kind})
        assert answer.status == 400, await answer.text()
    assert kept(tmp_path) == {}


async def test_a_folder_in_the_way_is_400_or_another_name(
    client: TestClient[Any, Any], tmp_path: Path
) -> None:
    (tmp_path / "input" / "u.png").mkdir(parents=True)
    (tmp_path / "input" / "f").write_bytes(b"")
    assert (await sent(client, form(b"1", overwrite="true")))["name"] == "u (1).png"
    assert await sent(client, form(b"1", subfolder="f/g")) == 400
    assert await sent(client, form(b"1", subfolder="f")) == 400


async def test_a_link_that_leads_out_is_not_written_through(
    client: TestClient[Any, Any], tmp_path: Path
) -> None:
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "u.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "input" / "d").symlink_to(tmp_path)
    assert await sent(client, form(b"1", overwrite="true")) == 400
    assert await sent(client, form(b"1", subfolder="d")) == 400
    assert not (tmp_path / "outside.png").exists()
    assert not (tmp_path / "u.png").exists()


async def test_uploads_at_once_get_names_of_their_own(client: TestClient[Any, Any], tmp_path: Path) -> None:
    contents = [b"%d" % number for number in range(12)]
    answers = await asyncio.gather(*(sent(client, form(content)) for content in contents))
    assert len({answer["name"] for answer in answers}) == 12
    assert sorted(kept(tmp_path).values()) == sorted(contents)


async def test_a_full_disk_is_said_and_leaves_nothing(
    client: TestClient[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    answer = await client.post("/upload/image", data=form(b"1"))
    assert (answer.status, "No space left" in await answer.text()) == (507, True)
    assert kept(tmp_path) == {}
    monkeypatch.undo()
    assert (await sent(client, form(b"1")))["name"] == "u.png"


def mask(reference: Any, alpha: bytes | None = None, **fields: str) -> FormData:
    text = reference if isinstance(reference, str) else json.dumps(reference)
    return form(alpha or picture("RGBA"), "m.png", original_ref=text, **fields)


async def test_a_mask_becomes_the_alpha_of_its_picture(client: TestClient[Any, Any], tmp_path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    texts.add_text("prompt", "{}")
    (tmp_path / "output" / "sub").mkdir(parents=True)
    (tmp_path / "output" / "sub" / "o.png").write_bytes(picture("RGB", pnginfo=texts))
    answer = await sent(
        client,
        mask({"filename": "o.png", "subfolder": "sub"}, type="input", subfolder="clipspace"),
        "/upload/mask",
    )
    assert answer == {"name": "m.png", "subfolder": "clipspace", "type": "input"}
    got: Any = opened((tmp_path / "input" / "clipspace" / "m.png").read_bytes())
    assert (got.mode, got.getpixel((0, 0)), got.text) == ("RGBA", (200, 30, 60, 128), {"prompt": "{}"})


async def test_a_mask_of_a_picture_that_is_not_there_writes_nothing(
    client: TestClient[Any, Any], tmp_path: Path
) -> None:
    answer = await sent(client, mask({"filename": "o.png"}, type="input"), "/upload/mask")
    assert answer == {"name": "m.png", "subfolder": "", "type": "input"}
    assert kept(tmp_path) == {}


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "{",
        "[]",
        "1",
        "null",
        "{}",
        "[" * 5000,
        {"filename": 1},
        {"filename": ""},
        {"filename": "../item.png"},
        {"filename": "o.png", "type": 1},
        {"filename": "o.png", "type": "models"},
        {"filename": "\ud800"},
        {"filename": "o.png", "subfolder": ".."},
        {"filename": "o.png", "subfolder": [1]},
        {"filename": "/etc/passwd"},
    ],
)
async def test_a_mask_with_a_bad_reference_is_400(
    client: TestClient[Any, Any], tmp_path: Path, reference: Any
) -> None:
    assert await sent(client, mask(reference), "/upload/mask") == 400
    assert kept(tmp_path) == {}


@pytest.mark.parametrize("alpha", [b"no picture", picture("RGBA", (3, 3))])
async def test_a_mask_that_does_not_fit_is_400(
    client: TestClient[Any, Any], tmp_path: Path, alpha: bytes
) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "o.png").write_bytes(picture())
    assert await sent(client, mask({"filename": "o.png"}, alpha), "/upload/mask") == 400
    assert list(kept(tmp_path)) == ["output/o.png"]
