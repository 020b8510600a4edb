"""Assets: kept once by their content, found by hash, read by nodes, deleted with their bytes."""

import io
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from aiohttp import ClientSession, FormData
from blake3 import blake3
from comfy_low.models import Asset as Contract

from engine.registry import Registry
from server.assets import FOLDER
from tests.server.jobs_app import graph, painted, png, run_once, served, submit, tiny

PNG = painted(0x336699)


def form(data: bytes = PNG, name: str = "photo.png", **fields: str) -> FormData:
    """An upload."""
    found = FormData()
    for key, value in fields.items():
        found.add_field(key, value)
    found.add_field("file", io.BytesIO(data), filename=name, content_type="application/octet-stream")
    return found


async def upload(client: ClientSession, data: bytes = PNG, status: int = 201, **fields: str) -> Any:
    """Upload a file; what was answered."""
    async with client.post("/api/v2/assets", data=form(data, **fields)) as response:
        assert response.status == status, await response.text()
        return await response.json()


def hash_of(data: bytes) -> str:
    """As the contract writes it."""
    return f"blake3:{blake3(data).hexdigest()}"


def reference(asset: Any) -> dict[str, Any]:
    """What stands in a workflow for an asset."""
    return {"__type": "core/ASSET", "info": {"id": asset["id"], "hash": asset.get("hash")}}


async def test_an_upload_becomes_an_asset_with_its_bytes(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        asset = await upload(client, content_type="image/png", file_path="sub/photo.png")
        Contract.model_validate(asset)
        told = {k: asset[k] for k in ("hash", "size_bytes", "content_type", "file_path", "created_new")}
        assert told == {
            "hash": hash_of(PNG), "size_bytes": len(PNG), "content_type": "image/png",
            "file_path": "sub/photo.png", "created_new": True,
        }  # fmt: skip
        async with client.get(f"/api/v2/assets/{asset['id']}") as response:
            assert (await response.json())["hash"] == asset["hash"]
        async with client.get(asset["url"]) as response:
            assert (await response.read(), response.content_type) == (PNG, "image/png")
        async with client.get(asset["url"], headers={"Range": "bytes=2-5"}) as response:
            assert (response.status, await response.read()) == (206, PNG[2:6])
        async with client.get(asset["url"], headers={"Range": f"bytes={len(PNG)}-"}) as response:
            assert response.status == 416


async def test_equal_content_is_kept_once(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        first, second = await upload(client), await upload(client, status=200, file_path="other.png")
        assert first["id"] != second["id"]
        assert not second["created_new"]
        assert len(list((tmp_path / "input" / FOLDER).iterdir())) == 1


async def test_another_hash_than_expected_keeps_nothing(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        found = await upload(client, status=409, expected_hash=hash_of(b"else"))
        assert found["error"]["code"] == "hash_mismatch"
        assert list((tmp_path / "input" / FOLDER).iterdir()) == []
        assert (await upload(client, expected_hash=hash_of(PNG)))["created_new"]


async def test_content_is_found_by_hash_and_need_not_be_sent_again(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        asset, path = await upload(client), f"/api/v2/assets/by-hash/{hash_of(PNG)}"
        async with client.head(path) as response:
            assert response.status == 200
        for unknown in (hash_of(b""), "blake3:12", "x"):
            async with client.head(f"/api/v2/assets/by-hash/{unknown}") as response:
                assert response.status == 404
        body = {"hash": asset["hash"], "file_path": "again.png", "tags": ["a"]}
        async with client.post("/api/v2/assets/from-hash", json=body) as response:
            found = await response.json()
            assert (response.status, found["file_path"], found["tags"]) == (200, "again.png", ["a"])
        async with client.get(found["url"]) as response:
            assert await response.read() == PNG
        body["hash"] = hash_of(b"")
        async with client.post("/api/v2/assets/from-hash", json=body) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (404, "blob_not_found")


async def test_a_file_of_the_server_becomes_an_asset_but_none_outside(tmp_path: Path) -> None:
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "here.png").write_bytes(PNG)
    async with served(tmp_path, tiny()) as (client, _):
        async with client.post("/api/v2/assets/from-path", json={"path": "here.png"}) as response:
            assert (response.status, (await response.json())["hash"]) == (201, hash_of(PNG))
        for path in ("../user/latentgraph.sqlite", "/etc/passwd", "none.png", ".", ".."):
            async with client.post("/api/v2/assets/from-path", json={"path": path}) as response:
                assert (response.status, (await response.json())["error"]["code"]) == (404, "blob_not_found")


async def test_a_deleted_asset_is_gone_with_its_bytes_once_nothing_needs_them(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        first, second = await upload(client), await upload(client, status=200)
        for asset, left in ((first, 1), (second, 0)):
            async with client.delete(f"/api/v2/assets/{asset['id']}") as response:
                assert (response.status, await response.read()) == (204, b"")
            for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
                async with client.request(method, f"/api/v2/assets/{asset['id']}{path}") as response:
                    assert (response.status, (await response.json())["error"]["code"]) == (404, "not_found")
            assert len(list((tmp_path / "input" / FOLDER).iterdir())) == left


async def test_uploads_beyond_the_limit_and_broken_forms_leave_nothing(tmp_path: Path) -> None:
    async with served(tmp_path, tiny(), max_upload_mb=0.5) as (client, _):
        assert (await upload(client, bytes(600_000), 413))["error"]["code"] == "too_large"
        async with client.post("/api/v2/assets", data=FormData({"file": "no file"})) as response:
            assert response.status in (400, 422)
        async with client.post("/api/v2/assets", json={}) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (400, "invalid_form")
        kind = {"Content-Type": "multipart/form-data; boundary=xyz"}
        cut = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc'
        async with client.post("/api/v2/assets", data=cut, headers=kind) as response:
            assert response.status == 400
        folder = tmp_path / "input" / FOLDER
        assert not folder.exists() or list(folder.iterdir()) == []


async def test_an_empty_file_is_an_asset(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        asset = await upload(client, b"", file_path="none.txt")
        async with client.get(asset["url"]) as response:
            assert (await response.read(), asset["size_bytes"]) == (b"", 0)


async def test_what_a_browser_could_run_is_served_as_a_download(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        asset = await upload(client, b"<script>", file_path="x.html", content_type="text/html")
        async with client.get(asset["url"]) as response:
            assert response.content_type == "application/octet-stream"
            assert response.headers["Content-Disposition"].startswith("attachment")


@pytest.mark.parametrize("kind", ["LoadImage", "LoadImageMask", "LoadLatent"])
async def test_nodes_read_assets_where_a_file_name_stands(
    tmp_path: Path, registry: Registry, kind: str
) -> None:
    async with served(tmp_path, registry) as (client, _):
        if kind == "LoadLatent":
            empty = {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}}
            save = {"class_type": "SaveLatent", "inputs": {"samples": ["1", 0], "filename_prefix": "l"}}
            (output,) = (await run_once(client, {"1": empty, "2": save}))["outputs"]
            assert output["type"] == "latent"
            flow = {"1": {"class_type": kind, "inputs": {"latent": reference(output)}}, "2": save}
        else:
            image = reference(await upload(client, file_path="photo.png"))
            inputs = {"image": image} | ({"channel": "red"} if kind == "LoadImageMask" else {})
            flow = {"1": {"class_type": kind, "inputs": inputs}}
            if kind == "LoadImageMask":
                flow["3"] = {"class_type": "MaskToImage", "inputs": {"mask": ["1", 0]}}
            source = ["3" if kind == "LoadImageMask" else "1", 0]
            flow["2"] = {"class_type": "SaveImage", "inputs": {"images": source, "filename_prefix": "x"}}
        job = await run_once(client, flow)
        assert job["status"] == "succeeded", job
        if kind == "LoadImage":
            async with client.get(job["outputs"][0]["url"]) as response:
                picture = PIL.Image.open(io.BytesIO(await response.read()))
            assert picture.getpixel((0, 0)) == (0x33, 0x66, 0x99)
        async with client.get(f"/api/v2/jobs/{job['id']}/workflow") as response:
            saved = (await response.json())["workflow"]["1"]["inputs"]
        assert next(iter(saved.values())).startswith(f"{FOLDER}/")


async def test_an_output_is_the_input_of_the_next_job(tmp_path: Path, registry: Registry) -> None:
    save = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}
    empty = {"width": 16, "height": 8, "batch_size": 1, "color": 0x123456}
    async with served(tmp_path, registry) as (client, _):
        first = await run_once(client, {"1": {"class_type": "EmptyImage", "inputs": empty}, "9": save})
        (output,) = first["outputs"]
        load = {"class_type": "LoadImage", "inputs": {"image": reference(output)}}
        invert = {"class_type": "ImageInvert", "inputs": {"image": ["0", 0]}}
        flow = {"0": load, "1": invert, "9": save}
        second = await run_once(client, flow)
        assert second["status"] == "succeeded"
        async with client.get(second["outputs"][0]["url"]) as response:
            picture = PIL.Image.open(io.BytesIO(await response.read()))
        assert (picture.size, picture.getpixel((0, 0))) == ((16, 8), (0xED, 0xCB, 0xA9))
        async with client.head(f"/api/v2/assets/by-hash/{output['hash']}") as response:
            assert response.status == 200
        (tmp_path / "output" / output["name"]).unlink()
        async with client.get(output["url"]) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (410, "asset_gone")
        found = await submit(client, flow, 422)
        assert (found["error"]["code"], found["error"]["details"]["node_id"]) == ("asset_gone", "0")


async def test_a_missing_asset_is_told_by_node_and_input(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        for bad in ({"id": "none"}, {}, None, {"id": 5}):
            flow = graph(1)
            flow["9"]["inputs"]["prefix"] = {"__type": "core/ASSET", "info": bad}
            error = (await submit(client, flow, 422))["error"]
            assert (error["code"], error["details"]["node_id"]) == ("missing_asset", "9")
            assert error["details"]["node_errors"]["9"][0]["field"] == "prefix"


async def test_what_a_waiting_job_reads_is_kept_until_the_job_is_forgotten(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, state):
        asset = await upload(client)
        flow = {"3": {"class_type": "Say", "inputs": {"text": reference(asset)}}}
        job = await run_once(client, flow)
        async with client.delete(f"/api/v2/assets/{asset['id']}"):
            pass
        assert len(list((tmp_path / "input" / FOLDER).iterdir())) == 1
        async with client.post("/history", json={"delete": [job["id"]]}):
            pass
        from server.assets import Assets

        assets = Assets(state.queue, state.files)
        assert assets.sweep().result() == 0  # young: a submission may be about to use it
        assert assets.sweep(older_than=0.0).result() == 1
        assert list((tmp_path / "input" / FOLDER).iterdir()) == []


async def test_outputs_are_forgotten_with_their_job(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        job = await run_once(client, graph(1))
        async with client.post("/history", json={"delete": [job["id"]]}):
            pass
        async with client.get(job["outputs"][0]["url"]) as response:
            assert response.status == 404
        assert (tmp_path / "output" / job["outputs"][0]["name"]).read_bytes() == png(
            PIL.Image.open(io.BytesIO(painted(1)))
        )


async def test_a_deleted_output_stays_where_another_job_shows_it_too(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        first, second = [(await run_once(client, graph(1)))["outputs"][0] for _ in range(2)]
        assert first["name"] == second["name"]
        path = tmp_path / "output" / first["name"]
        for output, there in ((first, True), (second, False)):
            async with client.delete(f"/api/v2/assets/{output['id']}") as response:
                assert response.status == 204
            assert path.exists() == there
