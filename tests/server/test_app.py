"""The application's table of routes, and what holds for all of its answers."""

from pathlib import Path

import pytest
from aiohttp import web

from engine.registry import Registry
from server.app import make_app, twinned
from server.routes import ROUTES
from tests.server.served import served


async def nothing(request: web.Request) -> web.Response:
    return web.Response()


def test_classic_routes_stand_under_api_too_and_our_own_once() -> None:
    routes = [
        web.get("/queue", nothing),
        web.get("/internal/logs", nothing),
        web.get("/api/v2/jobs", nothing),
    ]
    assert [r.path for r in twinned(routes)] == ["/queue", "/api/queue", "/internal/logs", "/api/v2/jobs"]


def test_no_route_is_stated_twice() -> None:
    stated = [(r.method, r.path) for r in twinned(ROUTES)]
    assert len(stated) == len(set(stated))


@pytest.mark.parametrize(
    "path",
    ["/prompt", "/queue", "/history", "/object_info", "/system_stats", "/features", "/extensions", "/users"]
    + ["/models", "/embeddings", "/settings", "/i18n", "/workflow_templates", "/userdata?dir=workflows"],
)
async def test_both_names_of_a_route_answer_alike(tmp_path: Path, registry: Registry, path: str) -> None:
    async with served(tmp_path, registry) as server:
        async with server.session.get(server.address + path) as plain:
            async with server.session.get(f"{server.address}/api{path}") as twin:
                assert (plain.status, plain.headers.get("Content-Type")) == (
                    twin.status,
                    twin.headers.get("Content-Type"),
                )
                if "stats" not in path:
                    assert await plain.read() == await twin.read()
        assert plain.headers["X-Content-Type-Options"] == "nosniff"
        if plain.status == 200:
            assert plain.headers["Content-Type"] == "application/json; charset=utf-8"


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
        assert make_app(server.state).router
