import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from yarl import URL

from server.userdata import MOST_SETTINGS, UserData
from tests.server.files_app import files_app, files_state


@pytest.fixture
async def client(tmp_path: Path, aiohttp_client: Any) -> TestClient[Any, Any]:
    client: TestClient[Any, Any] = await aiohttp_client(files_app(files_state(tmp_path, max_upload_mb=1)))
    return client


async def asked(client: TestClient[Any, Any], method: str, path: str, **given: Any) -> tuple[int, Any]:
    answer = await client.request(method, URL(path, encoded=True), **given)
    text = await answer.text()
    return answer.status, json.loads(text) if answer.content_type == "application/json" else text


async def test_there_is_one_user(client: TestClient[Any, Any], tmp_path: Path) -> None:
    assert await asked(client, "GET", "/users") == (200, {"storage": "server", "migrated": False})
    await asked(client, "POST", "/settings", json={"a": 1})
    assert await asked(client, "GET", "/api/users") == (200, {"storage": "server", "migrated": True})
    status, answer = await asked(client, "POST", "/users", json={"username": "x"})
    assert (status, "one user" in answer["error"]) == (400, True)


async def test_settings_are_kept_and_merged(client: TestClient[Any, Any], tmp_path: Path) -> None:
    assert await asked(client, "GET", "/settings") == (200, {})
    assert await asked(client, "GET", "/settings/Comfy.A") == (200, None)
    assert await asked(client, "POST", "/settings", json={"Comfy.A": 1, "b": [2]}) == (200, "")
    assert await asked(client, "POST", "/settings/Comfy.A", json={"deep": None}) == (200, "")
    assert await asked(client, "POST", "/settings/c", data=b'"\xc3\xbc"') == (200, "")
    expected = {"Comfy.A": {"deep": None}, "b": [2], "c": "ü"}
    assert await asked(client, "GET", "/settings") == (200, expected)
    assert await asked(client, "GET", "/settings/Comfy.A") == (200, {"deep": None})
    assert json.loads((tmp_path / "user" / "default" / "comfy.settings.json").read_bytes()) == expected


async def test_settings_that_are_changed_at_once_are_all_kept(client: TestClient[Any, Any]) -> None:
    await asyncio.gather(*(asked(client, "POST", f"/settings/s{n}", json=n) for n in range(30)))
    assert await asked(client, "GET", "/settings") == (200, {f"s{n}": n for n in range(30)})


async def test_damaged_settings_read_as_none_and_are_moved_aside(
    client: TestClient[Any, Any], tmp_path: Path
) -> None:
    path = tmp_path / "user" / "default" / "comfy.settings.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(b'{"a": 1, "b')
    assert await asked(client, "GET", "/settings") == (200, {})
    assert await asked(client, "POST", "/settings", json={"c": 3}) == (200, "")
    assert json.loads(path.read_bytes()) == {"c": 3}
    (aside,) = path.parent.glob("*.damaged-*")
    assert aside.read_bytes() == b'{"a": 1, "b'


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/settings", b"{", 400),
        ("/settings", b"[1]", 400),
        ("/settings", b'"a"', 400),
        ("/settings", b"\xff", 400),
        ("/settings/a", b"", 400),
        ("/settings/a", b"NaN", 400),
        ("/settings/a", b"[" * 100_000, 400),
        ("/settings/a", b"[" * 500 + b"]" * 500, 400),
        ("/settings/a", b'"' + b"x" * (MOST_SETTINGS - 10) + b'"', 400),
        ("/settings/a", b'"' + b"x" * MOST_SETTINGS + b'"', 413),
    ],
)
async def test_settings_that_cannot_be_kept_are_refused_and_change_nothing(
    client: TestClient[Any, Any], path: str, body: bytes, status: int
) -> None:
    import io

    await asked(client, "POST", "/settings/b", json=2)
    assert (await asked(client, "POST", path, data=io.BytesIO(body)))[0] == status
    assert await asked(client, "GET", "/settings") == (200, {"b": 2})


async def test_a_workflow_is_saved_listed_read_moved_and_deleted(
    client: TestClient[Any, Any], tmp_path: Path
) -> None:
    assert await asked(client, "POST", "/userdata/workflows%2Fa.json", data=b"{}") == (
        200,
        "workflows/a.json",
    )
    assert (tmp_path / "user" / "default" / "workflows" / "a.json").read_bytes() == b"{}"
    status, info = await asked(client, "POST", "/userdata/workflows%2Fd%2Fb.json?full_info=true", data=b"123")
    assert (status, info["path"], info["size"]) == (200, "workflows/d/b.json", 3)
    assert info["modified"] > 1e9
    assert info["created"] > 1e9

    assert await asked(client, "GET", "/userdata?dir=workflows") == (200, ["a.json"])
    assert await asked(client, "GET", "/userdata?dir=workflows&recurse=true") == (200, ["a.json", "d/b.json"])
    split = await asked(client, "GET", "/userdata?dir=workflows&recurse=true&split=true")
    assert split == (200, [["a.json", "a.json"], ["d/b.json", "d", "b.json"]])
    _, full = await asked(client, "GET", "/userdata?dir=workflows&recurse=true&full_info=true&split=true")
    assert [(f["path"], f["size"]) for f in full] == [("a.json", 2), ("d/b.json", 3)]

    assert await asked(client, "GET", "/userdata/workflows%2Fa.json") == (200, {})
    assert await asked(client, "GET", "/userdata/workflows%252Fa.json") == (200, {})
    moved = await asked(client, "POST", "/userdata/workflows%2Fa.json/move/workflows%2Fe%2Fc.json")
    assert moved == (200, "workflows/e/c.json")
    assert (await asked(client, "GET", "/userdata/workflows%2Fa.json"))[0] == 404
    assert (await asked(client, "DELETE", "/userdata/workflows%2Fe%2Fc.json"))[0] == 204
    assert (await asked(client, "DELETE", "/userdata/workflows%2Fe%2Fc.json"))[0] == 404


async def test_a_file_is_not_overwritten_when_that_is_not_wanted(client: TestClient[Any, Any]) -> None:
    for name in ("a", "b"):
        await asked(client, "POST", f"/userdata/{name}", data=name.encode())
    assert await asked(client, "POST", "/userdata/a?overwrite=false", data=b"2") == (
        409,
        "File already exists",
    )
    assert (await asked(client, "POST", "/userdata/a/move/b?overwrite=false"))[0] == 409
    assert (await asked(client, "POST", "/userdata/a/move/a?overwrite=false"))[0] == 409
    assert await asked(client, "GET", "/userdata/a") == (200, "a")
    assert await asked(client, "POST", "/userdata/a/move/b") == (200, "b")
    assert await asked(client, "GET", "/userdata/b") == (200, "a")
    assert await asked(client, "POST", "/userdata/b/move/c?overwrite=false") == (200, "c")
    assert (await asked(client, "GET", "/userdata/b"))[0] == 404


async def test_the_tree_has_folders_first_then_names(client: TestClient[Any, Any], tmp_path: Path) -> None:
    assert await asked(client, "GET", "/v2/userdata") == (200, [])
    for name in ("z.json", "workflows%2FB.json", "workflows%2Fa.json"):
        await asked(client, "POST", f"/userdata/{name}", data=b"1")
    _, tree = await asked(client, "GET", "/v2/userdata")
    assert [(e["path"], e["type"], e.get("size")) for e in tree] == [
        ("workflows", "directory", None),
        ("workflows/a.json", "file", 1),
        ("workflows/B.json", "file", 1),
        ("z.json", "file", 1),
    ]
    _, tree = await asked(client, "GET", "/v2/userdata?path=workflows")
    assert [e["path"] for e in tree] == ["workflows/a.json", "workflows/B.json"]
    assert (await asked(client, "GET", "/v2/userdata?path=none"))[0] == 404
    assert (await asked(client, "GET", "/v2/userdata?path=z.json"))[0] == 400
    for bad in ("..", "%2e%2e", "%252e%252e", "/etc", "%00", "%5c"):
        assert (await asked(client, "GET", f"/v2/userdata?path={bad}"))[0] == 400


@pytest.mark.parametrize(
    "name",
    [
        "..%2Fa",
        "%2e%2e%2fa",
        "%252e%252e%252fa",
        "%2Fetc%2Fpasswd",
        "a%00",
        "a%5Cb",
        "%FF",
        "%ED%A0%80",
        "x" * 300,
        "..%2F..%2F..%2Fsecret.txt",
        "workflows%2F..%2F..%2Fb",
        "nul",
        "%2e",
        ".draft-1",
        "a%2F",
        "l%2Fsecret.txt",
    ],
)
async def test_no_name_leads_out_of_the_users_folder(
    client: TestClient[Any, Any], tmp_path: Path, name: str
) -> None:
    (tmp_path / "secret.txt").write_text("no")
    root = tmp_path / "user" / "default"
    (root / "a").mkdir(parents=True)
    (root / "l").symlink_to(tmp_path)
    (root / "b").write_text("b")
    before = sorted(p for p in tmp_path.rglob("*"))
    for method, path in (
        ("GET", f"/userdata/{name}"),
        ("POST", f"/userdata/{name}"),
        ("DELETE", f"/userdata/{name}"),
        ("POST", f"/userdata/{name}/move/c"),
        ("POST", f"/userdata/b/move/{name}"),
    ):
        status, _ = await asked(client, method, path, data=b"x" if method == "POST" else None)
        assert 400 <= status < 500, (method, path)
    assert sorted(p for p in tmp_path.rglob("*")) == before


async def test_listing_needs_a_folder_that_is_there(client: TestClient[Any, Any]) -> None:
    assert await asked(client, "GET", "/userdata") == (400, "Directory not provided")
    assert await asked(client, "GET", "/userdata?dir=..") == (403, "Invalid directory")
    assert await asked(client, "GET", "/userdata?dir=none") == (404, "Directory not found")


async def test_a_file_above_the_limit_is_413(client: TestClient[Any, Any], tmp_path: Path) -> None:
    import io

    assert (await asked(client, "POST", "/userdata/a", data=io.BytesIO(b"x" * (2**20 + 1))))[0] == 413
    assert not (tmp_path / "user").exists()


async def test_a_page_of_the_user_is_never_run(client: TestClient[Any, Any]) -> None:
    await asked(client, "POST", "/userdata/a.html", data=b"<script>")
    answer = await client.get("/userdata/a.html")
    assert (answer.content_type, answer.headers["X-Content-Type-Options"]) == (
        "application/octet-stream",
        "nosniff",
    )


async def test_a_write_that_fails_leaves_the_old_file(
    client: TestClient[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    data = UserData.under(tmp_path)
    await asked(client, "POST", "/userdata/a", data=b"old")
    await asked(client, "POST", "/settings/s", json=1)
    monkeypatch.setattr(Path, "replace", full)
    assert (await asked(client, "POST", "/userdata/a", data=b"new"))[0] == 507
    assert (await asked(client, "POST", "/settings/s", json=2))[0] == 507
    assert ((data.root / "a").read_bytes(), data.settings()) == (b"old", {"s": 1})
    assert sorted(p.name for p in data.root.iterdir()) == ["a", "comfy.settings.json"]
