"""Inputs beside a workflow: named, as bytes, by URL, as parts of a form, as assets."""

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Annotated, Any

import pytest
from aiohttp import FormData, web
from pytest_aiohttp.plugin import AiohttpServer

from engine.files import Files
from engine.node import node
from engine.ports import Given, Shown
from server.assets import FOLDER
from server.inputs import decoded
from tests.server.jobs_app import ended, graph, painted, run_once, served, submit, tiny

PNG = painted(0x112233)


@node("Hash", category="tiny", is_output=True)
def hashed(*, file: str = "", note: str = "", files: Annotated[Files, Given()]) -> Shown[None]:
    """Show what stands in a file of the input folder."""
    return Shown(None, {"text": [files.sha256(files.find("input", file)), note]})


def flow(**inputs: Any) -> dict[str, Any]:
    """One node that shows the hash of a file."""
    found = {"file": "", "note": "", **inputs}
    return {"1": {"class_type": "Hash", "inputs": found, "_meta": {"title": "Photo"}}}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def texts(client: Any, job: Any) -> list[str]:
    """What a job shows."""
    assert job["status"] == "succeeded", job
    found = []
    for output in job["outputs"]:
        async with client.get(output["url"]) as response:
            found.append(await response.text())
    return found


async def test_inputs_are_set_by_id_title_and_class(tmp_path: Path) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        values = {"Colour.color": 3, "1.size": 16, "Keep.prefix": "named"}
        job = await run_once(client, graph(1), inputs=values)
        assert job["outputs"][0]["name"].startswith("named")
        async with client.get(job["outputs"][0]["url"]) as response:
            assert await response.read() == painted(3, 16)


async def test_a_title_alone_means_the_one_input_that_is_free(tmp_path: Path) -> None:
    say = {"3": {"class_type": "Say", "inputs": {"text": "a"}, "_meta": {"title": "Words"}}}
    async with served(tmp_path, tiny()) as (client, _):
        assert await texts(client, await run_once(client, say, inputs={"Words": "b"})) == ["b"]
        error = (await submit(client, graph(1), 422, inputs={"Colour": 5}))["error"]
        assert (error["code"], "Colour.color" in error["message"]) == ("invalid_inputs", True)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("Color.color", "Colour"), ("1.colour", "color"), ("x", ""), ("1", "1.color"), ("", "")],
)
async def test_a_name_that_means_nothing_is_refused_with_what_is_near(
    tmp_path: Path, name: str, hint: str
) -> None:
    async with served(tmp_path, tiny()) as (client, _):
        error = (await submit(client, graph(1), 422, inputs={name: 5}))["error"]
        assert (error["code"], hint in error["message"]) == ("invalid_inputs", True)


async def test_bytes_come_as_base64(tmp_path: Path) -> None:
    plain = base64.b64encode(PNG).decode()
    async with served(tmp_path, tiny(hashed)) as (client, _):
        for text in (plain, f"data:image/png;base64,{plain}", "\n".join([plain[:20], plain[20:]])):
            value = {"base64": text, "filename": "a.PNG"}
            job = await run_once(client, flow(), inputs={"Photo.file": value, "Photo.note": text[:3]})
            assert (await texts(client, job))[0] == sha256(PNG)
        (kept,) = (tmp_path / "input" / FOLDER).iterdir()
        assert kept.suffix == ".png"
        error = (await submit(client, flow(), 422, inputs={"Photo.file": {"base64": "!!"}}))["error"]
        assert (error["code"], error["details"]["node_id"]) == ("invalid_inputs", "1")


def test_base64_is_taken_strictly() -> None:
    assert decoded("data:image/png;base64,YQ==") == (b"a", "image/png")
    with pytest.raises(ValueError, match=r"."):
        decoded("YQ")


async def test_files_come_as_parts_of_a_form(tmp_path: Path) -> None:
    form = FormData()
    form.add_field("photo", io.BytesIO(PNG), filename="me.png")
    form.add_field("job", json.dumps({"workflow": flow(), "inputs": {"Photo.file": {"upload": "photo"}}}))
    form.add_field("metadata", "a word")
    async with served(tmp_path, tiny(hashed)) as (client, _):
        async with client.post("/api/v2/jobs", data=form) as response:
            job = await response.json()
            assert response.status == 201, job
        assert job["metadata"] == "a word"
        assert (await texts(client, await ended(client, job["id"])))[0] == sha256(PNG)
        assert [p.suffix for p in (tmp_path / "input" / FOLDER).iterdir()] == [".png"]
        form = FormData()
        form.add_field("other", io.BytesIO(PNG), filename="me.png")
        form.add_field("workflow", json.dumps(flow()), filename="flow.json")
        form.add_field("inputs", json.dumps({"Photo.file": {"upload": "photo"}}))
        async with client.post("/api/v2/jobs", data=form) as response:
            error = (await response.json())["error"]
            assert (response.status, error["code"]) == (422, "invalid_inputs")
            assert "no file part 'photo'" in error["message"]


async def test_an_asset_is_named_by_its_id(tmp_path: Path) -> None:
    form = FormData()
    form.add_field("file", io.BytesIO(PNG), filename="me.png")
    async with served(tmp_path, tiny(hashed)) as (client, _):
        async with client.post("/api/v2/assets", data=form) as response:
            id = (await response.json())["id"]
        job = await run_once(client, flow(), inputs={"1.file": {"asset": id}})
        assert (await texts(client, job))[0] == sha256(PNG)
        error = (await submit(client, flow(), 422, inputs={"1.file": {"asset": "none"}}))["error"]
        assert (error["code"], error["details"]["field"]) == ("missing_asset", "file")


@pytest.fixture
async def elsewhere(aiohttp_server: AiohttpServer) -> Any:
    """Another server: a picture, a large file, redirects."""

    async def picture(request: web.Request) -> web.Response:
        return web.Response(body=PNG, content_type="image/png")

    async def large(request: web.Request) -> web.Response:
        return web.Response(body=bytes(2**20))

    async def to(request: web.Request) -> web.Response:
        raise web.HTTPFound(request.query["url"])

    app = web.Application()
    app.add_routes([web.get("/a.png", picture), web.get("/large", large), web.get("/to", to)])
    return await aiohttp_server(app)


async def test_files_come_from_listed_hosts(tmp_path: Path, elsewhere: Any) -> None:
    url = f"http://localhost:{elsewhere.port}"
    async with served(tmp_path, tiny(hashed), input_urls=["localhost"]) as (client, _):
        for path in ("/a.png", "/to?url=/a.png"):
            job = await run_once(client, flow(), inputs={"1.file": {"url": url + path}, "1.note": path})
            assert (await texts(client, job))[0] == sha256(PNG)


@pytest.mark.parametrize(
    ("listed", "path", "code", "max_mb"),
    [
        ([], "/a.png", "input_url_refused", 1.0),
        (["example.com"], "/a.png", "input_url_refused", 1.0),
        (["local*"], "/a.png", "input_url_refused", 1.0),
        (["localhost", "127.0.0.1"], "/to?url=http://127.0.0.1:{port}/a.png", "input_url_refused", 1.0),
        (["localhost"], "/to?url=http://169.254.169.254/", "input_url_refused", 1.0),
        (["localhost"], "/to?url=/to?url=/to", "input_fetch_failed", 1.0),
        (["localhost"], "/none.png", "input_fetch_failed", 1.0),
        (["localhost"], "/large", "too_large", 0.5),
    ],
)
async def test_a_url_that_may_not_be_fetched_is_told(
    tmp_path: Path, elsewhere: Any, listed: list[str], path: str, code: str, max_mb: float
) -> None:
    url = f"http://localhost:{elsewhere.port}{path.format(port=elsewhere.port)}"
    async with served(tmp_path, tiny(hashed), input_urls=listed, max_upload_mb=max_mb) as (client, state):
        error = (await submit(client, flow(), 422, inputs={"1.file": {"url": url}}))["error"]
        assert (error["code"], error["details"]["node_id"]) == (code, "1")
        folder = tmp_path / "input" / FOLDER
        assert not folder.exists() or not list(folder.iterdir())
        assert state.queue.counts() == {}


async def test_all_that_cannot_be_had_is_told_at_once(tmp_path: Path) -> None:
    both = flow() | {"2": flow()["1"]}
    values = {"1.file": {"asset": "a"}, "2.file": {"base64": "!"}}
    async with served(tmp_path, tiny(hashed)) as (client, _):
        errors = (await submit(client, both, 422, inputs=values))["error"]["details"]["node_errors"]
        assert {id: e[0]["reason"] for id, e in errors.items()} == {
            "1": "missing_asset",
            "2": "invalid_inputs",
        }


async def test_plain_objects_and_links_are_values_like_others(tmp_path: Path) -> None:
    flow = graph(1) | {"2": {"class_type": "Paint", "inputs": {"color": 7, "size": 8}}}
    async with served(tmp_path, tiny()) as (client, _):
        job = await run_once(client, flow, inputs={"9.picture": ["2", 0]})
        async with client.get(job["outputs"][0]["url"]) as response:
            assert await response.read() == painted(7)
