"""Who may ask: origins, hosts, the token on every route; what no answer may show (R16)."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSServerHandshakeError, web

from engine.registry import Registry
from server.app import make_app
from server.guard import OPEN
from tests.server.served import Served, pair, served

TOKEN = "opensesame-7f3a9"
FOREIGN: dict[str, dict[str, str]] = {
    "null": {"Origin": "null"},
    "another site": {"Origin": "https://evil.example"},
    "another port": {"Origin": "http://127.0.0.1:1"},
    "another scheme and port": {"Origin": "https://127.0.0.1"},
    "ours in front": {"Origin": "http://127.0.0.1.evil.example"},
    "ours as user": {"Origin": "http://127.0.0.1@evil.example"},
    "no origin at all": {"Origin": ""},
    "nonsense": {"Origin": "http://[::1"},
    "a port that is none": {"Origin": "http://127.0.0.1:port"},
    "a rebound name": {"Host": "evil.example"},
    "a rebound name with a port": {"Host": "evil.example:8188"},
    "a rebound name, its own origin": {"Host": "evil.example", "Origin": "http://evil.example"},
    "a host that only begins like ours": {"Host": "localhost.evil.example"},
    "a host that only ends like ours": {"Host": "evillocalhost"},
    "an address elsewhere": {"Host": "10.1.2.3:8188"},
    "no host": {"Host": ""},
    "a broken host": {"Host": "[::1"},
    "a page without an origin": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
}
CHANGES = [
    ("POST", "/prompt"),
    ("POST", "/queue"),
    ("POST", "/interrupt"),
    ("POST", "/free"),
    ("POST", "/history"),
    ("POST", "/upload/image"),
    ("POST", "/upload/mask"),
    ("POST", "/settings"),
    ("POST", "/userdata/x.json"),
    ("DELETE", "/userdata/x.json"),
    ("PATCH", "/internal/logs/subscribe"),
]


@pytest.fixture
async def server(tmp_path: Path, registry: Registry) -> AsyncIterator[Served]:
    async with served(tmp_path, registry) as found:
        yield found


@pytest.fixture
async def locked(tmp_path: Path, registry: Registry) -> AsyncIterator[Served]:
    async with served(tmp_path, registry, token=TOKEN) as found:
        yield found


async def asked(server: Served, method: str, path: str, headers: dict[str, str], **how: Any) -> int:
    async with server.session.request(method, server.address + path, headers=headers, **how) as answer:
        if answer.status in (401, 403) and answer.method != "HEAD":
            assert answer.content_type == "application/json"
        return answer.status


def endings(app: web.Application) -> Iterator[tuple[str, str]]:
    """Method and a path of every route, the names in it filled in."""
    for route in app.router.routes():
        resource = route.resource
        if resource is None or isinstance(resource, web.StaticResource):
            continue
        yield route.method, re.sub(r"\{[^}]*\}", "x", resource.canonical)


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
async def test_no_other_site_changes_anything(server: Served, headers: dict[str, str]) -> None:
    counted = 0
    for method, path in CHANGES:
        for twin in (path, f"/api{path}")[: 1 if path.startswith("/internal") else 2]:
            assert await asked(server, method, twin, headers, json={"prompt": pair(), "clear": True}) == 403
            counted += 1
    assert (await server.get("/queue"), await server.get("/history")) == (
        {"queue_running": [], "queue_pending": []},
        {},
    )
    assert not list((server.state.settings.base_directory / "input").iterdir())
    assert counted == 2 * len(CHANGES) - 1


async def test_no_route_at_all_answers_a_foreign_host_or_origin(server: Served) -> None:
    counted = 0
    for method, path in endings(make_app(server.state)):
        method = "GET" if method == "*" else method
        for headers in (FOREIGN["another site"], FOREIGN["a rebound name"], FOREIGN["null"]):
            assert await asked(server, method, path, headers) == 403, (method, path, headers)
            counted += 1
    assert counted > 200


@pytest.mark.parametrize("name", sorted(set(FOREIGN) - {"a page without an origin"}))
async def test_no_other_site_opens_a_socket(server: Served, name: str) -> None:
    with pytest.raises(WSServerHandshakeError) as refused:
        await server.socket("me", headers=FOREIGN[name])
    assert refused.value.status == 403


async def test_a_page_of_another_site_opens_no_socket_without_saying_so(server: Served) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "websocket"}
    with pytest.raises(WSServerHandshakeError) as refused:
        await server.socket("me", headers=headers)
    assert refused.value.status == 403


@pytest.mark.parametrize("host", ["{}", "127.0.0.1", "localhost", "localhost:9", "[::1]:9", "a.localhost"])
async def test_names_of_this_machine_are_served(server: Served, host: str) -> None:
    host = host.format(server.address.removeprefix("http://"))
    assert await asked(server, "GET", "/queue", {"Host": host}) == 200


async def test_our_own_pages_may_call(server: Served) -> None:
    host = server.address.removeprefix("http://")
    assert await asked(server, "POST", "/interrupt", {"Origin": server.address}) == 200
    headers = {"Origin": server.address, "Sec-Fetch-Site": "same-origin"}
    async with server.socket("me", headers=headers) as socket:
        assert (await socket.receive_json())["type"] == "status"
    assert await asked(server, "GET", "/queue", {"Sec-Fetch-Site": "none"}) == 200
    assert await asked(server, "GET", "/queue", {"Host": host, "Sec-Fetch-Site": "cross-site"}) == 200


async def test_a_named_host_and_a_named_origin_are_let_in(tmp_path: Path, registry: Registry) -> None:
    ours = {"allowed_hosts": ("studio.example",), "allowed_origins": ("https://app.example",)}
    async with served(tmp_path, registry, **ours) as server:
        assert await asked(server, "GET", "/queue", {"Host": "studio.example:8188"}) == 200
        assert await asked(server, "GET", "/queue", {"Host": "other.example"}) == 403
        origin = {"Origin": "https://app.example"}
        assert await asked(server, "POST", "/interrupt", origin) == 200
        assert await asked(server, "POST", "/interrupt", {"Origin": "https://other.example"}) == 403
        assert await asked(server, "POST", "/interrupt", {"Origin": "null"}) == 403
        async with server.session.options(server.address + "/prompt", headers=origin) as answer:
            assert answer.status == 200
            assert await answer.read() == b""
            assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
            assert "POST" in answer.headers["Access-Control-Allow-Methods"]
            assert answer.headers["Access-Control-Allow-Headers"].startswith("Content-Type, Authorization")
            assert answer.headers["Vary"] == "Origin"


async def test_with_a_star_every_page_may_call(tmp_path: Path, registry: Registry) -> None:
    async with served(tmp_path, registry, allowed_origins=("*",)) as server:
        headers = {"Origin": "https://evil.example"}
        async with server.session.get(server.address + "/queue", headers=headers) as answer:
            assert answer.status == 200
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert "Access-Control-Allow-Credentials" not in answer.headers
        async with server.session.get(server.address + "/history?offset=x", headers=headers) as answer:
            assert answer.status == 400
            assert answer.headers["Access-Control-Allow-Origin"] == "*", "a page may read what was wrong"


async def test_without_cors_no_page_is_let_in(server: Served) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    async with server.session.options(server.address + "/prompt", headers=headers) as answer:
        assert answer.status == 403
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_every_route_but_health_asks_for_the_token(locked: Served) -> None:
    counted = 0
    for method, path in endings(make_app(locked.state)):
        method = "GET" if method == "*" else method
        if path in OPEN or path.startswith("/page/"):
            continue
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {TOKEN}x"}):
            assert await asked(locked, method, path, headers) == 401, (method, path, headers)
            counted += 1
    assert counted > 200
    assert await asked(locked, "GET", "/no/such/route", {}) == 401
    with pytest.raises(WSServerHandshakeError) as refused:
        await locked.socket("me")
    assert refused.value.status == 401


async def test_the_token_is_taken_from_header_query_or_cookie(locked: Served) -> None:
    assert await asked(locked, "GET", "/queue", {"Authorization": f"Bearer {TOKEN}"}) == 200
    assert await asked(locked, "GET", f"/queue?token={TOKEN}", {}) == 200
    assert await asked(locked, "GET", "/queue", {"Cookie": f"latentgraph_token={TOKEN}"}) == 200
    async with locked.session.ws_connect(f"{locked.address}/ws?clientId=me&token={TOKEN}") as socket:
        assert (await socket.receive_json())["type"] == "status"
    for bad in ("", "Bearer", f"Basic {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer \udcff"):
        try:
            assert await asked(locked, "GET", "/queue", {"Authorization": bad}) == 401
        except UnicodeEncodeError:
            continue


async def test_health_says_nothing_but_that_it_lives(locked: Served) -> None:
    for path in ("/health", "/api/health", "/api/v2/health"):
        assert await locked.get(path) == {"status": "ok"}
    assert set(OPEN) == {"/health", "/api/health", "/api/v2/health", "/", "/page"}


@pytest.mark.parametrize(
    "path", ["/page/../queue", "/page/%2e%2e/queue", "//page/../queue", "/page/..%2fqueue"]
)
async def test_what_is_open_leads_nowhere_else(locked: Served, path: str) -> None:
    host, port = locked.address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    assert b"queue_running" not in answer
    assert answer.split(b" ", 2)[1] in (b"400", b"401", b"404")


async def test_no_answer_shows_a_secret_or_a_path_outside_the_base_directory(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_ENVIRONMENT", "hush-hush-51")
    monkeypatch.setattr("sys.argv", ["latentgraph", "serve", "--token", TOKEN, f"--webhook-secret={TOKEN}"])
    home = str(Path.home())
    async with served(tmp_path, registry, token=TOKEN) as server:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        id = (await server.post("/prompt", {"prompt": pair(1)}, headers=headers))[1]["prompt_id"]
        bad = (await server.post("/prompt", {"prompt": pair(2, "Break")}, headers=headers))[1]["prompt_id"]
        async with server.session.ws_connect(f"{server.address}/ws?token={TOKEN}") as socket:
            while True:
                async with server.session.get(f"{server.address}/history/{bad}", headers=headers) as answer:
                    if await answer.json():
                        break
                await socket.receive(timeout=30)
        seen, statuses = 0, set()
        for method, path in endings(make_app(server.state)):
            if method not in ("GET", "*") or path.endswith("/ws") or "/events" in path:
                continue
            for real in {path, path.replace("/x", f"/{id}"), path.replace("/x", f"/{bad}")}:
                async with asyncio.timeout(20):
                    async with server.session.get(server.address + real, headers=headers) as answer:
                        text = (await answer.read()).decode("utf-8", "replace")
                statuses.add(answer.status)
                seen += 1
                everything = text + str(answer.headers)
                for secret in (TOKEN, "hush-hush-51", str(tmp_path)):
                    assert secret not in everything, (real, secret)
                if not real.startswith(("/assets", "/editor", "/scripts", "/page")):
                    assert not re.search(rf"(?<![\w.:/]){re.escape(home)}/", text), real
                    outside = re.findall(r'"(/(?:home|root|usr|etc|tmp|var|work|opt)/[^"]*)"', text)
                    assert not outside, (real, outside[:3])
        assert 500 not in statuses
    assert seen > 100


async def test_what_cannot_be_answered_is_told_as_json(server: Served) -> None:
    for path in ("/no/such", "/api/v2/no/such", "/history?max_items=x"):
        async with server.session.get(server.address + path) as answer:
            assert 400 <= answer.status < 500
            assert answer.content_type == "application/json", path
            assert (await answer.json())["error"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
    async with server.session.put(server.address + "/prompt") as answer:
        assert answer.status == 405
        assert answer.content_type == "application/json"
        assert "POST" in answer.headers["Allow"]


async def test_a_fault_of_ours_shows_nothing_of_the_inside(
    server: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(*_: Any) -> None:
        raise ValueError("the inside of it")

    monkeypatch.setattr(server.state.queue, "job", fault)
    async with server.session.get(server.address + "/history/x") as answer:
        assert answer.status == 500
        assert "inside of it" not in await answer.text()
        assert (await answer.json())["error"]["type"] == "internal"
    assert "the inside of it" in caplog.text
