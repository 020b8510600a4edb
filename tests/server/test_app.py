"""The application's table of routes, and what holds for all of its answers."""

from pathlib import Path

from aiohttp import web

from engine.registry import Registry
from server.app import twinned
from server.routes import ROUTES
from tests.server.served import served


async def nothing(request: web.Request) -> web.Response:
    return web.Response()


def test_classic_routes_stand_under_api_too_and_our_own_once() -> None:
    routes = [
        web.get("/queue", nothing),
        web.get("/internal/x", nothing),
        web.get("/api/v2/jobs", nothing),
    ]
    assert [r.path for r in twinned(routes)] == ["/queue", "/api/queue", "/internal/x", "/api/v2/jobs"]


def test_no_route_is_stated_twice() -> None:
    stated = [(r.method, r.path) for r in twinned(ROUTES)]
    assert len(stated) == len(set(stated))


PATHS = """/prompt /queue /history /object_info /features /extensions /users /models /embeddings /settings
    /i18n /workflow_templates /userdata?dir=workflows"""


async def test_both_names_of_a_route_answer_alike(tmp_path: Path, registry: Registry) -> None:
    async with served(tmp_path, registry) as server:
        for path in PATHS.split():
            found = []
            for address in (server.address + path, f"{server.address}/api{path}"):
                async with server.session.get(address) as answer:
                    found.append((answer.status, answer.headers.get("Content-Type"), await answer.read()))
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert found[0] == found[1]
            if found[0][0] == 200:
                assert found[0][1] == "application/json; charset=utf-8"


async def test_requests_are_counted_by_the_template_of_their_route(
    tmp_path: Path, registry: Registry
) -> None:
    async with served(tmp_path, registry) as server:
        await server.get("/history/some-id")
        async with server.session.get(server.address + "/metrics") as answer:
            assert 'route="/history/{prompt_id}"' in await answer.text()


async def test_a_body_above_the_limit_is_refused_unread(tmp_path: Path, registry: Registry) -> None:
    async with served(tmp_path, registry, max_prompt_mb=0.01, max_upload_mb=0.02) as server:
        status, told = await server.post("/prompt", {"prompt": {"x": "y" * 20_000}})
        assert (status, told["error"]["type"]) == (413, "too_large")
        assert (await server.get("/features"))["max_upload_size"] == int(0.02 * 2**20)
