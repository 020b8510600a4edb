import gzip
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from tests.server.files_app import files_app, files_state, opened, picture

ICON = picture("RGBA")


@pytest.fixture
async def client(tmp_path: Path, aiohttp_client: Any) -> TestClient[Any, Any]:
    for type in ("input", "output", "temp"):
        (tmp_path / type / "sub").mkdir(parents=True)
        (tmp_path / type / f"{type}.png").write_bytes(ICON)
    (tmp_path / "output" / "sub" / "deep.png").write_bytes(ICON)
    (tmp_path / "item.png").write_bytes(ICON)
    (tmp_path / "secret.txt").write_text("secret")
    state = files_state(tmp_path, {"input": {"meadow.png": tmp_path / "item.png"}})
    client: TestClient[Any, Any] = await aiohttp_client(files_app(state))
    return client


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 404),
        ("filename=none.png", 404),
        ("filename=", 400),
        ("filename=/etc/passwd", 400),
        ("filename=../secret.txt", 400),
        ("filename=a..b.png", 400),
        ("filename=output.png&type=models", 400),
        ("filename=%00", 400),
        ("filename=a%0d%0ab.png", 400),
        ("filename=%252e%252e%252fsecret.txt", 400),
        ("filename=%ED%A0%80", 404),
        ("filename=" + "x" * 3000, 400),
        ("filename=secret.txt&subfolder=..", 403),
        ("filename=secret.txt&subfolder=sub/../..", 403),
        ("filename=passwd&subfolder=/etc", 403),
        ("filename=output.png&subfolder=none", 404),
        ("filename=sub", 404),
        ("filename=output.png", 200),
        ("filename=input.png&type=input", 200),
        ("filename=temp.png [temp]", 200),
        ("filename=input.png [input]&type=output", 200),
        ("filename=[input]", 400),
        ("filename=deep.png&subfolder=sub", 200),
        ("filename=wrong/output.png", 200),
        ("filename=meadow.png&type=input", 200),
        ("filename=meadow.png&type=output", 404),
    ],
)
async def test_view_answers_as_documented(client: TestClient[Any, Any], query: str, status: int) -> None:
    for path in ("/view", "/api/view"):
        answer = await client.get(f"{path}?{query}")
        assert answer.status == status, await answer.text()
        if status == 200:
            assert await answer.read() == ICON
            assert answer.content_type == "image/png"


async def test_a_link_that_leads_out_of_its_folder_is_not_followed(
    client: TestClient[Any, Any], tmp_path: Path
) -> None:
    (tmp_path / "output" / "l.txt").symlink_to(tmp_path / "secret.txt")
    assert (await client.get("/view", params={"filename": "l.txt"})).status == 400


async def test_the_name_is_given_with_the_file(client: TestClient[Any, Any], tmp_path: Path) -> None:
    (tmp_path / "output" / 'ü"1.png').write_bytes(ICON)
    answer = await client.get("/view", params={"filename": 'ü"1.png'})
    assert answer.headers["Content-Disposition"] == 'filename="ü\\"1.png"'


async def test_a_part_of_a_file_can_be_asked_for(client: TestClient[Any, Any]) -> None:
    answer = await client.get("/view?filename=output.png", headers={"Range": "bytes=1-3"})
    assert (answer.status, await answer.read()) == (206, b"PNG")
    answer = await client.get("/view?filename=output.png", headers={"Range": "bytes=9000-"})
    assert answer.status == 416


@pytest.mark.parametrize(
    "name",
    [
        "a.html",
        "a.htm",
        "a.xhtml",
        "a.js",
        "a.mjs",
        "a.css",
        "a.svg",
        "a.svgz",
        "a.xml",
        "a.pdf",
        "a",
        "a.SVG",
        "a.xsl",
        "a.swf",
        "a.hta",
        "a.mht",
        "a.png.gz",
    ],
)
async def test_what_a_browser_could_run_is_a_download(
    client: TestClient[Any, Any], tmp_path: Path, name: str
) -> None:
    (tmp_path / "output" / name).write_text("<script>alert(1)</script>")
    answer = await client.get("/view", params={"filename": name})
    assert answer.content_type == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.webp", "image/webp"),
        ("a.mp4", "video/mp4"),
        ("a.flac", "audio/flac"),
        ("a.txt", "text/plain"),
        ("a.json", "application/json"),
        ("a.jpg", "image/jpeg"),
        ("a.glb", "model/gltf-binary"),
    ],
)
async def test_what_a_browser_only_shows_has_its_own_type(
    client: TestClient[Any, Any], tmp_path: Path, name: str, kind: str
) -> None:
    (tmp_path / "output" / name).write_bytes(b"x")
    answer = await client.get("/view", params={"filename": name})
    assert (answer.content_type, answer.headers["X-Content-Type-Options"]) == (kind, "nosniff")


async def test_a_compressed_file_beside_it_never_stands_for_a_file(
    client: TestClient[Any, Any], tmp_path: Path
) -> None:
    (tmp_path / "output" / "output.png.gz").write_bytes(gzip.compress(b"another"))
    answer = await client.get("/view?filename=output.png", headers={"Accept-Encoding": "gzip"})
    assert await answer.read() == ICON


@pytest.mark.parametrize(
    ("query", "kind", "mode"),
    [
        ("preview=webp;50", "WEBP", "RGBA"),
        ("preview=jpeg;80", "JPEG", "RGB"),
        ("preview=jpeg", "JPEG", "RGB"),
        ("preview=tiff;1", "WEBP", "RGBA"),
        ("preview=", "WEBP", "RGBA"),
        ("preview=webp;999999999999999999999", "WEBP", "RGBA"),
        ("preview=webp;²", "WEBP", "RGBA"),
        ("preview=jpeg;80&channel=rgba", "WEBP", "RGBA"),
        ("preview=jpeg;80&channel=rgb", "JPEG", "RGB"),
        ("preview=webp&channel=rgb", "WEBP", "RGB"),
        ("channel=rgb", "PNG", "RGB"),
        ("channel=a", "PNG", "RGBA"),
    ],
)
async def test_a_picture_is_shown_in_the_form_asked_for(
    client: TestClient[Any, Any], query: str, kind: str, mode: str
) -> None:
    answer = await client.get(f"/view?filename=output.png&{query}")
    got = opened(await answer.read())
    assert (answer.status, got.format, got.mode, got.size) == (200, kind, mode, (8, 6))
    assert answer.content_type == f"image/{kind.lower()}"
    assert answer.headers["Content-Disposition"] == 'filename="output.png"'


async def test_a_channel_keeps_colours_or_alpha(client: TestClient[Any, Any], tmp_path: Path) -> None:
    (tmp_path / "output" / "opaque.png").write_bytes(picture("RGB"))

    async def pixel(query: str) -> Any:
        return opened(await (await client.get(f"/view?{query}")).read()).getpixel((3, 3))

    assert await pixel("filename=output.png&channel=rgb") == (200, 30, 60)
    assert await pixel("filename=output.png&channel=a") == (0, 0, 0, 128)
    assert await pixel("filename=opaque.png&channel=a") == (0, 0, 0, 255)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "I;16", "I", "CMYK", "F"])
async def test_pictures_of_every_mode_have_previews_and_channels(
    client: TestClient[Any, Any], tmp_path: Path, mode: str
) -> None:
    (tmp_path / "output" / "m").write_bytes(
        picture(mode, kind="TIFF" if mode in ("CMYK", "F", "I") else "PNG")
    )
    for query in ("preview=webp", "preview=jpeg", "channel=rgb", "channel=a"):
        answer = await client.get(f"/view?filename=m&{query}")
        assert answer.status == 200, await answer.text()


def weights(metadata: Any, length: int | None = None) -> bytes:
    header = json.dumps({"__metadata__": metadata} if metadata is not None else {}).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header


async def test_the_metadata_of_a_model_is_shown(client: TestClient[Any, Any], tmp_path: Path) -> None:
    folder = tmp_path / "models" / "loras" / "sub"
    folder.mkdir(parents=True)
    (folder / "a.safetensors").write_bytes(weights({"format": "pt"}))
    answer = await client.get("/view_metadata/loras", params={"filename": "sub/a.safetensors"})
    assert await answer.json() == {"format": "pt"}
    (tmp_path / "a.safetensors").write_bytes(weights({"secret": "1"}))
    for bad in ("../../a.safetensors", "none.safetensors", "sub", "", "/etc/a.safetensors", "\0.safetensors"):
        assert (await client.get("/view_metadata/loras", params={"filename": bad})).status == 404
    for role in ("input", "none", "vae"):
        assert (
            await client.get(f"/view_metadata/{role}", params={"filename": "sub/a.safetensors"})
        ).status == 404


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        weights(None),
        weights([1]),
        weights({"a": "b"}, 2**63),
        weights({"a": "b" * 2**20}),
        struct.pack("<Q", 9) + b"[" * 9,
        struct.pack("<Q", 500000) + b"[" * 500000,
        struct.pack("<Q", 4) + b"\xff" * 4,
    ],
)
async def test_a_model_file_without_readable_metadata_is_404(
    client: TestClient[Any, Any], tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "models" / "loras").mkdir(parents=True)
    (tmp_path / "models" / "loras" / "a.safetensors").write_bytes(content)
    assert (await client.get("/view_metadata/loras?filename=a.safetensors")).status == 404
