import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from tests.server.files_app import files_app, files_state, opened, picture


def weights(**metadata: str) -> bytes:
    header = json.dumps({"__metadata__": metadata}).encode()
    return struct.pack("<Q", len(header)) + header


@pytest.fixture
async def client(tmp_path: Path, aiohttp_client: Any) -> TestClient[Any, Any]:
    for name in (
        "loras/a.safetensors",
        "loras/sub/b.safetensors",
        "embeddings/style.v2.pt",
        "clip/t.safetensors",
    ):
        path = tmp_path / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(weights())
    (tmp_path / "models" / "loras" / "notes.txt").write_text("no model")
    folder = tmp_path / "ours"
    folder.mkdir()
    (folder / "config.json").write_bytes(b"{}")
    (folder / "weights.safetensors").write_bytes(b"x" * 98)
    state = files_state(tmp_path, {"checkpoints": {"storybook": folder}})
    client: TestClient[Any, Any] = await aiohttp_client(files_app(state))
    return client


async def test_kinds_of_models_do_not_include_the_folders_of_pictures(client: TestClient[Any, Any]) -> None:
    kinds = await (await client.get("/models")).json()
    assert {"checkpoints", "loras", "vae", "text_encoders", "diffusion_models", "embeddings"} <= set(kinds)
    assert not {"input", "output", "temp"} & set(kinds)


async def test_models_are_named_relative_to_their_folder(client: TestClient[Any, Any]) -> None:
    for path in ("/models/loras", "/api/models/loras"):
        assert await (await client.get(path)).json() == ["a.safetensors", "sub/b.safetensors"]
    assert await (await client.get("/models/checkpoints")).json() == ["storybook"]
    assert await (await client.get("/models/text_encoders")).json() == ["t.safetensors"]
    for unknown in ("none", "clip", "unet", "input", "..%2f..", "%2e%2e"):
        assert (await client.get(f"/models/{unknown}")).status == 404


async def test_embeddings_are_named_without_extension(client: TestClient[Any, Any]) -> None:
    assert await (await client.get("/embeddings")).json() == ["style.v2"]


async def test_the_listing_has_sizes_and_the_index_of_the_folder(client: TestClient[Any, Any]) -> None:
    entries = await (await client.get("/experiment/models/loras")).json()
    assert [(e["name"], e["pathIndex"], e["size"]) for e in entries] == [
        ("a.safetensors", 0, len(weights())),
        ("sub/b.safetensors", 0, len(weights())),
    ]
    assert all(e["modified"] > 1e9 and e["created"] > 1e9 for e in entries)
    (second,) = await (await client.get("/experiment/models/text_encoders")).json()
    assert (second["name"], second["pathIndex"]) == ("t.safetensors", 1)
    (ours,) = await (await client.get("/experiment/models/checkpoints")).json()
    assert (ours["name"], ours["size"]) == ("storybook", 100)
    assert (await client.get("/experiment/models/none")).status == 404


async def test_no_answer_shows_an_absolute_path(tmp_path: Path, aiohttp_client: Any) -> None:
    config = tmp_path / "paths.yaml"
    config.write_text(f"group:\n  base_path: {tmp_path / 'elsewhere'}\n  loras: |\n    big_disk\n")
    base = tmp_path / "base"
    (base / "models" / "loras").mkdir(parents=True)
    (base / "models" / "loras" / "a.png").write_bytes(b"no picture")
    state = files_state(base)
    settings = state.settings.model_copy(update={"extra_model_paths_config": config})
    from dataclasses import replace

    from engine.config import make_env

    state = replace(state, settings=settings, env=make_env(settings, state.registry, state.tiers))
    client = await aiohttp_client(files_app(state))
    texts = [
        await (await client.get(path)).text()
        for path in (
            "/experiment/models",
            "/internal/folder_paths",
            "/experiment/models/loras",
            "/models/x",
            "/experiment/models/preview/loras/0/a.safetensors",
            "/experiment/models/preview/loras/0/..%2f..%2fx",
            "/view?filename=x",
            "/view?filename=x&subfolder=../..",
            "/userdata/..%2f..%2fx",
        )
    ]
    kinds = {kind["name"]: kind["folders"] for kind in json.loads(texts[0])}
    assert kinds["loras"] == ["models/loras", "output/loras", "big_disk"] == json.loads(texts[1])["loras"]
    assert "configs" not in kinds
    assert [text for text in texts if str(tmp_path) in text] == []


@pytest.mark.parametrize(
    ("beside", "model"),
    [("a.png", "a.safetensors"), ("a.preview.png", "a.safetensors"), ("sub/b.jpeg", "sub/b.safetensors")],
)
async def test_a_preview_stands_beside_its_model(
    client: TestClient[Any, Any], tmp_path: Path, beside: str, model: str
) -> None:
    (tmp_path / "models" / "loras" / beside).write_bytes(picture())
    answer = await client.get(f"/experiment/models/preview/loras/0/{model}")
    assert (answer.status, answer.content_type) == (200, "image/webp")
    assert opened(await answer.read()).size == (8, 6)


async def test_a_preview_may_be_inside_the_model(client: TestClient[Any, Any], tmp_path: Path) -> None:
    covers = json.dumps([base64.b64encode(picture()).decode()])
    (tmp_path / "models" / "loras" / "a.safetensors").write_bytes(weights(ssmd_cover_images=covers))
    answer = await client.get("/experiment/models/preview/loras/0/a.safetensors")
    assert opened(await answer.read()).size == (8, 6)


@pytest.mark.parametrize("covers", ["", "{", "[]", "[1]", '["%"]', '["eA=="]', "1", "null", "[" * 5000])
async def test_a_broken_cover_is_404(client: TestClient[Any, Any], tmp_path: Path, covers: str) -> None:
    (tmp_path / "models" / "loras" / "a.safetensors").write_bytes(weights(ssmd_cover_images=covers))
    assert (await client.get("/experiment/models/preview/loras/0/a.safetensors")).status == 404


@pytest.mark.parametrize(
    "path",
    [
        "loras/0/none.safetensors",
        "loras/1/a.safetensors",
        "loras/-1/a",
        "loras/x/a",
        "loras/²/a",
        "none/0/a",
        "loras/0/",
        "loras/0/..%2f..%2fsecret.safetensors",
        "loras/0/%2e%2e/x",
        "loras/0/%00",
        "loras/99999999999999999999/a",
        "loras/0/none/deep/a.safetensors",
        "loras/0/" + "x" * 300,
        "loras/0/a.safetensors",
    ],
)
async def test_what_has_no_preview_is_404(client: TestClient[Any, Any], tmp_path: Path, path: str) -> None:
    (tmp_path / "secret.png").write_bytes(picture())
    assert (await client.get(f"/experiment/models/preview/{path}")).status == 404
